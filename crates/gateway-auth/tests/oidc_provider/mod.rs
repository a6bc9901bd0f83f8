//! A provider that does as OpenID Connect says, unless a test tells it to lie.

use crate::keys::{now, token};
use crate::server::Server;
use aws_lc_rs::digest::{SHA256, SHA512, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

pub(crate) struct Provider {
    state: Arc<Behaviour>,
    server: Server,
}

pub(crate) struct Behaviour {
    pub(crate) url: String,
    /// What it says that it is.
    pub(crate) issuer: Mutex<String>,
    key: Ed25519KeyPair,
    other: Ed25519KeyPair,
    /// By code: challenge, redirect URI and nonce.
    codes: Mutex<BTreeMap<String, [String; 3]>>,
    given: Mutex<Vec<String>>,
    refresh_tokens: Mutex<BTreeSet<String>>,
    next: AtomicU32,
    /// What is put into ID tokens in place of the right claims.
    pub(crate) claims: Mutex<Value>,
    pub(crate) expires_in: Mutex<f64>,
    /// Signs with a key that it does not tell.
    pub(crate) lies: AtomicBool,
    pub(crate) no_id_token: AtomicBool,
    /// How often a code was exchanged, or tried to be.
    pub(crate) asked: AtomicU32,
    pub(crate) refreshed: AtomicU32,
}

impl Deref for Provider {
    type Target = Behaviour;
    fn deref(&self) -> &Behaviour {
        &self.state
    }
}

/// One parameter of a URL's query.
pub(crate) fn parameter(url: &str, name: &str) -> Option<String> {
    let (_, query) = url.split_once('?')?;
    form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

impl Provider {
    pub(crate) async fn start() -> Self {
        // Its handlers know its URL only when it is there.
        let place = Arc::new(std::sync::OnceLock::<Arc<Behaviour>>::new());
        let app = Router::new()
            .route("/.well-known/openid-configuration", get(configuration))
            .route("/keys", get(keys))
            .route("/token", post(exchange))
            .route("/me", get(userinfo))
            .with_state(place.clone());
        let server = Server::start(app).await;
        let state = Arc::new(Behaviour {
            url: server.url.clone(),
            issuer: Mutex::new(server.url.clone()),
            key: Ed25519KeyPair::generate().unwrap(),
            other: Ed25519KeyPair::generate().unwrap(),
            codes: Mutex::default(),
            given: Mutex::default(),
            refresh_tokens: Mutex::default(),
            next: AtomicU32::new(0),
            claims: Mutex::new(json!({})),
            expires_in: Mutex::new(3600.0),
            lies: AtomicBool::default(),
            no_id_token: AtomicBool::default(),
            asked: AtomicU32::default(),
            refreshed: AtomicU32::default(),
        });
        place.set(state.clone()).ok().unwrap();
        Self { state, server }
    }

    pub(crate) async fn stop(self) {
        self.server.stop().await;
    }
}

impl Behaviour {
    /// Somebody logs in at this URL: the target that the browser is sent back to.
    pub(crate) fn authorize(&self, url: &str) -> String {
        let get = |name| parameter(url, name).unwrap_or_else(|| panic!("{url} lacks {name}"));
        assert!(url.starts_with(&format!("{}/authorize?", self.url)), "{url}");
        let code = self.fresh("code");
        let grant = [get("code_challenge"), get("redirect_uri"), get("nonce")];
        self.codes.lock().unwrap().insert(code.clone(), grant);
        let issuer = self.issuer.lock().unwrap().clone();
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("code", &code).append_pair("state", &get("state")).append_pair("iss", &issuer);
        format!("/oauth2/callback?{}", query.finish())
    }

    fn fresh(&self, kind: &str) -> String {
        let fresh = format!("{kind}-secret-{}", self.next.fetch_add(1, Ordering::Relaxed));
        self.given.lock().unwrap().push(fresh.clone());
        fresh
    }

    /// What nobody but the gateway may see.
    pub(crate) fn secrets(&self) -> Vec<String> {
        self.given.lock().unwrap().clone()
    }

    pub(crate) fn forget_refresh_tokens(&self) {
        self.refresh_tokens.lock().unwrap().clear();
    }

    fn tokens(&self, nonce: Option<&str>) -> Value {
        let (access, refresh) = (self.fresh("access"), self.fresh("refresh"));
        self.refresh_tokens.lock().unwrap().insert(refresh.clone());
        let hash = digest(&SHA512, access.as_bytes());
        let mut claims = json!({ "iss": *self.issuer.lock().unwrap(), "aud": "shop", "sub": "ada", "iat": now(),
            "exp": now() + 300, "email": "ada@example.com", "nonce": nonce,
            "at_hash": URL_SAFE_NO_PAD.encode(&hash.as_ref()[..32]) });
        if nonce.is_none() {
            claims.as_object_mut().unwrap().remove("nonce");
        }
        for (name, value) in self.claims.lock().unwrap().as_object().unwrap() {
            claims[name] = value.clone();
        }
        let key = if self.lies.load(Ordering::Relaxed) { &self.other } else { &self.key };
        let header = json!({ "alg": "EdDSA", "kid": "1" });
        let id_token = token(&header, &claims, |text| key.sign(text).as_ref().to_vec());
        self.given.lock().unwrap().push(id_token.clone());
        let mut answer = json!({ "access_token": access, "token_type": "Bearer", "refresh_token": refresh,
            "expires_in": *self.expires_in.lock().unwrap(), "id_token": id_token });
        if self.no_id_token.load(Ordering::Relaxed) {
            answer.as_object_mut().unwrap().remove("id_token");
        }
        answer
    }
}

type Place = State<Arc<std::sync::OnceLock<Arc<Behaviour>>>>;

async fn configuration(State(place): Place) -> Json<Value> {
    let issuer = place.wait().issuer.lock().unwrap().clone();
    let url = &place.wait().url;
    Json(json!({ "issuer": issuer, "jwks_uri": format!("{url}/keys"),
        "authorization_endpoint": format!("{url}/authorize"), "token_endpoint": format!("{url}/token"),
        "userinfo_endpoint": format!("{url}/me"), "end_session_endpoint": format!("{url}/logout"),
        "authorization_response_iss_parameter_supported": true }))
}

async fn keys(State(place): Place) -> Json<Value> {
    let x = URL_SAFE_NO_PAD.encode(place.wait().key.public_key());
    Json(
        json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": "1", "x": x }] }),
    )
}

async fn userinfo(headers: HeaderMap) -> Json<Value> {
    assert!(headers["authorization"].to_str().unwrap().starts_with("Bearer access-secret-"));
    Json(json!({ "sub": "ada", "groups": ["staff"], "email": "other@example.com" }))
}

async fn exchange(State(place): Place, headers: HeaderMap, body: String) -> (StatusCode, Json<Value>) {
    let provider = place.wait();
    let form: BTreeMap<String, String> = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    // shop:p%3Ass, in base64.
    assert_eq!(headers["authorization"], "Basic c2hvcDpwJTNBc3M=");
    let no = |why| (StatusCode::BAD_REQUEST, Json(json!({ "error": why })));
    if form["grant_type"] == "refresh_token" {
        if !provider.refresh_tokens.lock().unwrap().remove(&form["refresh_token"]) {
            return no("invalid_grant");
        }
        provider.refreshed.fetch_add(1, Ordering::Relaxed);
        return (StatusCode::OK, Json(provider.tokens(None)));
    }
    provider.asked.fetch_add(1, Ordering::Relaxed);
    let Some([challenge, redirect_uri, nonce]) = provider.codes.lock().unwrap().remove(&form["code"]) else {
        return no("invalid_grant");
    };
    let hash = digest(&SHA256, form["code_verifier"].as_bytes());
    assert_eq!((URL_SAFE_NO_PAD.encode(hash), &redirect_uri), (challenge, &form["redirect_uri"]));
    (StatusCode::OK, Json(provider.tokens(Some(&nonce))))
}
