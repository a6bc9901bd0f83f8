use crate::AuthError;
use crate::api_key::key::{KeyHash, is_intact};
use crate::api_key::ring::KeyRing;
use crate::api_key::settings::ApiKeySettings;
use crate::credential::{Found, Places, challenge};
use crate::method::{Check, Head, Method, Verdict};
use crate::text::unix_now;
use gateway_core::{Code, Problem};
use http::header::WWW_AUTHENTICATE;
use http::{HeaderName, HeaderValue, request};
use std::borrow::Cow;

/// A good key is far shorter, and whoever sends a longer one wants us to hash it.
const MAX_KEY: usize = 512;

/// Recognises callers by an API key. Clones share their keys.
///
/// | key | answer |
/// |---|---|
/// | none | 401 `missing-credentials`, `WWW-Authenticate: ApiKey realm="…"`, unless another method finds something |
/// | unknown | 401 `invalid-credentials`, unless another method knows it |
/// | expired, not valid yet, disabled | 401 `invalid-credentials`, saying so |
/// | good | passes with the claims `key_id`, `tier`, `scope`, `roles` and those of `metadata` |
///
/// A check costs one SHA-256 and a look-up; how long it takes tells nothing of the keys, for what is compared are
/// hashes that a caller cannot choose.
#[derive(Clone, Debug)]
pub struct ApiKeyMethod {
    places: Places,
    hide: bool,
    challenge: HeaderValue,
    ring: KeyRing,
}

impl ApiKeyMethod {
    /// A method that looks where the settings say for the keys of a ring.
    ///
    /// # Errors
    /// The settings name no place, or one that cannot be a header.
    pub fn new(settings: &ApiKeySettings, ring: KeyRing) -> Result<Self, AuthError> {
        let header = match settings.header.as_str() {
            "" => None,
            name => Some(name.parse().map_err(|_| AuthError::Header(name.to_owned()))?),
        };
        for (key, name) in [("query", &settings.query), ("cookie", &settings.cookie)] {
            if name.as_deref() == Some("") {
                return Err(AuthError::setting(key, "it is empty; expected a name, or leave it out"));
            }
        }
        let places = Places { header, query: settings.query.clone(), cookie: settings.cookie.clone() };
        if places.header.is_none() && places.query.is_none() && places.cookie.is_none() {
            return Err(AuthError::NoPlace);
        }
        let challenge = challenge("ApiKey", &settings.realm, "");
        Ok(Self { places, hide: settings.hide_credentials, challenge, ring })
    }

    /// The keys.
    #[must_use]
    pub fn ring(&self) -> &KeyRing {
        &self.ring
    }

    fn problem(&self, why: &'static str) -> Problem {
        Problem::new(Code::InvalidCredentials)
            .with_detail(Cow::Borrowed(why))
            .with_header(WWW_AUTHENTICATE, self.challenge.clone())
    }

    fn verdict(&self, key: &str) -> Verdict {
        let now = unix_now();
        let known = match key.len() {
            0 | MAX_KEY.. => None,
            _ => self.ring.find(&KeyHash::of(key)),
        };
        match known.map(|known| known.verdict(now)) {
            Some(Ok(principal)) => Verdict::passed(principal),
            Some(Err(why)) => Verdict::Refused(self.problem(why).into()),
            None => Verdict::Foreign(match is_intact(key) {
                Some(false) => {
                    self.problem("the API key is mistyped: its last six characters do not fit").into()
                }
                _ => self.problem("the API key is not known").into(),
            }),
        }
    }
}

impl Method for ApiKeyMethod {
    fn check(&self, head: Head<'_>) -> Check {
        Check::Done(match self.places.find(head) {
            Found::Nothing => Verdict::Absent,
            Found::Unclear => {
                Verdict::Refused(self.problem("there are several API keys, or strange ones").into())
            }
            Found::One(key) => self.verdict(&key),
        })
    }

    fn challenge(&self) -> Option<&HeaderValue> {
        Some(&self.challenge)
    }

    fn reads(&self) -> Vec<HeaderName> {
        self.places.header.iter().cloned().collect()
    }

    fn reads_queries(&self) -> Vec<&str> {
        self.places.query.as_deref().into_iter().collect()
    }

    fn strips(&self) -> bool {
        self.hide
    }

    fn strip(&self, request: &mut request::Parts) {
        if self.hide {
            self.places.strip(request);
        }
    }
}
