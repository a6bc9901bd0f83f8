//! Who the gateway is to whom it asks for tokens, or about them.

use crate::client::key::SigningKey;
use crate::client::settings::{ClientAssertion, ClientAuth};
use crate::text::unix_now;
use crate::{Algorithm, AuthError};
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use form_urlencoded::{Serializer, byte_serialize};
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use serde_json::json;
use std::fmt;
use std::path::Path;

/// A client, and how it proves to be it.
pub(crate) struct Client {
    id: String,
    way: Way,
}

enum Way {
    /// It says so.
    Public,
    Basic(HeaderValue),
    Post(String),
    Assertion(Box<Assertion>),
}

struct Assertion {
    key: SigningKey,
    algorithm: Algorithm,
    kid: Option<String>,
    audience: Option<String>,
    lifetime: u64,
}

/// Without secrets.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("id", &self.id).finish_non_exhaustive()
    }
}

/// RFC 7523 §2.2.
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

impl Client {
    /// One without a secret.
    pub(crate) fn public(id: &str) -> Self {
        Self { id: id.to_owned(), way: Way::Public }
    }

    /// A client that proves it this way.
    pub(crate) fn new(
        id: &str,
        secret: Option<&str>,
        auth: ClientAuth,
        settings: &ClientAssertion,
    ) -> Result<Self, AuthError> {
        let text = read_key(settings)?;
        if text.is_some() && auth != ClientAuth::PrivateKeyJwt {
            let why = "there is a key; expected `client_auth = \"private_key_jwt\"` with it";
            return Err(AuthError::setting("client_assertion.key", why));
        }
        let secret = || {
            secret.map(str::to_owned).ok_or_else(|| {
                AuthError::setting(
                    "client_secret",
                    "none or both of `client_secret` and `client_secret_file` are given; expected one of them",
                )
            })
        };
        let way = match auth {
            ClientAuth::Basic => Way::Basic(basic(id, &secret()?)?),
            ClientAuth::Post => Way::Post(secret()?),
            ClientAuth::ClientSecretJwt => {
                let secret = secret()?.into_bytes();
                // RFC 7518 §3.2.
                if secret.len() < 32 {
                    let why = format!("it has {} bytes; expected 32 or more, to sign with", secret.len());
                    return Err(AuthError::setting("client_secret", why));
                }
                Way::Assertion(Box::new(Assertion::new(SigningKey::Secret(secret), None, settings)?))
            }
            ClientAuth::PrivateKeyJwt => {
                let text = text.ok_or_else(|| {
                    let why = "none of `key` and `key_file` is given; expected one for `private_key_jwt`";
                    AuthError::setting("client_assertion", why)
                })?;
                let (key, kid) = SigningKey::read(&text).ok_or_else(|| {
                    let why = "it is no private key; expected PEM or a JSON Web Key: RSA of 2048 bits or more, EC (P-256, P-384, P-521) or Ed25519";
                    AuthError::text("client_assertion.key", settings.key_file.as_deref(), why)
                })?;
                Way::Assertion(Box::new(Assertion::new(key, kid, settings)?))
            }
        };
        Ok(Self { id: id.to_owned(), way })
    }

    /// Adds to a request to this URL what proves it.
    pub(crate) fn prove(&self, url: &str, headers: &mut HeaderMap, form: &mut Serializer<'_, String>) {
        match &self.way {
            Way::Public => drop(form.append_pair("client_id", &self.id)),
            Way::Basic(value) => drop(headers.insert(AUTHORIZATION, value.clone())),
            Way::Post(secret) => {
                form.append_pair("client_id", &self.id).append_pair("client_secret", secret);
            }
            Way::Assertion(assertion) => {
                form.append_pair("client_id", &self.id);
                form.append_pair("client_assertion_type", ASSERTION_TYPE);
                // Without a token the other side says no, and its answer is in the log.
                form.append_pair("client_assertion", &assertion.token(&self.id, url).unwrap_or_default());
            }
        }
    }
}

impl Assertion {
    fn new(key: SigningKey, kid: Option<String>, settings: &ClientAssertion) -> Result<Self, AuthError> {
        let own = key.algorithms();
        let algorithm = settings.algorithm.unwrap_or(own[0]);
        if !own.contains(&algorithm) {
            let names: Vec<&str> = own.iter().map(|algorithm| algorithm.name()).collect();
            let why =
                format!("`{}` does not go with the key; expected {}", algorithm.name(), names.join(", "));
            return Err(AuthError::setting("client_assertion.algorithm", why));
        }
        if settings.lifetime.is_zero() {
            return Err(AuthError::setting("client_assertion.lifetime", "it is 0s; expected some time"));
        }
        Ok(Self {
            key,
            algorithm,
            kid: settings.kid.clone().or(kid),
            audience: settings.audience.clone(),
            lifetime: settings.lifetime.as_secs().max(1),
        })
    }

    fn token(&self, client: &str, url: &str) -> Option<String> {
        let mut header = json!({ "alg": self.algorithm.name(), "typ": "JWT" });
        if let Some(kid) = &self.kid {
            header["kid"] = kid.as_str().into();
        }
        let mut id = [0; 16];
        rand::fill(&mut id).ok()?;
        let now = unix_now() as u64;
        let claims = json!({
            "iss": client,
            "sub": client,
            "aud": self.audience.as_deref().unwrap_or(url),
            "jti": URL_SAFE_NO_PAD.encode(id),
            "iat": now,
            "exp": now + self.lifetime,
        });
        let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let mut token = format!("{}.{}", part(header), part(claims));
        let signature = self.key.sign(self.algorithm, token.as_bytes()).ok()?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Some(token)
    }
}

/// RFC 6749 §2.3.1: both parts encoded as in forms.
fn basic(id: &str, secret: &str) -> Result<HeaderValue, AuthError> {
    let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let both = STANDARD.encode(format!("{}:{}", encoded(id), encoded(secret)));
    // Base64 is always a header's value.
    let mut value = HeaderValue::try_from(format!("Basic {both}"))
        .map_err(|_| AuthError::setting("client_id", "it cannot be sent"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn read_key(settings: &ClientAssertion) -> Result<Option<String>, AuthError> {
    match (&settings.key, &settings.key_file) {
        (Some(_), Some(_)) => Err(AuthError::setting(
            "client_assertion",
            "`key` and `key_file` are given; expected one of them",
        )),
        (key, file) => secret_or_file("client_assertion.key", key.as_deref(), file.as_deref()),
    }
}

/// A secret as this setting gives it, or else in a file.
pub(crate) fn secret_or_file(
    setting: &str,
    text: Option<&str>,
    file: Option<&Path>,
) -> Result<Option<String>, AuthError> {
    match (text, file) {
        (Some(text), _) if text.trim().is_empty() => Err(AuthError::setting(setting, EMPTY)),
        (Some(text), _) => Ok(Some(text.to_owned())),
        (None, file) => file.map(|path| secret_file(setting, path)).transpose(),
    }
}

/// Nobody gives a secret that is none: a variable is not filled, a file not written.
const EMPTY: &str = "it is empty; expected a secret";

/// A secret in a file that stands in the place of this setting; white space at its end does not count.
pub(crate) fn secret_file(setting: &str, path: &Path) -> Result<String, AuthError> {
    match std::fs::read_to_string(path) {
        Ok(text) if text.trim().is_empty() => Err(AuthError::text(setting, Some(path), EMPTY)),
        Ok(text) => Ok(text.trim_end().to_owned()),
        Err(source) => Err(AuthError::File { path: path.to_owned(), source }),
    }
}
