//! Paths, patterns, the configuration and tokens.

use gateway_auth::{JwtLayer, JwtSettings, mint};
use gateway_routing::{HostPattern, Match, PathPattern, RouteMatch, RouteTable};
use gateway_store::Store;
use gateway_transform::{NormalizeSettings, TrailingSlash, normalize_path};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Ready;
use tower::{Layer, Service, ServiceExt};

type Answer = Response<Full<bytes::Bytes>>;

/// A normal path is rooted, holds no dot segments however they are spelled, and is its own normal form.
pub fn path(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let rules = [TrailingSlash::Keep, TrailingSlash::Strip, TrailingSlash::Redirect];
    for number in 0..12 {
        let (merge_slashes, allow_encoded_slashes) = (number & 1 == 0, number & 2 != 0);
        let settings = NormalizeSettings {
            merge_slashes,
            allow_encoded_slashes,
            trailing_slash: rules[number / 4],
            ..NormalizeSettings::default()
        };
        let Ok(normal) = normalize_path(text, &settings) else { continue };
        assert!(normal == "*" || normal.starts_with('/'), "{normal:?}");
        // What came unencoded takes three bytes for one.
        assert!(normal.len() <= 3 * text.len(), "{text:?} has grown to {normal:?}");
        assert!(!merge_slashes || !normal.contains("//"), "{normal:?}");
        assert!(number < 4 || normal == "/" || !normal.ends_with('/'), "{text:?} became {normal:?}");
        let location = settings.redirect(text, &normal, None).unwrap_or_default();
        assert!(!location.starts_with("//"), "{text:?} leads to {location:?}");
        for segment in normal.split('/') {
            let decoded = segment.replace("%2e", ".").replace("%2E", ".");
            assert!(decoded != "." && decoded != "..", "{text:?} became {normal:?}");
        }
        assert_eq!(normalize_path(&normal, &settings).as_deref(), Ok(&*normal), "of {text:?}");
    }
}

/// Four lines: a host pattern, a path pattern, a host and a path. Patterns are refused or read again as they are
/// written, and a table of them finds the same route whatever else is in it.
pub fn patterns(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.split('\n');
    let mut next = || lines.next().unwrap_or_default();
    let (host_pattern, path_pattern, host, path) = (next(), next(), next(), next());
    let hosts = host_pattern.parse::<HostPattern>();
    if let Ok(pattern) = &hosts {
        assert_eq!(pattern.to_string().parse::<HostPattern>().as_ref(), Ok(pattern));
    }
    let Ok(pattern) = path_pattern.parse::<PathPattern>() else { return };
    assert_eq!(pattern.as_str().parse::<PathPattern>().ok().as_ref(), Some(&pattern));
    let mut route = RouteMatch::new(pattern);
    route.hosts = hosts.into_iter().collect();
    let alone = RouteTable::build(vec![(route.clone(), ())]).expect("one route hides none");
    let fields = HeaderMap::new();
    let Match::Found(found) = alone.look_up(&Method::GET, host, path, &fields) else { return };
    if let Ok(uri) = path.parse::<http::Uri>() {
        let mut request = http::Request::new(());
        *request.uri_mut() = uri;
        let _ = found.captures(&request);
    }
    // One that is asked last takes nothing away from it.
    let mut rest = RouteMatch::path("/*").expect("a pattern");
    rest.priority = -1;
    let both = RouteTable::build(vec![(rest, ()), (route, ())]).expect("none hides the other");
    let Match::Found(found) = both.look_up(&Method::GET, host, path, &fields) else {
        panic!("found alone, and not with another")
    };
    assert_eq!(found.index, 1, "the last one took {host:?} {path:?}");
}

/// A configuration is good, or its mistakes are told.
pub fn config(data: &[u8]) {
    thread_local! {
        static FOLDER: tempfile::TempDir = tempfile::tempdir().expect("a temporary folder");
    }
    FOLDER.with(|folder| {
        let file = folder.path().join("gateway.toml");
        std::fs::write(&file, data).expect("a temporary file");
        if let Err(mistakes) = gateway_bin::check(&file) {
            assert!(mistakes.ends_with("in the configuration"), "{mistakes}");
        }
    });
}

/// The value of `Authorization`: nothing passes but the one token that is good.
pub fn token(data: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(data) else { return };
    let status = GUARD.with_borrow_mut(|guard| guard.ask(value));
    if status != StatusCode::OK {
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        return;
    }
    let scheme = data.get(..7).unwrap_or_default();
    let token = data.get(7..).unwrap_or_default().trim_ascii();
    assert!(scheme.eq_ignore_ascii_case(b"bearer ") && token == good_token().as_bytes(), "it passed");
}

fn settings() -> JwtSettings {
    JwtSettings { secret: Some("a secret for tests, 32 bytes long".to_owned()), ..JwtSettings::default() }
}

/// The same in every process, so that it may stand in the corpus.
fn good_token() -> String {
    mint(&settings(), serde_json::json!({ "sub": "ada", "exp": 4_102_444_800_u64 }))
        .expect("a secret that signs")
}

struct Guard {
    layer: JwtLayer,
    runtime: tokio::runtime::Runtime,
}

thread_local! {
    static GUARD: RefCell<Guard> = RefCell::new(Guard::new());
}

impl Guard {
    fn new() -> Self {
        let layer = JwtLayer::new(&settings(), Store::memory()).expect("a good secret");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        Self { layer, runtime }
    }

    fn ask(&mut self, authorization: HeaderValue) -> StatusCode {
        let mut request = Request::new(());
        request.headers_mut().insert(AUTHORIZATION, authorization);
        let Ok(answer) = self.runtime.block_on(self.layer.layer(Fine).oneshot(request));
        answer.status()
    }
}

/// Answers 200 to whoever comes so far.
#[derive(Clone)]
struct Fine;

impl Service<Request<()>> for Fine {
    type Response = Answer;
    type Error = Infallible;
    type Future = Ready<Result<Answer, Infallible>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        std::future::ready(Ok(Response::default()))
    }
}
