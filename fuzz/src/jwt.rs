//! The whole verifier of tokens: wherever they are, whatever they say.

use gateway_auth::{JwtLayer, JwtSettings, mint};
use gateway_store::Store;
use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::task::{Context, Poll, Waker};
use std::time::{SystemTime, UNIX_EPOCH};
use tower::{Layer, Service};

const P256: &str = "-----BEGIN PUBLIC KEY-----\n\
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEYhOrbN2LCa6Z1CUckFrG0mtzAIk5\n\
AvuBORGnRNwLM2WwRM7+h0WgpT8oIsMwYqpk9XP8yOcV5zaOGiqBlukoMw==\n\
-----END PUBLIC KEY-----\n";
const ED25519: &str = "-----BEGIN PUBLIC KEY-----\n\
MCowBQYDK2VwAyEAaN50D2SEr9gQljeB2fu3/4pM0+uFKgE/zHXZet24//k=\n\
-----END PUBLIC KEY-----\n";

/// The first byte says where the rest stands: as a token in a header, a cookie or the query, or as the claims of a
/// token that is signed well. No token passes but by its claims, and none makes anything panic or wait.
pub fn jwt(data: &[u8]) {
    let Some((place, rest)) = data.split_first() else { return };
    let mut request = Request::new(());
    let token = match place % 4 {
        0 => {
            let Ok(value) = HeaderValue::from_bytes(rest) else { return };
            request.headers_mut().insert(AUTHORIZATION, value);
            None
        }
        1 => {
            let Ok(value) = HeaderValue::from_bytes(rest) else { return };
            request.headers_mut().insert(COOKIE, value);
            None
        }
        2 => {
            let Some(uri) = std::str::from_utf8(rest).ok().and_then(|text| format!("/?{text}").parse().ok())
            else {
                return;
            };
            *request.uri_mut() = uri;
            None
        }
        _ => {
            let Ok(claims) = serde_json::from_slice::<Value>(rest) else { return };
            let token = mint(&settings(), &claims).expect("a secret that signs");
            let value = HeaderValue::try_from(format!("Bearer {token}")).expect("base64url");
            request.headers_mut().insert(AUTHORIZATION, value);
            Some(claims)
        }
    };
    let passed = passes(request);
    match token {
        Some(claims) if passed => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970").as_secs_f64();
            let time = |name: &str| claims[name].as_f64();
            assert!(time("exp").is_some_and(|exp| exp > now - 1.0), "{claims}");
            assert!(claims["nbf"].is_null() || time("nbf").is_some_and(|nbf| nbf < now + 1.0), "{claims}");
            assert_eq!(claims["iss"], "us");
            assert!(
                claims["aud"] == "shop"
                    || claims["aud"].as_array().is_some_and(|all| all.contains(&json!("shop")))
            );
            assert_eq!(claims["email_verified"], true);
        }
        // The corpus holds no token that is signed well.
        _ => assert!(!passed, "it passed"),
    }
}

fn settings() -> JwtSettings {
    let settings = json!({
        "secret": "another secret for tests, 32 bytes long",
        "keys": [{ "public_key": P256 }, { "public_key": ED25519, "kid": "ed" }],
        "issuer": "us",
        "audience": "shop",
        "required": { "email_verified": true },
        "from": ["header", { "cookie": "access" }, { "query": "access_token" }],
    });
    serde_json::from_value(settings).expect("good settings")
}

fn passes(request: Request<()>) -> bool {
    thread_local! {
        static LAYER: JwtLayer = JwtLayer::new(&settings(), Store::memory()).expect("good keys");
    }
    let mut future = LAYER.with(|layer| Box::pin(layer.layer(Fine).call(request)));
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(response)) => {
            assert!(matches!(response.status().as_u16(), 200 | 401), "{}", response.status());
            response.status() == 200
        }
        Poll::Ready(Err(never)) => match never {},
        Poll::Pending => panic!("it waits"),
    }
}

/// Answers 200 to whoever comes so far.
#[derive(Clone)]
struct Fine;

impl Service<Request<()>> for Fine {
    type Response = Response<Full<bytes::Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Ok(Response::default()))
    }
}
