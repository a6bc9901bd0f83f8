//! Standard Webhooks: the body is signed, with an id and a time.

use crate::method::Head;
use crate::signatures::key::Signer;
use crate::signatures::settings::{SignatureAlgorithm, SignatureSettings};
use crate::signatures::verdict::{Signed, Verified, bad};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::borrow::Cow;

type Why = Cow<'static, str>;

/// A sender has a few, while it replaces its key.
const MAX_SIGNATURES: usize = 8;
const MAX_ID: usize = 256;

struct Fields<'a> {
    id: &'a str,
    timestamp: &'a str,
    signatures: &'a str,
    end: f64,
}

impl<'a> Fields<'a> {
    fn of(settings: &SignatureSettings, head: Head<'a>, now: f64) -> Result<Option<Self>, Why> {
        const NAMES: [&str; 3] = ["webhook-id", "webhook-timestamp", "webhook-signature"];
        if NAMES.iter().all(|name| !head.headers.contains_key(*name)) {
            return Ok(None);
        }
        let [id, timestamp, signatures] = NAMES.map(|name| {
            let mut values = head.headers.get_all(name).iter();
            match (values.next().and_then(|value| value.to_str().ok()), values.next()) {
                (Some(value), None) => Ok(value.trim()),
                _ => bad(format!("the header `{name}` is not there once")),
            }
        });
        let (id, timestamp, signatures) = (id?, timestamp?, signatures?);
        // What is signed has dots between its parts.
        if id.is_empty() || id.len() > MAX_ID || id.contains('.') {
            return bad("`webhook-id` is not 1 to 256 characters without a dot");
        }
        let digits = !timestamp.is_empty() && timestamp.bytes().all(|byte| byte.is_ascii_digit());
        let Some(sent) = timestamp.parse::<u32>().ok().filter(|_| digits).map(f64::from) else {
            return bad("`webhook-timestamp` is not seconds since 1970");
        };
        let window = settings.window.as_secs_f64();
        if now > sent + window {
            return bad("the webhook's signature has expired");
        }
        if sent > now + window {
            return bad("the webhook's signature is not valid yet");
        }
        Ok(Some(Self { id, timestamp, signatures, end: sent + window }))
    }
}

/// Whether the body is needed: it is all that is signed.
pub(crate) fn wants_body(settings: &SignatureSettings, head: Head<'_>, now: f64) -> bool {
    matches!(Fields::of(settings, head, now), Ok(Some(_)))
}

/// Looks for a good signature. The body is `None` where nobody read it.
pub(crate) fn verify(
    settings: &SignatureSettings,
    keys: &[Signer],
    head: Head<'_>,
    body: Option<&[u8]>,
    now: f64,
) -> Verified {
    let fields = match Fields::of(settings, head, now) {
        Ok(Some(fields)) => fields,
        Ok(None) => return Verified::Absent,
        Err(why) => return Verified::Bad(why),
    };
    let Some(body) = body else { return Verified::Bad("the body was not read, and is signed".into()) };
    let signed = [fields.id.as_bytes(), b".", fields.timestamp.as_bytes(), b".", body].concat();
    let made = |key: &&Signer| {
        let version = match key.algorithm {
            SignatureAlgorithm::HmacSha256 => "v1",
            SignatureAlgorithm::Ed25519 => "v1a",
            _ => return false,
        };
        fields.signatures.split(' ').take(MAX_SIGNATURES).any(|signature| {
            let signature = signature.split_once(',').filter(|(known, _)| *known == version);
            let signature = signature.and_then(|(_, encoded)| STANDARD.decode(encoded).ok());
            signature.is_some_and(|signature| key.verify(&signed, &signature))
        })
    };
    let Some(key) = keys.iter().find(made) else {
        return Verified::Foreign("no signature of the webhook is by a key that is known here".into());
    };
    // A sender that tries again keeps the id, and signs anew.
    let once = [key.id.as_bytes(), b"\0webhook\0", fields.id.as_bytes(), b".", fields.timestamp.as_bytes()];
    Verified::Good(Signed { principal: key.principal.clone(), once: once.concat(), end: fields.end })
}
