//! The provider: where its endpoints are, and what is asked there.

use crate::flight::Flights;
use crate::jwt::check::Shared as Keys;
use crate::jwt::keyring::Keyring;
use crate::jwt::settings::{JwtSettings, OneOrMany};
use crate::jwt::token::Token;
use crate::oidc::id_token::{self, Expected};
use crate::oidc::login::error_code;
use crate::oidc::proof::Proof;
use crate::refusal::Refusal;
use crate::remote::{self, Reachable};
use crate::{AuthError, OidcSettings};
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use gateway_fetch::Fetch;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Request, Uri};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long after a vain attempt to read the configuration the last one is used without another.
const PAUSE: Duration = Duration::from_secs(10);
/// The same where there is none yet: so long nobody waits for one who may not answer at all.
const FIRST_PAUSE: Duration = Duration::from_secs(2);

/// What we need of OpenID Connect Discovery 1.0 §3, RP-Initiated Logout 1.0 §2.1 and RFC 9207 §3.
#[derive(Debug, Deserialize)]
pub(crate) struct Configuration {
    issuer: String,
    pub(crate) authorization_endpoint: String,
    token_endpoint: String,
    userinfo_endpoint: Option<String>,
    pub(crate) end_session_endpoint: Option<String>,
    #[serde(default)]
    pub(crate) authorization_response_iss_parameter_supported: bool,
    pub(super) token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

/// What the token endpoint answers (RFC 6749 §5.1).
#[derive(Deserialize)]
pub(crate) struct Tokens {
    pub(crate) access_token: String,
    token_type: String,
    pub(crate) expires_in: Option<f64>,
    pub(crate) refresh_token: Option<String>,
    pub(crate) id_token: Option<String>,
}

#[derive(Deserialize)]
struct TokenError {
    error: String,
}

/// Why the provider's answer is of no use. Never holds a code or a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It says no, to this code or refresh token.
    Refused(String),
    /// Its answer is not to be believed.
    Bad(&'static str),
    /// There is none, or none to us; the log says why.
    Away,
}

#[derive(Clone)]
struct Known {
    configuration: Arc<Configuration>,
    /// When it is read again.
    due: Instant,
}

pub(crate) struct Provider {
    issuer: String,
    url: Uri,
    client: String,
    proof: Proof,
    fetch: Fetch,
    pub(crate) keys: Arc<Keys>,
    refresh: Duration,
    known: ArcSwapOption<Known>,
    /// When the last attempt to read it ended in vain.
    vain: ArcSwapOption<Instant>,
    reading: Flights<Option<Arc<Configuration>>>,
    reachable: Reachable,
}

impl Provider {
    pub(crate) fn new(settings: &OidcSettings, secret: Option<String>) -> Result<Self, AuthError> {
        remote::url(&settings.issuer)?;
        let url = format!("{}/.well-known/openid-configuration", settings.issuer.trim_end_matches('/'));
        let keys = JwtSettings {
            discovery: true,
            issuer: Some(OneOrMany::One(settings.issuer.clone())),
            audience: Some(OneOrMany::One(settings.client_id.clone())),
            leeway: Some(settings.leeway),
            required_claims: vec!["sub".to_owned(), "iat".to_owned()],
            jwks: settings.jwks.clone(),
            // Each is seen once.
            cache_entries: Some(0),
            ..JwtSettings::default()
        };
        Ok(Self {
            issuer: settings.issuer.clone(),
            url: remote::url(&url)?,
            client: settings.client_id.clone(),
            proof: Proof::new(settings, secret)?,
            fetch: Fetch::new(&settings.jwks.fetch)?,
            keys: Arc::new(Keys::new(Keyring::new(&keys)?, &keys)?),
            refresh: settings.jwks.refresh(),
            known: ArcSwapOption::empty(),
            vain: ArcSwapOption::empty(),
            reading: Flights::default(),
            reachable: Reachable::default(),
        })
    }

    /// Whether it did, when it was asked last for its configuration or tokens, and for its keys.
    pub(crate) fn answered(&self) -> bool {
        let keys = self.keys.verifier.keys.remote.as_ref().and_then(|remote| remote.answered());
        self.reachable.answered() && keys.unwrap_or(true)
    }

    /// The configuration, read again from time to time; while that fails, the last one.
    pub(crate) async fn configuration(self: &Arc<Self>) -> Result<Arc<Configuration>, Failure> {
        let (known, now) = (self.known.load_full(), Instant::now());
        let reader = self.clone();
        let read = async move {
            let asker = reader.clone();
            reader.reading.join(0, move || async move { asker.read().await }).await
        };
        match known {
            Some(known) => {
                if now >= known.due {
                    // Nobody waits for one who may be away where the last one will do.
                    drop(tokio::spawn(read));
                }
                Ok(known.configuration.clone())
            }
            None if self.vain.load().as_deref().is_some_and(|vain| now < *vain + FIRST_PAUSE) => {
                Err(Failure::Away)
            }
            None => read.await.ok_or(Failure::Away),
        }
    }

    async fn read(self: Arc<Self>) -> Option<Arc<Configuration>> {
        let answer = self.fetch.get_json::<Configuration>(&self.url.to_string()).await;
        let read =
            answer.map_err(|error| error.to_string()).and_then(|configuration| self.check(configuration));
        match read {
            Ok(configuration) => {
                self.reachable.is_back(&self.url);
                let configuration = Arc::new(configuration);
                let due = Instant::now() + self.refresh;
                self.known.store(Some(Arc::new(Known { configuration: configuration.clone(), due })));
                Some(configuration)
            }
            Err(why) => {
                self.reachable.is_away(&self.url, &why);
                self.vain.store(Some(Arc::new(Instant::now())));
                if let Some(known) = self.known.load_full() {
                    let configuration = known.configuration.clone();
                    let due = Instant::now() + PAUSE;
                    self.known.store(Some(Arc::new(Known { configuration, due })));
                }
                None
            }
        }
    }

    /// OpenID Connect Discovery 1.0 §4.3: whoever answers for one issuer must not answer for another, and nothing is
    /// said in plain text that was found by TLS.
    fn check(&self, configuration: Configuration) -> Result<Configuration, String> {
        if configuration.issuer != self.issuer {
            return Err(format!("it is that of `{}`", configuration.issuer));
        }
        let Configuration { authorization_endpoint, token_endpoint, .. } = &configuration;
        let further = [&configuration.userinfo_endpoint, &configuration.end_session_endpoint];
        let all = [authorization_endpoint, token_endpoint].into_iter().chain(further.into_iter().flatten());
        let tls = self.issuer.starts_with("https://");
        for endpoint in all {
            let url = remote::url(endpoint).map_err(|error| error.to_string())?;
            if tls && url.scheme_str() != Some("https") {
                return Err(format!("it has an endpoint without TLS: {}", remote::shown(&url)));
            }
            if HeaderValue::from_str(endpoint).is_err() {
                return Err("it has an endpoint that cannot be named in a header".to_owned());
            }
        }
        Ok(configuration)
    }

    pub(crate) async fn exchange(
        &self,
        configuration: &Configuration,
        code: &str,
        verifier: &str,
        redirect_uri: &str,
    ) -> Result<Tokens, Failure> {
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect_uri),
            ("code_verifier", verifier),
        ];
        self.tokens(configuration, &form).await
    }

    pub(crate) async fn refresh(
        &self,
        configuration: &Configuration,
        token: &str,
    ) -> Result<Tokens, Failure> {
        self.tokens(configuration, &[("grant_type", "refresh_token"), ("refresh_token", token)]).await
    }

    async fn tokens(&self, configuration: &Configuration, form: &[(&str, &str)]) -> Result<Tokens, Failure> {
        let request = self.token_request(configuration, form).ok_or(Failure::Away)?;
        let answer = match self.fetch.send(request).await {
            Ok(answer) => answer,
            Err(error) => {
                self.reachable.is_away(&self.url, &error.to_string());
                return Err(Failure::Away);
            }
        };
        if answer.status().is_success() {
            self.reachable.is_back(&self.url);
            // The error of the parser may quote what it read.
            let tokens: Result<Tokens, _> = serde_json::from_slice(answer.body());
            return match tokens {
                Ok(tokens) if tokens.token_type.eq_ignore_ascii_case("bearer") => Ok(tokens),
                _ => Err(Failure::Bad("the provider's answer holds no tokens")),
            };
        }
        let error = serde_json::from_slice::<TokenError>(answer.body()).map(|said| error_code(&said.error));
        match error {
            Ok(error) if error == "invalid_grant" => Err(Failure::Refused(error)),
            error => {
                let error = error.unwrap_or_default();
                let why = format!("the token endpoint answered {} {error}", answer.status());
                self.reachable.is_away(&self.url, why.trim_end());
                Err(Failure::Away)
            }
        }
    }

    fn token_request(&self, configuration: &Configuration, form: &[(&str, &str)]) -> Option<Request<Bytes>> {
        let (mut body, mut headers) = (form_urlencoded::Serializer::new(String::new()), HeaderMap::new());
        body.extend_pairs(form);
        self.proof.at(configuration).prove(&configuration.token_endpoint, &mut headers, &mut body);
        let mut request = Request::post(&configuration.token_endpoint)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        request.headers_mut()?.extend(headers);
        request.body(body.finish().into()).ok()
    }

    /// The claims of an ID token, if it is good and what was expected.
    pub(crate) async fn verify(
        &self,
        token: &str,
        access_token: &str,
        nonce: Option<&str>,
        subject: Option<&str>,
    ) -> Result<Map<String, Value>, Failure> {
        let verified = self.keys.verify_waiting(token).await.map_err(|refusal| match refusal {
            Refusal::KeysAway | Refusal::StoreAway => Failure::Away,
            Refusal::Invalid(why) | Refusal::Foreign(why) => Failure::Bad(why),
            Refusal::Expired => Failure::Bad("the token has expired"),
            Refusal::Missing | Refusal::Revoked => Failure::Bad("the token is not valid"),
        })?;
        let parsed = Token::parse(token).map_err(|_| Failure::Bad("the token is malformed"))?;
        let expected =
            Expected { client: &self.client, nonce, subject, access_token, algorithm: parsed.algorithm };
        let claims = verified.principal.claims();
        id_token::check(claims, &expected).map_err(Failure::Bad)?;
        Ok(claims.clone())
    }

    /// Adds what the UserInfo endpoint says and the ID token does not (OpenID Connect Core 1.0 §5.3).
    pub(crate) async fn add_userinfo(
        &self,
        configuration: &Configuration,
        access_token: &str,
        claims: &mut Map<String, Value>,
    ) -> Result<(), Failure> {
        const NONE: Failure = Failure::Bad("the provider says nothing about the user");
        let endpoint = configuration.userinfo_endpoint.as_deref().ok_or(NONE)?;
        let mut bearer = HeaderValue::try_from(format!("Bearer {access_token}")).map_err(|_| NONE)?;
        bearer.set_sensitive(true);
        let request = Request::get(endpoint).header(AUTHORIZATION, bearer).body(Bytes::new());
        let said: Map<String, Value> = self.fetch.json(request.map_err(|_| NONE)?).await.map_err(|_| NONE)?;
        // §5.3.2: who may send another's answer must not be believed.
        if said.get("sub") != claims.get("sub") {
            return Err(Failure::Bad("the provider speaks about somebody else"));
        }
        for (name, value) in said {
            claims.entry(name).or_insert(value);
        }
        Ok(())
    }
}
