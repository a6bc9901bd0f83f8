use crate::forward::key::{self, KeyPart};
use crate::forward::settings::{ForwardSettings, OnForwardFailure};
use crate::jwt::cache::{Cache, TokenKey};
use crate::method::{Changes, Check, Head, Method, Passed, Refusal, Verdict};
use crate::remote::{self, Reachable};
use crate::text::unix_now;
use crate::{AuthError, HeaderNames};
use bytes::Bytes;
use gateway_core::{AuthMethod, AuthRefused, ClientAddr, KeyedHash, Principal, Scheme};
use gateway_fetch::Fetch;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Request, Response, Uri, request};
use serde_json::Map;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Asks a service whether a request may pass, as Traefik's ForwardAuth does it. Clones share what they remember.
///
/// | the service answers | the request |
/// |---|---|
/// | 2xx | passes with the answer's `response_headers`, and whom `principal_header` names |
/// | anything else below 500, redirects too | gets this answer: status, headers but those of the connection, body |
/// | 5xx, or nothing in time | 503 `auth-unavailable`, or passes (`on_failure`) |
///
/// It decides about every request, with or without credentials: in a list of methods it belongs at the end.
#[derive(Clone, Debug)]
pub struct ForwardMethod(Arc<Shared>);

struct Shared {
    url: Uri,
    fetch: Fetch,
    /// Empty for all.
    request_headers: Vec<HeaderName>,
    response_headers: Vec<HeaderName>,
    prefix: Option<Box<str>>,
    answer_headers: Vec<HeaderName>,
    principal_header: Option<HeaderName>,
    /// What clients cannot say.
    own: HeaderNames,
    on_failure: OnForwardFailure,
    remembered: Option<Remembered>,
    reachable: Reachable,
    asked: AtomicU64,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("url", &remote::shown(&self.url)).finish_non_exhaustive()
    }
}

/// The answers of late.
struct Remembered {
    key: Vec<KeyPart>,
    ttl: f64,
    hasher: KeyedHash,
    cache: Cache<Passed>,
}

/// Headers that belong to a connection, not to a message (RFC 9110 §7.6.1), and those that we set ourselves.
const OF_THE_CONNECTION: [HeaderName; 10] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::CONTENT_LENGTH,
];
const FORWARDED: [HeaderName; 5] = [
    HeaderName::from_static("x-forwarded-method"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-uri"),
    HeaderName::from_static("x-forwarded-for"),
];

impl ForwardMethod {
    /// A method that asks as the settings say.
    ///
    /// # Errors
    /// The URL is none, a header has no name, or TLS cannot be set up.
    pub fn new(settings: &ForwardSettings) -> Result<Self, AuthError> {
        let name = |text: &String| text.parse::<HeaderName>().map_err(|_| AuthError::Header(text.clone()));
        let names = |list: &[String]| list.iter().map(name).collect::<Result<Vec<_>, _>>();
        let remembered = settings.cache.as_ref().map(|cache| Remembered {
            key: cache.key.clone(),
            ttl: cache.ttl.as_secs_f64(),
            hasher: KeyedHash::default(),
            cache: Cache::new(cache.entries),
        });
        let prefix = settings.response_headers_prefix.as_ref().filter(|prefix| !prefix.is_empty());
        let response_headers = names(&settings.response_headers)?;
        let principal_header = settings.principal_header.as_ref().map(name).transpose()?;
        let own = HeaderNames::of(response_headers.iter().chain(&principal_header).cloned());
        Ok(Self(Arc::new(Shared {
            own: prefix.iter().fold(own, |own, prefix| own.with_prefix(prefix)),
            url: remote::needed_url(&settings.url)?,
            fetch: Fetch::new(&settings.http)?,
            request_headers: names(&settings.request_headers)?,
            response_headers,
            prefix: prefix.map(|prefix| prefix.to_ascii_lowercase().into()),
            answer_headers: names(&settings.answer_headers)?,
            principal_header,
            on_failure: settings.on_failure,
            remembered,
            reachable: Reachable::default(),
            asked: AtomicU64::new(0),
        })))
    }

    /// How often the service was asked so far.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.0.asked.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn request(&self, head: Head<'_>) -> Request<Bytes> {
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = self.url.clone();
        let headers = request.headers_mut();
        if self.request_headers.is_empty() {
            headers.extend(head.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
            without_connection(headers);
            // That of the request: the client sets its own.
            headers.remove(header::HOST);
            headers.remove(header::EXPECT);
        } else {
            for name in &self.request_headers {
                for value in head.headers.get_all(name) {
                    headers.append(name, value.clone());
                }
            }
        }
        let scheme = head.extensions.get::<Scheme>().copied().unwrap_or_default();
        let uri = head.uri.path_and_query().map_or("/", |target| target.as_str());
        let ip = head.extensions.get::<ClientAddr>().map_or(String::new(), |client| client.ip().to_string());
        let values = [
            head.method.as_str().as_bytes(),
            scheme.as_str().as_bytes(),
            key::host(head),
            uri.as_bytes(),
            ip.as_bytes(),
        ];
        for (name, value) in FORWARDED.iter().zip(values) {
            // Whatever the client sent under these names is not passed on.
            headers.remove(name);
            if let Ok(value) = HeaderValue::from_bytes(value)
                && !value.is_empty()
            {
                headers.insert(name, value);
            }
        }
        request
    }

    async fn ask(&self, request: Request<Bytes>, key: Option<TokenKey>) -> Verdict {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let why = match self.fetch.send(request).await {
            Ok(answer) if answer.status().is_success() => {
                self.reachable.is_back(&self.url);
                return Verdict::Passed(self.passed(&answer, key));
            }
            Ok(answer) if !answer.status().is_server_error() => {
                self.reachable.is_back(&self.url);
                return Verdict::Refused(refusal(answer));
            }
            Ok(answer) => format!("it answered {}", answer.status()),
            Err(error) => error.to_string(),
        };
        self.reachable.is_away(&self.url, &why);
        match self.on_failure {
            OnForwardFailure::Deny => Verdict::Refused(remote::unavailable().into()),
            OnForwardFailure::Allow => Verdict::Passed(Passed::default()),
        }
    }

    fn passed(&self, answer: &Response<Bytes>, key: Option<TokenKey>) -> Passed {
        let mut changes = Changes::default();
        for (name, value) in answer.headers() {
            if self.is_ours(name) {
                changes.request.append(name, value.clone());
            }
            if self.answer_headers.contains(name) {
                changes.response.append(name, value.clone());
            }
        }
        let id = self.principal_header.as_ref().and_then(|name| answer.headers().get(name)?.to_str().ok());
        let principal = id.map(str::trim).filter(|id| !id.is_empty()).map(|id| {
            let claims = Map::from_iter([("sub".to_owned(), id.into())]);
            Principal::new(id, AuthMethod::Forward, claims)
        });
        let personal = !changes.response.is_empty();
        let empty = changes.request.is_empty() && !personal;
        let passed = Passed { principal, changes: (!empty).then(|| Box::new(changes)) };
        // What is set for one client, such as a cookie, is not repeated to others.
        if let (Some(remembered), Some(key), false) = (&self.remembered, key, personal) {
            let now = unix_now();
            remembered.cache.insert(key, passed.clone(), now + remembered.ttl, now);
        }
        passed
    }

    /// Whether a header of requests can only come from the service that is asked.
    fn is_ours(&self, name: &HeaderName) -> bool {
        self.response_headers.contains(name)
            || self.prefix.as_ref().is_some_and(|prefix| name.as_str().starts_with(&**prefix))
    }
}

/// An answer without the headers of its connection, which says whose it is.
fn refusal(mut answer: Response<Bytes>) -> Refusal {
    without_connection(answer.headers_mut());
    answer.extensions_mut().insert(AuthRefused);
    Refusal::response(answer)
}

fn without_connection(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&OF_THE_CONNECTION) {
        headers.remove(name);
    }
}

impl Method for ForwardMethod {
    fn check(&self, head: Head<'_>) -> Check {
        let key = self
            .0
            .remembered
            .as_ref()
            .map(|remembered| remembered.hasher.of(&key::of(&remembered.key, head)));
        if let (Some(remembered), Some(key)) = (&self.0.remembered, key)
            && let Some(passed) = remembered.cache.get(key, unix_now())
        {
            return Check::Done(Verdict::Passed(passed));
        }
        let (shared, request) = (self.0.clone(), self.0.request(head));
        Check::wait(async move { shared.ask(request, key).await })
    }

    fn answered(&self) -> Option<bool> {
        Some(self.0.reachable.answered())
    }

    fn strips(&self) -> bool {
        self.0.own != HeaderNames::default()
    }

    fn strip(&self, request: &mut request::Parts) {
        let ours = |name: &&HeaderName| self.0.own.contains(name, &request.extensions);
        let names: Vec<HeaderName> = request.headers.keys().filter(ours).cloned().collect();
        for name in names {
            request.headers.remove(name);
        }
    }

    /// Without those that clients show to the service that is asked.
    fn sets(&self) -> HeaderNames {
        let shown = [&self.0.request_headers[..], &[header::AUTHORIZATION, header::COOKIE]].concat();
        self.0.own.clone().without(&shown)
    }

    fn reads(&self) -> Vec<HeaderName> {
        self.0.request_headers.clone()
    }
}
