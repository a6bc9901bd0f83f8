use crate::credential::challenge;
use crate::jwt::settings::OnStoreFailure;
use crate::method::{Check, Head, Method, Verdict};
use crate::signatures::body::WholeBody;
use crate::signatures::key::Signer;
use crate::signatures::settings::{SignatureProtocol, SignatureSettings};
use crate::signatures::verdict::{Signed, Verified};
use crate::signatures::{message, webhook};
use crate::text::{hex, unix_now, until};
use crate::{AuthError, SignatureAlgorithm};
use aws_lc_rs::digest::{SHA256, digest};
use gateway_core::{Code, Problem};
use gateway_store::Store;
use http::header::{HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// Recognises callers by the signature of their request: HTTP Message Signatures (RFC 9421), or Standard Webhooks.
/// Clones share their keys and what they remember.
///
/// | signature | answer |
/// |---|---|
/// | none | 401 `missing-credentials`, `WWW-Authenticate: Signature realm="…"` and `Accept-Signature`, unless another method finds something |
/// | by a key that is not known | 401 `invalid-credentials`, unless another method knows the caller |
/// | wrong, too old, from the future, of too little, over another body, seen before | 401 `invalid-credentials`, saying so |
/// | good | passes with the claims `key_id`, `scope`, `roles` and those of `metadata` |
/// | any, while the store is away, with `on_store_failure = "deny"` | 503 `store-unavailable` |
/// | any, with a body over `max_body` | 413 `body-too-large` |
///
/// The body is read by a [`SignedBodyLayer`](crate::SignedBodyLayer) outside the [`AuthLayer`](crate::AuthLayer);
/// without one, what needs the body is refused. What is signed is compared with the request as it arrives at this
/// layer: whoever changes host, path or headers before breaks the signature.
#[derive(Clone)]
pub struct SignatureMethod {
    shared: Arc<Shared>,
    store: Store,
}

struct Shared {
    settings: SignatureSettings,
    keys: Vec<Signer>,
    challenge: HeaderValue,
    accept: Option<HeaderValue>,
    /// What was seen while the store was away.
    local: Store,
}

/// Without keys.
impl fmt::Debug for SignatureMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignatureMethod").field("settings", &self.shared.settings).finish_non_exhaustive()
    }
}

impl SignatureMethod {
    /// A method with these settings, which remembers in this store.
    ///
    /// # Errors
    /// There is no key, one cannot be used, or it does not go with the protocol.
    pub fn new(settings: &SignatureSettings, store: Store) -> Result<Self, AuthError> {
        if settings.keys.is_empty() {
            return Err(AuthError::setting("keys", "there is none; expected at least one"));
        }
        if settings.window.is_zero() {
            return Err(AuthError::setting("window", "it is 0s; expected some time, such as `300s`"));
        }
        for (at, name) in settings.components.iter().enumerate() {
            if name.is_empty() || name.bytes().any(|byte| byte.is_ascii_uppercase() || byte == b'"') {
                let why =
                    format!("`{name}` is no component; expected one such as `@method` or `content-type`");
                return Err(AuthError::setting(format!("components[{at}]"), why));
            }
        }
        let keys = settings.keys.iter().enumerate().map(|(at, key)| Signer::new(at, key));
        let keys: Vec<Signer> = keys.collect::<Result<_, _>>()?;
        let webhooks = settings.protocol == SignatureProtocol::StandardWebhooks;
        for (at, key) in keys.iter().enumerate() {
            let goes = matches!(key.algorithm, SignatureAlgorithm::HmacSha256 | SignatureAlgorithm::Ed25519);
            if webhooks && !goes {
                let why = format!(
                    "it is `{}`; expected `hmac-sha256` or `ed25519` for Standard Webhooks",
                    key.algorithm.name()
                );
                return Err(AuthError::setting(format!("keys[{at}].algorithm"), why));
            }
        }
        let scheme = if webhooks { "StandardWebhooks" } else { "Signature" };
        Ok(Self {
            shared: Arc::new(Shared {
                challenge: challenge(scheme, &settings.realm, ""),
                accept: (!webhooks).then(|| accept(settings)).flatten(),
                keys,
                settings: settings.clone(),
                local: Store::memory(),
            }),
            store,
        })
    }
}

/// What a signature should cover (RFC 9421 §5.1).
fn accept(settings: &SignatureSettings) -> Option<HeaderValue> {
    let mut names: Vec<&str> = settings.components.iter().map(String::as_str).collect();
    if names.is_empty() {
        names.extend(["@method", "@target-uri"]);
    }
    if settings.content_digest && !names.contains(&"content-digest") {
        names.push("content-digest");
    }
    let names: Vec<String> = names.into_iter().map(|name| format!("\"{name}\"")).collect();
    let nonce = if settings.require_nonce { ";nonce" } else { "" };
    let tag = settings
        .tag
        .as_ref()
        .map_or(String::new(), |tag| format!(";tag=\"{}\"", tag.replace('\\', "\\\\").replace('"', "\\\"")));
    HeaderValue::try_from(format!("sig1=({});created;keyid{nonce}{tag}", names.join(" "))).ok()
}

impl Shared {
    fn verify(&self, head: Head<'_>) -> Verified {
        let body = head.extensions.get::<WholeBody>().map(|body| &body.0[..]);
        let verify = match self.settings.protocol {
            SignatureProtocol::HttpMessageSignatures => message::verify,
            SignatureProtocol::StandardWebhooks => webhook::verify,
        };
        verify(&self.settings, &self.keys, head, body, unix_now())
    }

    fn problem(&self, why: Cow<'static, str>) -> Problem {
        let problem = Problem::new(Code::InvalidCredentials).with_detail(why);
        let problem = problem.with_header(WWW_AUTHENTICATE, self.challenge.clone());
        match &self.accept {
            Some(accept) => problem.with_header(ACCEPT_SIGNATURE, accept.clone()),
            None => problem,
        }
    }

    /// Whether it is the first time.
    async fn pass_once(&self, signed: Signed, store: &Store) -> Verdict {
        let key = format!("auth:signature:{}", hex(digest(&SHA256, &signed.once).as_ref()));
        let ttl = until(signed.end, unix_now());
        let first = match (store.set_new(&key, b"1", ttl).await, self.settings.on_store_failure) {
            (Ok(first), _) => Ok(first),
            (Err(_), OnStoreFailure::Local) => self.local.set_new(&key, b"1", ttl).await,
            (Err(error), OnStoreFailure::Deny) => Err(error),
        };
        match first {
            Ok(true) => Verdict::passed(signed.principal),
            Ok(false) => Verdict::Refused(self.problem("the signed request was seen before".into()).into()),
            Err(_) => {
                let problem = Problem::new(Code::StoreUnavailable);
                Verdict::Refused(problem.with_header(RETRY_AFTER, HeaderValue::from_static("1")).into())
            }
        }
    }
}

const ACCEPT_SIGNATURE: HeaderName = HeaderName::from_static("accept-signature");

impl Method for SignatureMethod {
    fn check(&self, head: Head<'_>) -> Check {
        Check::Done(match self.shared.verify(head) {
            Verified::Absent => Verdict::Absent,
            Verified::Foreign(why) => Verdict::Foreign(self.shared.problem(why).into()),
            Verified::Bad(why) => Verdict::Refused(self.shared.problem(why).into()),
            Verified::Good(signed) if self.shared.settings.once => {
                let (shared, store) = (self.shared.clone(), self.store.clone());
                return Check::wait(async move { shared.pass_once(signed, &store).await });
            }
            Verified::Good(signed) => Verdict::passed(signed.principal),
        })
    }

    fn challenge(&self) -> Option<&HeaderValue> {
        Some(&self.shared.challenge)
    }

    fn reads(&self) -> Vec<HeaderName> {
        let names = match self.shared.settings.protocol {
            SignatureProtocol::HttpMessageSignatures => ["signature-input", "signature", "content-digest"],
            SignatureProtocol::StandardWebhooks => ["webhook-id", "webhook-timestamp", "webhook-signature"],
        };
        names.map(HeaderName::from_static).to_vec()
    }

    fn hint(&self) -> Option<(HeaderName, HeaderValue)> {
        Some((ACCEPT_SIGNATURE, self.shared.accept.clone()?))
    }

    fn max_body(&self) -> Option<u64> {
        Some(self.shared.settings.max_body.bytes())
    }

    fn wants_body(&self, head: Head<'_>) -> bool {
        let Shared { settings, keys, .. } = &*self.shared;
        match settings.protocol {
            SignatureProtocol::HttpMessageSignatures => message::wants_body(settings, keys, head, unix_now()),
            SignatureProtocol::StandardWebhooks => webhook::wants_body(settings, head, unix_now()),
        }
    }

    fn with_store(&self, store: &Store) -> Option<Arc<dyn Method>> {
        Some(Arc::new(Self { shared: self.shared.clone(), store: store.clone() }))
    }
}
