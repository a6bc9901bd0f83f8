//! A certified OpenID provider that no one here wrote, in its own process: `tests/provider` (npm `oidc-provider`).
#![allow(clippy::unwrap_used)]

mod ask;

use ask::{ask, outcome, seen};
use bytes::Bytes;
use gateway_auth::{
    AuthLayer, AuthPolicy, IntrospectionMethod, IntrospectionSettings, JwtMethod, JwtSettings, OidcMethod,
    OidcSettings,
};
use gateway_core::{AuthMethod, Principal, Scheme};
use gateway_fetch::{Fetch, FetchSettings};
use gateway_store::Store;
use gateway_testkit::{Process, free_port, wait_until};
use http::header::{COOKIE, LOCATION, SET_COOKIE};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::Full;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

const FILES: [&str; 3] = ["package.json", "package-lock.json", "provider.mjs"];
const HINT: &str = "are nodejs and npm installed? `scripts/test.sh` installs them";

/// Where the provider is installed, as its lock file says.
fn installed() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/provider");
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("oidc-provider");
        std::fs::create_dir_all(&dir).unwrap();
        let lock = std::fs::read(from.join("package-lock.json")).unwrap();
        let done = dir.join("node_modules/.installed");
        for file in FILES {
            std::fs::copy(from.join(file), dir.join(file)).unwrap();
        }
        if std::fs::read(&done).is_ok_and(|before| before == lock) {
            return dir;
        }
        let mut npm = Command::new("npm");
        npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(&dir);
        let output = npm.output().unwrap_or_else(|error| panic!("cannot start npm: {error}; {HINT}"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "npm ci cannot install oidc-provider in {}: {said}", dir.display());
        std::fs::write(done, lock).unwrap();
        dir
    })
}

struct Provider {
    url: String,
    process: Process,
}

impl Provider {
    /// With new keys every so many milliseconds.
    fn start(rotate: u32) -> Self {
        Self::with_clients(rotate, &json!({}))
    }

    /// With further clients: the public keys that they have, or `null` for a secret to sign with.
    fn with_clients(rotate: u32, clients: &Value) -> Self {
        let port = free_port();
        let mut node = Command::new("node");
        node.arg("provider.mjs").current_dir(installed());
        node.env("PORT", port.to_string()).env("ROTATE", rotate.to_string());
        node.env("CLIENTS", clients.to_string());
        let mut process = Process::start(&mut node, HINT);
        wait_until("the provider", Duration::from_secs(30), || {
            assert!(process.try_wait().is_none(), "the provider ended: {}", process.stderr());
            process.stdout().contains("ready").then_some(())
        });
        Self { url: format!("http://127.0.0.1:{port}"), process }
    }

    fn keys(&self) -> usize {
        self.process.stdout().matches("key ").count()
    }

    /// A token of a client's own, for this resource.
    async fn token(&self, resource: &str) -> String {
        let form = form(&[("grant_type", "client_credentials"), ("scope", "orders"), ("resource", resource)]);
        let mut headers = HeaderMap::new();
        // robot:robot+secret, in base64.
        headers.insert("authorization", "Basic cm9ib3Q6cm9ib3Qrc2VjcmV0".parse().unwrap());
        let answer: Value = fetch().post_form(&format!("{}/token", self.url), headers, form).await.unwrap();
        answer["access_token"].as_str().unwrap().to_owned()
    }
}

fn fetch() -> &'static Fetch {
    static FETCH: OnceLock<Fetch> = OnceLock::new();
    FETCH.get_or_init(|| Fetch::new(&FetchSettings::default()).unwrap())
}

fn form(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// A browser that knows two sites: the gateway in this process, and the provider.
#[derive(Default)]
struct Browser {
    shop: BTreeMap<String, String>,
    provider: BTreeMap<String, String>,
}

fn keep(cookies: &mut BTreeMap<String, String>, headers: &HeaderMap) {
    for set in headers.get_all(SET_COOKIE) {
        let (pair, attributes) = set.to_str().unwrap().split_once(';').unwrap();
        let (name, value) = pair.split_once('=').unwrap();
        cookies.remove(name);
        if !value.is_empty() && !attributes.contains("Max-Age=0") && !attributes.contains("1970") {
            cookies.insert(name.to_owned(), value.to_owned());
        }
    }
}

fn cookies(cookies: &BTreeMap<String, String>) -> http::HeaderValue {
    let pairs: Vec<String> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("; ").parse().unwrap()
}

impl Browser {
    async fn shop(&mut self, layer: &AuthLayer, target: &str) -> Response<Full<Bytes>> {
        let mut request = Request::get(target)
            .header("host", "shop.example")
            .header("accept", "text/html")
            .body(())
            .unwrap();
        request.headers_mut().insert(COOKIE, cookies(&self.shop));
        request.extensions_mut().insert(Scheme::Https);
        let response = ask(layer, request).await;
        keep(&mut self.shop, response.headers());
        response
    }

    async fn provider(&mut self, method: Method, url: &str, form: String) -> Response<Bytes> {
        let request = Request::builder().method(method).uri(url).header(COOKIE, cookies(&self.provider));
        let request =
            request.header("content-type", "application/x-www-form-urlencoded").header("accept", "text/html");
        let response = fetch().send(request.body(form.into()).unwrap()).await.unwrap();
        keep(&mut self.provider, response.headers());
        response
    }

    /// Follows redirects and fills in forms at the provider until it is sent back to the shop: to which target.
    async fn through_provider(&mut self, provider: &Provider, url: &str) -> String {
        let (mut url, mut submitted) = (url.to_owned(), Vec::new());
        for _ in 0..12 {
            if let Some(target) = url.strip_prefix("https://shop.example") {
                return target.to_owned();
            }
            let page = match url.strip_prefix('/') {
                Some(path) => {
                    self.provider(Method::GET, &format!("{}/{path}", provider.url), String::new()).await
                }
                None => self.provider(Method::GET, &url, String::new()).await,
            };
            if let Some(next) = page.headers().get(LOCATION) {
                next.to_str().unwrap().clone_into(&mut url);
                continue;
            }
            let html = String::from_utf8_lossy(page.body()).into_owned();
            let (action, fields) = the_form(&html).unwrap_or_else(|| panic!("{url} has no form: {html}"));
            submitted.push(action.clone());
            let answer = self.provider(Method::POST, &action, fields).await;
            let next = answer.headers().get(LOCATION);
            next.unwrap_or_else(|| panic!("{submitted:?}: {answer:?}"))
                .to_str()
                .unwrap()
                .clone_into(&mut url);
        }
        panic!("the provider does not come to an end at {url}");
    }

    async fn login(&mut self, layer: &AuthLayer, provider: &Provider, target: &str) {
        let away = self.shop(layer, target).await;
        assert_eq!(away.status(), 302, "{}", outcome(&away));
        let url = away.headers()[LOCATION].to_str().unwrap().to_owned();
        let callback = self.through_provider(provider, &url).await;
        let back = self.shop(layer, &callback).await;
        assert_eq!(back.status(), 303, "{}", outcome(&back));
        assert_eq!(back.headers()[LOCATION], target);
    }
}

/// Where the page's form goes, and what it says: hidden fields as they are, and a user where it asks for one.
fn the_form(html: &str) -> Option<(String, String)> {
    let attribute = |tag: &str, name: &str| {
        let (_, rest) = tag.split_once(&format!("{name}=\""))?;
        Some(rest.split('"').next()?.to_owned())
    };
    let start = html.find("<form")?;
    let html = &html[start..];
    let action = attribute(html.split('>').next()?, "action")?;
    let mut fields = Vec::new();
    for input in html.split("<input").skip(1) {
        let tag = input.split('>').next()?;
        let Some(name) = attribute(tag, "name") else { continue };
        let value = match name.as_str() {
            "login" => "ada".to_owned(),
            "password" => "whatever".to_owned(),
            _ => attribute(tag, "value").unwrap_or_default(),
        };
        fields.push((name, value));
    }
    // The page for a logout says yes by its button.
    if html.contains("name=\"logout\"") {
        fields.push(("logout".to_owned(), "yes".to_owned()));
    }
    let fields: Vec<(&str, &str)> =
        fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    Some((action, form(&fields)))
}

fn oidc(provider: &Provider, further: &str) -> AuthLayer {
    let toml = format!(
        "issuer = '{}'\nuserinfo = true\npost_logout = '/goodbye'\n\
         cookie_secret = 'a cookie secret of 32 bytes or more'\n{further}",
        provider.url
    );
    let settings: OidcSettings = toml_edit::de::from_str(&toml).unwrap();
    let method = OidcMethod::new(&settings, Store::memory()).unwrap();
    tokio::spawn(method.refresh());
    AuthLayer::new(vec![Arc::new(method)], &AuthPolicy::default())
}

const SHOP: &str = "client_id = 'shop'\nclient_secret = 'shop secret: with/odd characters+'";

#[tokio::test]
async fn a_browser_logs_in_at_a_certified_provider_and_logs_out_there() {
    let provider = Provider::start(0);
    let layer = oidc(&provider, SHOP);
    let mut browser = Browser::default();
    browser.login(&layer, &provider, "/orders?page=2").await;
    let page = browser.shop(&layer, "/orders?page=2").await;
    let principal = page.extensions().get::<Principal>().unwrap();
    assert_eq!((principal.id(), principal.method()), ("ada", AuthMethod::Session));
    assert_eq!(principal.claim("email"), Some(&json!("ada@example.com")), "by the UserInfo endpoint");
    assert!(!seen(&page).headers.contains_key(COOKIE));

    let out = browser.shop(&layer, "/oauth2/logout").await;
    let url = out.headers()[LOCATION].to_str().unwrap().to_owned();
    assert!(url.starts_with(&provider.url), "{url}");
    assert_eq!(browser.through_provider(&provider, &url).await, "/goodbye");
    assert_eq!(browser.shop(&layer, "/orders").await.status(), 302, "the session is gone");
}

#[tokio::test]
async fn a_public_client_needs_no_secret_and_a_refused_login_says_why() {
    let provider = Provider::start(0);
    let layer = oidc(&provider, "client_id = 'public'");
    let mut browser = Browser::default();
    browser.login(&layer, &provider, "/").await;
    assert_eq!(outcome(&browser.shop(&layer, "/").await), "ada");

    let wrong = oidc(&provider, "client_id = 'shop'\nclient_secret = 'wrong'");
    let mut browser = Browser::default();
    let away = browser.shop(&wrong, "/").await;
    let callback = browser.through_provider(&provider, away.headers()[LOCATION].to_str().unwrap()).await;
    assert!(outcome(&browser.shop(&wrong, &callback).await).starts_with("auth-unavailable"));

    let silent = oidc(&provider, &format!("{SHOP}\nparameters = {{ prompt = 'none' }}"));
    let mut browser = Browser::default();
    let away = browser.shop(&silent, "/").await;
    let callback = browser.through_provider(&provider, away.headers()[LOCATION].to_str().unwrap()).await;
    let refused = browser.shop(&silent, &callback).await;
    assert_eq!(outcome(&refused), "forbidden the provider refused the login: login_required");
}

#[tokio::test]
async fn opaque_tokens_are_introspected() {
    let provider = Provider::start(0);
    let toml = format!(
        "url = '{}/token/introspection'\nclient_id = 'gateway'\nclient_secret = 'gateway secret'\naudience = 'urn:opaque'",
        provider.url
    );
    let settings: IntrospectionSettings = toml_edit::de::from_str(&toml).unwrap();
    let method = IntrospectionMethod::new(&settings).unwrap();
    let layer = AuthLayer::new(vec![Arc::new(method)], &AuthPolicy::default());
    let token = provider.token("urn:opaque").await;
    let bearer = |token: &str| ask::get(&[("authorization", &format!("Bearer {token}"))]);
    let passed = ask(&layer, bearer(&token)).await;
    assert_eq!(outcome(&passed), "robot");
    assert!(passed.extensions().get::<Principal>().unwrap().has_scope("orders"));
    let refused = ask(&layer, bearer(&format!("{token}x"))).await;
    assert_eq!(outcome(&refused), "invalid-token the token is not active");
}

/// The example keys of RFC 8037 §A.1 and RFC 7515 §A.3: only to be seen in tests.
fn keys() -> [(&'static str, Value); 2] {
    [
        (
            "ed",
            json!({ "kty": "OKP", "crv": "Ed25519", "kid": "ed-1", "alg": "EdDSA",
                "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
                "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" }),
        ),
        (
            "ec",
            json!({ "kty": "EC", "crv": "P-256", "kid": "ec-1", "alg": "ES256",
                "d": "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI",
                "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
                "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" }),
        ),
    ]
}

fn public(key: &Value) -> Value {
    let mut key = key.clone();
    key.as_object_mut().unwrap().remove("d");
    key
}

#[tokio::test]
async fn the_gateway_proves_who_it_is_with_a_signed_token() {
    let [(ed, ed_key), (ec, ec_key)] = keys();
    let clients = json!({ ed: public(&ed_key), ec: public(&ec_key), "mac": null });
    let provider = Provider::with_clients(0, &clients);
    let private = |name: &str, key: &Value| {
        let key = key.to_string();
        format!(
            "client_id = '{name}'\nclient_auth = 'private_key_jwt'\nclient_assertion = {{ key = '{key}' }}"
        )
    };
    let mac = "client_id = 'mac'\nclient_auth = 'client_secret_jwt'\n\
               client_secret = 'a secret of 32 bytes, or a few more'"
        .to_owned();
    // Logins.
    for client in [private(ed, &ed_key), private(ec, &ec_key), mac.clone()] {
        let layer = oidc(&provider, &client);
        let mut browser = Browser::default();
        browser.login(&layer, &provider, "/orders").await;
        assert_eq!(outcome(&browser.shop(&layer, "/orders").await), "ada", "{client}");
    }
    // Questions about tokens.
    let token = provider.token("urn:opaque").await;
    for client in [private(ed, &ed_key), private(ec, &ec_key), mac] {
        let toml = format!("url = '{}/token/introspection'\n{client}", provider.url);
        let settings: IntrospectionSettings = toml_edit::de::from_str(&toml).unwrap();
        let method = IntrospectionMethod::new(&settings).unwrap();
        let layer = AuthLayer::new(vec![Arc::new(method)], &AuthPolicy::default());
        for _ in 0..2 {
            let passed = ask(&layer, ask::get(&[("authorization", &format!("Bearer {token}"))])).await;
            assert_eq!(outcome(&passed), "robot", "{client}: {}", provider.process.stderr());
        }
    }
    // A client with the key of another.
    let thief = oidc(&provider, &private(ec, &ed_key));
    let mut browser = Browser::default();
    let away = browser.shop(&thief, "/").await;
    let callback = browser.through_provider(&provider, away.headers()[LOCATION].to_str().unwrap()).await;
    assert!(outcome(&browser.shop(&thief, &callback).await).starts_with("auth-unavailable"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_with_new_keys_every_second_costs_not_one_request_and_no_session() {
    const TIME: Duration = Duration::from_secs(12);
    let provider = Arc::new(Provider::start(1000));
    let settings: JwtSettings = serde_json::from_value(json!({
        "issuer": provider.url, "discovery": true, "audience": "urn:jwt", "algorithms": ["ES256"], "typ": "at+jwt",
        "id_claim": "client_id",
    }))
    .unwrap();
    let jwt = JwtMethod::new(&settings, Store::memory()).unwrap();
    tokio::spawn(jwt.refresh());
    let jwt = AuthLayer::new(vec![Arc::new(jwt)], &AuthPolicy::default());
    let oidc = oidc(&provider, SHOP);
    let mut browser = Browser::default();
    browser.login(&oidc, &provider, "/").await;

    let (keys, end, done) = (provider.keys(), Instant::now() + TIME, Arc::new(AtomicBool::new(false)));
    let requests = Arc::new(AtomicU32::new(0));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (provider, jwt, requests, done) =
                (provider.clone(), jwt.clone(), requests.clone(), done.clone());
            tokio::spawn(async move {
                while !done.load(Ordering::Relaxed) {
                    let token = provider.token("urn:jwt").await;
                    let bearer = format!("Bearer {token}");
                    for _ in 0..3 {
                        let passed = ask(&jwt, ask::get(&[("authorization", &bearer)])).await;
                        let at = requests.fetch_add(1, Ordering::Relaxed);
                        assert_eq!(outcome(&passed), "robot", "request {at}");
                    }
                }
            })
        })
        .collect();
    // Its access token lasts 4 s: it is refreshed on the way, with ID tokens by ever new keys.
    let (mut pages, mut refreshed) = (0, 0);
    while Instant::now() < end {
        let page = browser.shop(&oidc, "/").await;
        assert_eq!(outcome(&page), "ada", "page {pages}: {}", provider.process.stderr());
        refreshed += u32::from(page.headers().contains_key(SET_COOKIE));
        pages += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    done.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    let (requests, turned) = (requests.load(Ordering::Relaxed), provider.keys() - keys);
    println!("{requests} requests and {pages} pages, {turned} keys, {refreshed} refreshes, none failed");
    assert!(
        turned >= 8 && refreshed >= 4 && requests >= 100,
        "{turned} keys, {refreshed} refreshes, {requests} requests"
    );
}
