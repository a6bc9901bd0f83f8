//! Browsers that log in at a provider, and what attackers send in between.
#![allow(clippy::unwrap_used)]

mod ask;
mod keys;
mod oidc_provider;
mod server;

use ask::{ask, outcome, seen};
use gateway_auth::{
    AuthLayer, AuthPolicy, JwtMethod, JwtSettings, Mode, OidcMethod, OidcSettings, Unenforced,
};
use gateway_core::{AuthMethod, Principal, Problem, Scheme};
use gateway_store::Store;
use http::header::{COOKIE, LOCATION, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::Full;
use oidc_provider::{Provider, parameter};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

const SECRET: &str = "a cookie secret of 32 bytes or more";

fn settings(provider: &Provider, further: &str) -> OidcSettings {
    let toml = format!(
        "issuer = '{}'\nclient_id = 'shop'\nclient_secret = 'p:ss'\n{further}\n{}",
        provider.url,
        if further.contains("cookie_secret") { String::new() } else { format!("cookie_secret = '{SECRET}'") }
    );
    toml_edit::de::from_str(&toml).unwrap()
}

fn method(provider: &Provider, further: &str) -> OidcMethod {
    let method = OidcMethod::new(&settings(provider, further), Store::memory()).unwrap();
    tokio::spawn(method.refresh());
    method
}

fn layer(provider: &Provider, further: &str) -> AuthLayer {
    AuthLayer::new(vec![Arc::new(method(provider, further))], &AuthPolicy::default())
}

type Answer = Response<Full<bytes::Bytes>>;

/// Keeps cookies, whatever their age, until they are taken away.
#[derive(Clone, Default)]
struct Browser(BTreeMap<String, String>);

impl Browser {
    fn page(&self, target: &str) -> Request<()> {
        let mut request = Request::get(target)
            .header("host", "shop.example")
            .header("accept", "text/html")
            .body(())
            .unwrap();
        request.extensions_mut().insert(Scheme::Https);
        let pairs: Vec<String> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if !pairs.is_empty() {
            request.headers_mut().insert(COOKIE, pairs.join("; ").parse().unwrap());
        }
        request
    }

    async fn open(&mut self, layer: &AuthLayer, target: &str) -> Answer {
        let response = ask(layer, self.page(target)).await;
        self.keep(response.headers());
        response
    }

    fn keep(&mut self, headers: &HeaderMap) {
        for set in headers.get_all(SET_COOKIE) {
            let (pair, attributes) = set.to_str().unwrap().split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            if value.is_empty() {
                assert!(attributes.contains("Max-Age=0"));
                self.0.remove(name);
            } else {
                self.0.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    /// Logs in, and is back at the page.
    async fn login(&mut self, layer: &AuthLayer, provider: &Provider, target: &str) -> Answer {
        let away = self.open(layer, target).await;
        assert_eq!(away.status(), 302, "{}", outcome(&away));
        self.open(layer, &provider.authorize(location(&away))).await
    }
}

fn location(response: &Answer) -> &str {
    response.headers()[LOCATION].to_str().unwrap()
}

#[tokio::test]
async fn a_browser_logs_in_comes_back_to_its_page_and_logs_out_everywhere() {
    let provider = Provider::start().await;
    let (layer, mut browser) = (layer(&provider, "parameters = { prompt = 'login' }"), Browser::default());
    let away = browser.open(&layer, "/orders?page=2").await;
    assert_eq!(
        (away.status().as_u16(), &away.headers()["cache-control"]),
        (302, &HeaderValue::from_static("no-store"))
    );
    let url = location(&away);
    for (name, expected) in [
        ("response_type", "code"),
        ("client_id", "shop"),
        ("redirect_uri", "https://shop.example/oauth2/callback"),
        ("scope", "openid profile email"),
        ("code_challenge_method", "S256"),
        ("prompt", "login"),
    ] {
        assert_eq!(parameter(url, name).as_deref(), Some(expected), "{url}");
    }
    let back = browser.open(&layer, &provider.authorize(url)).await;
    assert_eq!((back.status().as_u16(), location(&back)), (303, "/orders?page=2"), "{}", outcome(&back));
    assert_eq!(browser.0.keys().collect::<Vec<_>>(), ["__Host-gateway_session"], "that of the login is gone");

    browser.0.insert("theme".into(), "dark".into());
    let page = browser.open(&layer, "/orders?page=2").await;
    let principal = page.extensions().get::<Principal>().unwrap();
    assert_eq!((principal.id(), principal.method()), ("ada", AuthMethod::Session));
    assert_eq!(principal.claim("email"), Some(&json!("ada@example.com")));
    assert_eq!(principal.claim("nonce"), None, "only what is asked for is kept");
    assert_eq!(seen(&page).headers[COOKIE], "theme=dark", "the session is nobody else's business");
    assert!(!page.headers().contains_key(SET_COOKIE), "a session in use is not sent with each answer");

    let out = browser.open(&layer, "/oauth2/logout").await;
    assert_eq!(out.status(), 303);
    assert!(location(&out).starts_with(&format!("{}/logout?id_token_hint=ey", provider.url)));
    assert_eq!(parameter(location(&out), "post_logout_redirect_uri").unwrap(), "https://shop.example/");
    assert_eq!(browser.0.len(), 1, "the session is gone");
    assert_eq!(browser.open(&layer, "/orders").await.status(), 302);
    let again = browser.open(&layer, "/oauth2/logout").await;
    assert_eq!((again.status().as_u16(), location(&again)), (303, "https://shop.example/"));
}

#[tokio::test]
async fn only_pages_are_sent_to_the_login() {
    let provider = Provider::start().await;
    let layer = layer(&provider, "");
    for (name, value) in
        [("accept", "application/json"), ("sec-fetch-mode", "cors"), ("x-requested-with", "XMLHttpRequest")]
    {
        let mut request = Browser::default().page("/orders");
        request.headers_mut().insert(name, HeaderValue::from_static(value));
        let response = ask(&layer, request).await;
        assert_eq!(outcome(&response), "missing-credentials", "{name}");
        assert_eq!(
            response.headers()["www-authenticate"],
            "Cookie realm=\"gateway\", form-action=\"/oauth2/login\""
        );
        assert!(!response.headers().contains_key(SET_COOKIE));
    }
    let mut post = Browser::default().page("/orders");
    *post.method_mut() = http::Method::POST;
    assert_eq!(outcome(&ask(&layer, post).await), "missing-credentials", "its body would be lost");
    for (method, path, allow) in [
        ("POST", "/oauth2/callback", "GET"),
        ("HEAD", "/oauth2/callback", "GET"),
        ("PUT", "/oauth2/logout", "GET, POST"),
    ] {
        let mut request = Browser::default().page(path);
        *request.method_mut() = method.parse().unwrap();
        let response = ask(&layer, request).await;
        assert_eq!(
            (response.status().as_u16(), response.headers()["allow"].to_str().unwrap()),
            (405, allow),
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn no_target_makes_the_login_end_at_another_site() {
    let provider = Provider::start().await;
    let layer = layer(&provider, "");
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let mut targets = vec![("//evil.example/".to_owned(), "/".to_owned()), ("/a//b".into(), "/a//b".into())];
    for (return_to, expected) in [
        ("/cart?x=1", "/cart?x=1"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example/", "/"),
        ("javascript:alert(1)", "/"),
        ("/\t/evil.example", "/"),
        ("/a\r\nSet-Cookie: x=1", "/"),
        ("", "/"),
    ] {
        targets.push((format!("/oauth2/login?return_to={}", encoded(return_to)), expected.to_owned()));
    }
    for (target, expected) in targets {
        let mut browser = Browser::default();
        let back = browser.login(&layer, &provider, &target).await;
        assert_eq!((back.status().as_u16(), location(&back)), (303, &*expected), "{target}");
        if target.starts_with("/oauth2/login") {
            let at_once = browser.open(&layer, &target).await;
            assert_eq!(location(&at_once), expected, "who has a session is not sent to the provider");
        }
    }
}

/// All that is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

fn contains(log: &[u8], text: &str) -> bool {
    log.windows(text.len()).any(|part| part == text.as_bytes())
}

impl std::io::Write for Log {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(text)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// One thing that is wrong with a login.
enum Attack {
    /// With the callback's target.
    Target(fn(&str) -> String),
    /// With the browser.
    Browser(fn(&mut Browser)),
    /// With the ID token's claims.
    Claims(serde_json::Value),
    /// With what the provider does.
    Provider(fn(&Provider)),
}

#[tokio::test]
async fn an_attacked_login_makes_no_session_and_says_no_code_and_no_token() {
    use Attack::{Browser as B, Claims as C, Provider as P, Target as T};
    const NONE: &str = "bad-request no such login is on its way";
    let now = keys::now();
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone());
    // For all tests of this file: what the others log may not hold a secret either.
    tracing::subscriber::set_global_default(subscriber.finish()).unwrap();
    for (name, attack, expected) in [
        ("nothing wrong", T(str::to_owned), "303"),
        ("another state", T(|t| t.replace("state=", "state=x")), NONE),
        (
            "no state",
            T(|t| t.replace("state=", "estate=")),
            "bad-request the provider's answer has no `state`",
        ),
        (
            "a state twice",
            T(|t| format!("{t}&state=x")),
            "bad-request the provider's answer says something twice",
        ),
        (
            "a state with the same beginning",
            T(|t| {
                let state = parameter(t, "state").unwrap();
                t.replace(&state, &format!("{}{}", &state[..16], "A".repeat(27)))
            }),
            NONE,
        ),
        (
            "another code",
            T(|t| t.replace("code=", "code=x")),
            "invalid-credentials the provider refused the login: invalid_grant",
        ),
        (
            "another issuer (RFC 9207)",
            T(|t| t.replace("iss=http", "iss=https")),
            "bad-request the answer is another provider's",
        ),
        ("no issuer", T(|t| t.replace("iss=", "ism=")), "bad-request the answer does not say which provider"),
        (
            "denied",
            T(|t| t.replace("code=", "error=access_denied&x=")),
            "forbidden the provider refused the login: access_denied",
        ),
        (
            "an error that is none",
            T(|t| t.replace("code=", "error=%3Cscript%3E&x=")),
            "forbidden the provider refused the login: unknown_error",
        ),
        (
            "the provider is busy",
            T(|t| t.replace("code=", "error=temporarily_unavailable&x=")),
            "auth-unavailable",
        ),
        ("another browser", B(|b| b.0.clear()), NONE),
        (
            "a changed cookie",
            B(|b| {
                let cookie = b.0.first_entry().unwrap().into_mut();
                let last = if cookie.ends_with('A') { "Q" } else { "A" };
                cookie.replace_range(40..41, if &cookie[40..41] == "A" { "B" } else { "A" });
                cookie.push_str(last);
            }),
            NONE,
        ),
        (
            "a cookie of another login",
            B(|b| {
                b.0.first_entry().unwrap().insert("AAAA".into());
            }),
            NONE,
        ),
        ("another nonce", C(json!({ "nonce": "x" })), "invalid-credentials the ID token is of another login"),
        ("no nonce", C(json!({ "nonce": null })), "invalid-credentials the ID token is of another login"),
        (
            "another issuer's token",
            C(json!({ "iss": "https://evil.example" })),
            "invalid-credentials the token has another issuer",
        ),
        (
            "another audience",
            C(json!({ "aud": "bank" })),
            "invalid-credentials the token is for another audience",
        ),
        (
            "several audiences",
            C(json!({ "aud": ["shop", "bank"] })),
            "invalid-credentials the ID token has several audiences",
        ),
        (
            "made for another",
            C(json!({ "azp": "bank" })),
            "invalid-credentials the ID token was made for another client",
        ),
        ("expired", C(json!({ "exp": now - 31 })), "invalid-credentials the token has expired"),
        ("not yet", C(json!({ "nbf": now + 100 })), "invalid-credentials the token is not valid yet"),
        (
            "another access token",
            C(json!({ "at_hash": "x" })),
            "invalid-credentials the ID token is of another access token",
        ),
        ("nobody", C(json!({ "sub": "" })), "invalid-credentials the ID token does not say whose it is"),
        ("another's signature", P(|p| p.lies.store(true, Ordering::Relaxed)), "invalid-credentials"),
        (
            "no ID token",
            P(|p| p.no_id_token.store(true, Ordering::Relaxed)),
            "invalid-credentials the provider gave no ID token",
        ),
        ("too many claims", C(json!({ "groups": ["g".repeat(20_000)] })), "internal-error the session takes"),
    ] {
        let provider = Provider::start().await;
        let (layer, mut browser) = (layer(&provider, ""), Browser::default());
        // Once without: now the keys are there.
        Browser::default().login(&layer, &provider, "/").await;
        let mut target = provider.authorize(location(&browser.open(&layer, "/").await));
        match attack {
            T(change) => target = change(&target),
            B(change) => change(&mut browser),
            C(claims) => *provider.claims.lock().unwrap() = claims,
            P(change) => change(&provider),
        }
        let response = browser.open(&layer, &target).await;
        let seen = response.status().as_str().to_owned();
        let seen = if response.status() == 303 { seen } else { outcome(&response) };
        assert!(seen.starts_with(expected), "{name}: {seen}");
        assert_eq!(browser.0.contains_key("__Host-gateway_session"), expected == "303", "{name}");
        if let Some(problem) = response.extensions().get::<Problem>() {
            let said = format!("{problem:?} {:?}", response.headers());
            for secret in provider.secrets() {
                assert!(!said.contains(&secret), "{name}: {said} holds {secret}");
            }
        }
        let session = browser.0.into_values();
        let log = log.0.lock().unwrap();
        for secret in provider.secrets().into_iter().chain(session) {
            assert!(!log.is_empty() && !contains(&log, &secret), "{name}: the log holds {secret}");
        }
    }
    assert!(contains(&log.0.lock().unwrap(), "a login failed"), "it says that, and no more");
}

#[tokio::test]
async fn a_callback_is_answered_once() {
    let provider = Provider::start().await;
    let (layer, mut browser) = (layer(&provider, ""), Browser::default());
    let target = provider.authorize(location(&browser.open(&layer, "/").await));
    let mut before = browser.clone();
    assert_eq!(browser.open(&layer, &target).await.status(), 303);
    let again = browser.open(&layer, &target).await;
    assert!(outcome(&again).starts_with("bad-request no such login"), "{}", outcome(&again));
    let replayed = before.open(&layer, &target).await;
    assert_eq!(outcome(&replayed), "bad-request this login has been answered already");
    assert_eq!(provider.asked.load(Ordering::Relaxed), 1, "the provider is not asked");
}

#[tokio::test]
async fn a_login_that_took_too_long_and_a_session_that_ended_are_begun_anew() {
    let provider = Provider::start().await;
    let slow = layer(&provider, "login_timeout = '0s'");
    let late = Browser::default().login(&slow, &provider, "/").await;
    assert!(outcome(&late).starts_with("bad-request"), "{}", outcome(&late));
    for limit in ["lifetime = '0s'", "idle = '0s'"] {
        let (layer, mut browser) = (layer(&provider, limit), Browser::default());
        browser.login(&layer, &provider, "/").await;
        assert_eq!(browser.open(&layer, "/").await.status(), 302, "{limit}");
    }
}

#[tokio::test]
async fn a_changed_session_is_none() {
    let provider = Provider::start().await;
    let (layer, mut browser) = (layer(&provider, ""), Browser::default());
    browser.login(&layer, &provider, "/").await;
    let good = browser.0["__Host-gateway_session"].clone();
    for (at, _) in good.char_indices().step_by(7) {
        let mut changed = good.clone();
        changed.replace_range(at..=at, if &good[at..=at] == "A" { "B" } else { "A" });
        browser.0.insert("__Host-gateway_session".into(), changed);
        let mut request = browser.page("/");
        assert_eq!(ask(&layer, browser.page("/")).await.status(), 302, "{at}");
        request.headers_mut().remove("accept");
        let response = ask(&layer, request).await;
        assert_eq!(outcome(&response), "invalid-credentials the session has ended, or is none of ours");
    }
    let other = method(&provider, "").clone();
    let other = AuthLayer::new(vec![Arc::new(other)], &AuthPolicy::default());
    browser.0.insert("__Host-gateway_session".into(), good);
    assert_eq!(
        outcome(&ask(&other, browser.page("/")).await),
        "ada",
        "any instance with the secret knows it"
    );
}

#[tokio::test]
async fn the_keys_of_cookies_are_turned_over_without_a_new_login() {
    const NEW: &str = "another secret of 32 bytes or more ..";
    let provider = Provider::start().await;
    let mut browser = Browser::default();
    browser.login(&layer(&provider, ""), &provider, "/").await;
    let both = layer(&provider, &format!("cookie_secret = ['{NEW}', '{SECRET}']"));
    let before = browser.clone();
    assert_eq!(outcome(&browser.open(&both, "/").await), "ada");
    assert_ne!(before.0, browser.0, "it is sealed anew");
    let new = layer(&provider, &format!("cookie_secret = '{NEW}'"));
    assert_eq!(outcome(&browser.open(&new, "/").await), "ada");
    assert_eq!(ask(&new, before.page("/")).await.status(), 302, "the old key is gone");
}

#[tokio::test]
async fn a_session_is_refreshed_once_however_many_requests_it_has_and_ends_where_the_provider_says_so() {
    let provider = Provider::start().await;
    *provider.expires_in.lock().unwrap() = 1e-6;
    let (layer, mut browser) = (layer(&provider, ""), Browser::default());
    browser.login(&layer, &provider, "/").await;
    *provider.expires_in.lock().unwrap() = 3600.0;
    let before = browser.clone();
    let all = futures_util::future::join_all((0..20).map(|_| ask(&layer, before.page("/")))).await;
    for response in &all {
        assert_eq!(outcome(response), "ada");
        assert!(response.headers().contains_key(SET_COOKIE));
    }
    assert_eq!(provider.refreshed.load(Ordering::Relaxed), 1);
    assert_eq!(
        outcome(&ask(&layer, before.page("/")).await),
        "ada",
        "one that comes late with the old cookie passes"
    );
    assert_eq!(provider.refreshed.load(Ordering::Relaxed), 1);
    browser.keep(all[0].headers());
    let page = browser.open(&layer, "/").await;
    assert_eq!(outcome(&page), "ada");
    assert!(!page.headers().contains_key(SET_COOKIE));

    *provider.expires_in.lock().unwrap() = 1e-6;
    let mut other = Browser::default();
    other.login(&layer, &provider, "/").await;
    provider.forget_refresh_tokens();
    assert_eq!(other.open(&layer, "/").await.status(), 302, "it ended at the provider");
    let mut third = Browser::default();
    third.login(&layer, &provider, "/").await;
    *provider.claims.lock().unwrap() = json!({ "sub": "eve" });
    assert_eq!(third.open(&layer, "/").await.status(), 302, "it is not made somebody else's");
    *provider.claims.lock().unwrap() = json!({});
    let mut last = Browser::default();
    last.login(&layer, &provider, "/").await;
    provider.stop().await;
    assert!(outcome(&last.open(&layer, "/").await).starts_with("auth-unavailable"));
}

#[tokio::test]
async fn what_the_provider_no_longer_says_is_gone_with_the_next_refresh() {
    let groups = async |layer: &AuthLayer, browser: &mut Browser| {
        let page = browser.open(layer, "/").await;
        let principal = page.extensions().get::<Principal>().unwrap();
        assert_eq!(principal.id(), "ada");
        principal.claims().get("groups").cloned()
    };
    for (userinfo, left) in [(false, None), (true, Some(json!(["staff"])))] {
        let provider = Provider::start().await;
        let layer = layer(&provider, &format!("userinfo = {userinfo}\nclaims = ['groups']"));
        *provider.claims.lock().unwrap() = json!({ "groups": ["admins"] });
        *provider.expires_in.lock().unwrap() = 1e-6;
        let mut browser = Browser::default();
        browser.login(&layer, &provider, "/").await;
        assert_eq!(groups(&layer, &mut browser).await, Some(json!(["admins"])));
        *provider.claims.lock().unwrap() = json!({});
        *provider.expires_in.lock().unwrap() = 3600.0;
        assert_eq!(groups(&layer, &mut browser).await, left, "asked for UserInfo: {userinfo}");
    }
}

#[tokio::test]
async fn a_provider_that_hangs_keeps_nobody_waiting_who_may_pass_without_it() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    // It takes connections and never answers.
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    let toml = format!(
        "issuer = '{issuer}'\nclient_id = 'shop'\nclient_secret = 'x'\njwks.fetch.timeout = '1s'\n\
         cookie_secret = '{SECRET}'"
    );
    let method: OidcSettings = toml_edit::de::from_str(&toml).unwrap();
    let method = Arc::new(OidcMethod::new(&method, Store::memory()).unwrap());
    let policy = AuthPolicy { optional: true, ..AuthPolicy::default() };
    let optional = AuthLayer::new(vec![method.clone()], &policy);
    let needed = AuthLayer::new(vec![method], &AuthPolicy::default());
    let connected =
        async || tokio::time::timeout(std::time::Duration::ZERO, listener.accept()).await.map_or(0, |_| 1);
    for _ in 0..20 {
        assert_eq!(outcome(&ask(&optional, Browser::default().page("/")).await), "-");
    }
    assert_eq!(connected().await, 0, "it was not even asked");
    assert!(outcome(&ask(&needed, Browser::default().page("/")).await).starts_with("auth-unavailable"));
}

#[tokio::test]
async fn it_goes_along_with_other_methods_optional_routes_and_report_mode() {
    let provider = Provider::start().await;
    let oidc = Arc::new(method(&provider, ""));
    let jwt =
        JwtSettings { secret: Some("a secret of 32 bytes or more ....".into()), ..JwtSettings::default() };
    let token = gateway_auth::mint(&jwt, json!({ "sub": "robot", "exp": keys::now() + 60 })).unwrap();
    let jwt = Arc::new(JwtMethod::new(&jwt, Store::memory()).unwrap());
    let both = AuthLayer::new(vec![oidc.clone(), jwt], &AuthPolicy::default());
    let mut request = Browser::default().page("/");
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    assert_eq!(outcome(&ask(&both, request).await), "robot", "the login comes last, wherever it stands");
    assert_eq!(ask(&both, Browser::default().page("/")).await.status(), 302);
    let response = ask(&both, Request::get("/").body(()).unwrap()).await;
    assert_eq!(response.headers().get_all("www-authenticate").iter().count(), 2);

    let optional = AuthPolicy { optional: true, ..AuthPolicy::default() };
    let report = AuthPolicy { mode: Mode::Report, ..AuthPolicy::default() };
    for policy in [optional, report] {
        let (layer, mut browser) = (AuthLayer::new(vec![oidc.clone()], &policy), Browser::default());
        let page = browser.open(&layer, "/").await;
        assert_eq!(outcome(&page), "-", "anonymous callers pass");
        let reported = page.extensions().get::<Unenforced>().map(|unenforced| unenforced.status.as_u16());
        assert_eq!(reported, (policy.mode == Mode::Report).then_some(302));
        let back = browser.login(&layer, &provider, "/oauth2/login?return_to=/cart").await;
        assert_eq!(location(&back), "/cart", "and may log in");
        assert_eq!(outcome(&browser.open(&layer, "/").await), "ada");
        assert_eq!(browser.open(&layer, "/oauth2/logout").await.status(), 303);
    }
}

#[tokio::test]
async fn further_claims_come_from_the_userinfo_endpoint_of_the_same_user() {
    let provider = Provider::start().await;
    let layer = layer(&provider, "userinfo = true\nprincipal = ['email']\nclaims = ['groups']");
    let mut browser = Browser::default();
    browser.login(&layer, &provider, "/").await;
    let page = browser.open(&layer, "/").await;
    let principal = page.extensions().get::<Principal>().unwrap();
    assert_eq!((principal.id(), principal.claim("groups")), ("ada@example.com", Some(&json!(["staff"]))));
    *provider.claims.lock().unwrap() = json!({ "sub": "eve" });
    let back = Browser::default().login(&layer, &provider, "/").await;
    assert_eq!(outcome(&back), "invalid-credentials the provider speaks about somebody else");
}

#[tokio::test]
async fn a_provider_that_speaks_for_another_is_not_believed() {
    let provider = Provider::start().await;
    *provider.issuer.lock().unwrap() = "https://evil.example".into();
    let response = Browser::default().open(&layer(&provider, ""), "/").await;
    assert!(outcome(&response).starts_with("auth-unavailable"));
    provider.issuer.lock().unwrap().clone_from(&provider.url);
    assert_eq!(Browser::default().open(&layer(&provider, ""), "/").await.status(), 302);
}

#[test]
fn settings_that_cannot_work_say_what_is_wrong() {
    let good = format!("issuer = 'https://op.example'\nclient_id = 'shop'\ncookie_secret = '{SECRET}'\n");
    for (toml, expected) in [
        ("issuer = 'https://op.example'", "`client_id` is missing"),
        ("client_id = 'shop'", "`issuer` is missing; expected the provider as it calls itself"),
        (&good.replace("https://", ""), "`op.example` is not a URL"),
        ("issuer = 'https://op.example'\nclient_id = 'shop'", "`cookie_secret` is missing"),
        (
            "issuer = 'https://op.example'\nclient_id = 'shop'\ncookie_secret = 'short'",
            "`cookie_secret` is 5 bytes long",
        ),
        (&format!("{good}scopes = ['email']"), "`scopes` do not hold `openid`"),
        (&format!("{good}callback_path = 'x'"), "`callback_path` is `x`"),
        (&format!("{good}callback_path = '//x'"), "`callback_path` is `//x`"),
        (
            &format!("{good}logout_path = '/oauth2/login'"),
            "`logout_path` is `/oauth2/login`, as `login_path` is",
        ),
        (&format!("{good}post_logout = '//evil.example'"), "`post_logout` is `//evil.example`"),
        (
            &format!("{good}external_url = 'https://shop.example/a'"),
            "`external_url` is `https://shop.example/a`",
        ),
        (&format!("{good}client_secret_file = '/no/such/file'"), "/no/such/file"),
        (&format!("{good}leeway = '61s'"), "`leeway`"),
    ] {
        let settings: OidcSettings = toml_edit::de::from_str(toml).unwrap();
        let error = OidcMethod::new(&settings, Store::memory()).unwrap_err().to_string();
        assert!(error.contains(expected), "{toml}: {error}");
    }
}
