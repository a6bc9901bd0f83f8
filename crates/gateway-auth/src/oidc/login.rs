//! The way to a provider and back: what is sent along, and what must return (RFC 6749 §4.1, RFC 7636, RFC 9207).

use crate::oidc::id_token::same;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A login on its way, as it is sealed into a cookie of the browser that began it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Login {
    #[serde(rename = "s")]
    pub(crate) state: String,
    #[serde(rename = "n")]
    pub(crate) nonce: String,
    /// What only we know until the code is exchanged (RFC 7636 §4.1).
    #[serde(rename = "v")]
    pub(crate) verifier: String,
    #[serde(rename = "t")]
    pub(crate) return_to: String,
    #[serde(rename = "u")]
    pub(crate) redirect_uri: String,
    /// In seconds since 1970.
    #[serde(rename = "e")]
    pub(crate) ends: f64,
}

impl Login {
    /// `None` if the system has no random bytes.
    pub(crate) fn begin(return_to: &str, redirect_uri: String, ends: f64) -> Option<Self> {
        Some(Self {
            state: random()?,
            nonce: random()?,
            verifier: random()?,
            return_to: return_to.to_owned(),
            redirect_uri,
            ends,
        })
    }

    /// Where the browser is sent to.
    pub(crate) fn url(
        &self,
        endpoint: &str,
        client: &str,
        scopes: &str,
        further: &BTreeMap<String, String>,
    ) -> String {
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, self.verifier.as_bytes()).as_ref());
        let ours = [
            ("response_type", "code"),
            ("client_id", client),
            ("redirect_uri", &self.redirect_uri),
            ("scope", scopes),
            ("state", &self.state),
            ("nonce", &self.nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        let further = further.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        with_query(endpoint, further.chain(ours))
    }
}

/// A URL with these added to its query.
pub(crate) fn with_query<'a>(url: &str, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let joint = match url.split_once('?') {
        None => "?",
        Some((_, "")) => "",
        Some(_) => "&",
    };
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(pairs);
    format!("{url}{joint}{}", query.finish())
}

fn random() -> Option<String> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes))
}

/// What a provider sends a browser back with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Callback<'q> {
    pub(crate) state: Cow<'q, str>,
    issuer: Option<Cow<'q, str>>,
    answer: Result<Cow<'q, str>, Cow<'q, str>>,
}

/// Why a callback is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is not the answer to a login of this browser.
    Wrong(&'static str),
    /// It is, and says no: an error code such as `access_denied`.
    Error(String),
}

impl<'q> Callback<'q> {
    /// What a query says. Each part must be there once (RFC 6749 §3.1).
    pub(crate) fn read(query: &'q str) -> Result<Self, &'static str> {
        let (mut state, mut issuer, mut code, mut error) = (None, None, None, None);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let place = match &*name {
                "state" => &mut state,
                "iss" => &mut issuer,
                "code" => &mut code,
                "error" => &mut error,
                _ => continue,
            };
            if place.replace(value).is_some() {
                return Err("the provider's answer says something twice");
            }
        }
        let state = state.ok_or("the provider's answer has no `state`")?;
        let answer = match (code, error) {
            (Some(code), None) if !code.is_empty() => Ok(code),
            (None, Some(error)) => Err(error),
            _ => return Err("the provider's answer is neither a `code` nor an `error`"),
        };
        Ok(Self { state, issuer, answer })
    }

    /// The code, if this is the answer to that login. `iss` is whether the provider always says who it is.
    pub(crate) fn code(&self, login: &Login, issuer: &str, iss: bool, now: f64) -> Result<&str, Refused> {
        if !same(&self.state, &login.state) {
            return Err(Refused::Wrong("no such login is on its way in this browser"));
        }
        if now >= login.ends {
            return Err(Refused::Wrong("the login took too long"));
        }
        // RFC 9207 §2.4: an answer of one provider must not be taken for that of another.
        match &self.issuer {
            Some(from) if from != issuer => return Err(Refused::Wrong("the answer is another provider's")),
            None if iss => return Err(Refused::Wrong("the answer does not say which provider it is from")),
            _ => {}
        }
        match &self.answer {
            Ok(code) => Ok(code),
            Err(error) => Err(Refused::Error(error_code(error))),
        }
    }
}

/// An error code as RFC 6749 and OpenID Connect have them; what is none is not repeated.
pub(crate) fn error_code(text: &str) -> String {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    match (1..=64).contains(&text.len()) && text.bytes().all(good) {
        true => text.to_owned(),
        false => "unknown_error".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login() -> Login {
        Login::begin("/cart", "https://shop.example/oauth2/callback".into(), 100.0).unwrap()
    }

    #[test]
    fn the_redirect_says_all_and_keeps_the_verifier_to_itself() {
        let login = Login {
            state: "st".into(),
            nonce: "no".into(),
            // RFC 7636, appendix B.
            verifier: "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".into(),
            ..login()
        };
        let url = login.url(
            "https://op/auth?tenant=1",
            "shop",
            "openid email",
            &BTreeMap::from([("prompt".into(), "login".into())]),
        );
        assert_eq!(
            url,
            "https://op/auth?tenant=1&prompt=login&response_type=code&client_id=shop\
             &redirect_uri=https%3A%2F%2Fshop.example%2Foauth2%2Fcallback&scope=openid+email&state=st&nonce=no\
             &code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256"
        );
        assert_ne!(self::login().state, self::login().state);
        assert_eq!(self::login().verifier.len(), 43);
    }

    #[test]
    fn a_callback_is_the_answer_to_its_login_or_nothing() {
        let login = Login { state: "st".into(), ..login() };
        for (query, iss, now, expected) in [
            ("state=st&code=c", false, 99.9, "c"),
            ("state=st&code=c&iss=https%3A%2F%2Fop", true, 0.0, "c"),
            ("session_state=x&state=st&code=a%2Bb", false, 0.0, "a+b"),
            ("state=st&code=c", false, 100.0, "the login took too long"),
            ("state=su&code=c", false, 0.0, "no such login is on its way in this browser"),
            ("state=&code=c", false, 0.0, "no such login is on its way in this browser"),
            ("state=st&code=c", true, 0.0, "the answer does not say which provider it is from"),
            ("state=st&code=c&iss=https%3A%2F%2Fevil", false, 0.0, "the answer is another provider's"),
            ("state=st&code=c&iss=", false, 0.0, "the answer is another provider's"),
            ("state=st&error=access_denied", false, 0.0, "error access_denied"),
            ("state=st&error=<script>", false, 0.0, "error unknown_error"),
            ("state=st&error=x&iss=https%3A%2F%2Fevil", false, 0.0, "the answer is another provider's"),
            ("code=c", false, 0.0, "the provider's answer has no `state`"),
            ("", false, 0.0, "the provider's answer has no `state`"),
            ("state=st", false, 0.0, "the provider's answer is neither a `code` nor an `error`"),
            ("state=st&code=", false, 0.0, "the provider's answer is neither a `code` nor an `error`"),
            (
                "state=st&code=c&error=x",
                false,
                0.0,
                "the provider's answer is neither a `code` nor an `error`",
            ),
            ("state=st&state=su&code=c", false, 0.0, "the provider's answer says something twice"),
            ("state=st&code=c&code=d", false, 0.0, "the provider's answer says something twice"),
            (
                "state=st&code=c&iss=https%3A%2F%2Fop&iss=x",
                false,
                0.0,
                "the provider's answer says something twice",
            ),
        ] {
            let seen = match Callback::read(query) {
                Err(why) => why.to_owned(),
                Ok(callback) => match callback.code(&login, "https://op", iss, now) {
                    Ok(code) => code.to_owned(),
                    Err(Refused::Wrong(why)) => why.to_owned(),
                    Err(Refused::Error(code)) => format!("error {code}"),
                },
            };
            assert_eq!(seen, expected, "{query}");
        }
    }
}
