//! How long a request may take whose body takes its time.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use gateway_balance::{Balance, BalanceSettings, CircuitState, EndpointSet, PolicySettings, Replay};
use gateway_core::{Endpoint, FailureKind, Problem, Upstream, UpstreamError};
use http::request::Parts;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use std::convert::Infallible;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tower::ServiceExt;

/// What an endpoint does with a body.
#[derive(Clone, Copy)]
enum Taker {
    /// Reads all of it and answers.
    Answers,
    /// Reads all of it and says nothing.
    Falls,
    /// Reads so many pieces and no more, and says nothing.
    Stops(usize),
    /// Reads so many pieces, breaks the connection at the next wait, and the next time reads nothing and says nothing.
    Breaks(usize),
}

struct Endpoints {
    taker: Taker,
    asked: AtomicUsize,
    endpoint: Endpoint,
}

type Pieces = Pin<Box<dyn futures_util::Stream<Item = Result<Frame<Bytes>, Infallible>> + Send>>;
type Slow = StreamBody<Pieces>;

impl Upstream<Replay<Slow>> for Endpoints {
    type Body = Full<Bytes>;
    fn send(
        &self,
        _: &Parts,
        mut body: Replay<Slow>,
    ) -> impl Future<Output = Result<Response<Full<Bytes>>, UpstreamError>> + Send {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        let (taker, endpoint) = (self.taker, self.endpoint.clone());
        async move {
            let most = match taker {
                Taker::Answers | Taker::Falls => usize::MAX,
                Taker::Stops(pieces) => pieces,
                Taker::Breaks(pieces) if asked == 0 => pieces,
                Taker::Breaks(_) => 0,
            };
            for _ in 0..most {
                if body.frame().await.is_none() {
                    break;
                }
            }
            match taker {
                Taker::Answers => Ok(Response::default()),
                Taker::Breaks(_) if asked == 0 => {
                    let _ = tokio::time::timeout(Duration::from_millis(1), body.frame()).await;
                    Err(UpstreamError::new(FailureKind::Reset, &endpoint, "on purpose"))
                }
                Taker::Falls | Taker::Stops(_) | Taker::Breaks(_) => pending().await,
            }
        }
    }
}

/// Ten pieces, one every three seconds: the last comes after 30 s.
fn slow() -> Slow {
    let pieces = futures_util::stream::unfold(0, |sent| async move {
        sleep(Duration::from_secs(3)).await;
        (sent < 10).then(|| (Ok(Frame::data(Bytes::from_static(b"piece"))), sent + 1))
    });
    // `unfold` waits once more to see that there is no other.
    StreamBody::new(Box::pin(futures_util::StreamExt::take(pieces, 10)))
}

/// The status, after how many seconds, and how often the endpoint was taken for failing.
async fn put(settings: serde_json::Value, taker: Taker, headers: &[(&str, &str)]) -> (u16, u64, EndpointSet) {
    let endpoint = Endpoint::parse("http://a").unwrap();
    let policy: PolicySettings = match taker {
        Taker::Answers => serde_json::from_str(
            r#"{ "circuit": { "min_requests": 1, "slow": "2s" },
                 "endpoint_circuit": { "min_requests": 1, "slow": "2s" } }"#,
        )
        .unwrap(),
        _ => PolicySettings::default(),
    };
    let set = EndpointSet::new("test", vec![endpoint], policy);
    let settings: BalanceSettings = serde_json::from_value(settings).unwrap();
    let connect =
        |endpoint: &Endpoint| Endpoints { taker, asked: AtomicUsize::new(0), endpoint: endpoint.clone() };
    let balance = Balance::new(set.clone(), &settings, connect);
    let request =
        headers.iter().fold(Request::put("/"), |request, (name, value)| request.header(*name, *value));
    let start = Instant::now();
    let response = balance.oneshot(request.body(slow()).unwrap()).await.unwrap();
    if response.status() == 504 {
        assert_eq!(response.extensions().get::<Problem>().unwrap().code().name(), "upstream-timeout");
    }
    (response.status().as_u16(), start.elapsed().as_secs(), set)
}

#[tokio::test(start_paused = true)]
async fn z1_what_a_client_takes_for_its_body_is_not_held_against_the_endpoint() {
    for settings in [
        serde_json::json!({ "timeout": "5s" }),
        serde_json::json!({ "timeout": "5s", "retry": 1 }),
        serde_json::json!({ "timeout": { "total": "60s", "per_try": "5s" } }),
        serde_json::json!({ "timeout": "5s", "retry": { "hedge": "1s" } }),
    ] {
        let (status, seconds, set) = put(settings.clone(), Taker::Answers, &[]).await;
        assert_eq!((status, seconds), (200, 30), "{settings}");
        assert!(set.states().all(|state| state.healthy && state.in_flight == 0));
        let endpoints = set.states().map(|state| state.circuit);
        assert!(
            endpoints.chain([set.circuit()]).all(|circuit| circuit == CircuitState::Closed),
            "{settings}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn z1_the_time_runs_from_the_last_piece_that_the_endpoint_was_given() {
    for (settings, taker, expected) in [
        (serde_json::json!({ "timeout": "5s" }), Taker::Falls, 35),
        (serde_json::json!({ "timeout": { "per_try": "5s" }, "retry": 1 }), Taker::Falls, 35),
        // The client is not waited for while nobody reads.
        (serde_json::json!({ "timeout": "5s" }), Taker::Stops(0), 5),
        (serde_json::json!({ "timeout": "5s" }), Taker::Stops(4), 17),
        // The second try is not given more time because the first waited for the client.
        (serde_json::json!({ "timeout": "5s", "retry": { "backoff": "none" } }), Taker::Breaks(1), 8),
    ] {
        let (status, seconds, _) = put(settings.clone(), taker, &[]).await;
        assert_eq!((status, seconds), (504, expected), "{settings}");
    }
}

#[tokio::test(start_paused = true)]
async fn z2_the_clients_own_deadline_holds_while_it_sends() {
    let settings = serde_json::json!({ "timeout": { "total": "5s", "deadline_header": "x-timeout" } });
    let (status, seconds, _) = put(settings, Taker::Answers, &[("x-timeout", "7000")]).await;
    assert_eq!((status, seconds), (504, 7));
}
