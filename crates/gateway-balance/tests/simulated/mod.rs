//! Endpoints that answer by script in virtual time, for tests that pause the clock.
#![allow(dead_code, reason = "each test uses a part of it")]

use bytes::Bytes;
use gateway_balance::{Balance, BalanceSettings, EndpointSet, PolicySettings, Replay};
use gateway_core::{Endpoint, FailureKind, Problem, Upstream, UpstreamError};
use http::request::Parts;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Empty, Full};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;
use tower::ServiceExt;

/// What an endpoint does with a request.
#[derive(Clone, Debug)]
pub(crate) struct Act {
    pub(crate) takes: Duration,
    pub(crate) answer: Result<u16, FailureKind>,
}

/// A status after so many milliseconds.
pub(crate) fn answers(status: u16, millis: u64) -> Act {
    Act { takes: Duration::from_millis(millis), answer: Ok(status) }
}

/// A failure after so many milliseconds.
pub(crate) fn fails(kind: FailureKind, millis: u64) -> Act {
    Act { takes: Duration::from_millis(millis), answer: Err(kind) }
}

/// One request as an endpoint saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) host: String,
    pub(crate) at: Duration,
    pub(crate) head: Parts,
    pub(crate) body: Bytes,
}

/// What all endpoints of a test saw.
#[derive(Debug)]
pub(crate) struct Log {
    start: Instant,
    seen: Mutex<Vec<Seen>>,
    cancelled: AtomicUsize,
}

impl Log {
    pub(crate) fn all(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }

    pub(crate) fn hosts(&self) -> Vec<String> {
        self.all().into_iter().map(|seen| seen.host).collect()
    }

    pub(crate) fn on(&self, host: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|seen| seen.host == host).count()
    }

    /// Requests that were given up before they were answered.
    pub(crate) fn cancelled(&self) -> usize {
        self.cancelled.load(Ordering::Relaxed)
    }
}

/// Decides by host, by the time since the beginning, and by the request's head.
type Script = Arc<dyn Fn(&str, Duration, &Parts) -> Act + Send + Sync>;

pub(crate) struct Simulated {
    endpoint: Endpoint,
    script: Script,
    log: Arc<Log>,
}

/// Counts a request as cancelled unless it was answered.
struct Unanswered<'a>(&'a Log);

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        self.0.cancelled.fetch_add(1, Ordering::Relaxed);
    }
}

impl<B> Upstream<Replay<B>> for Simulated
where
    B: Body<Data = Bytes, Error: Into<gateway_core::BoxError>> + Send + Unpin,
{
    type Body = Full<Bytes>;
    async fn send(&self, head: &Parts, body: Replay<B>) -> Result<Response<Full<Bytes>>, UpstreamError> {
        let failed = |kind| UpstreamError::new(kind, &self.endpoint, "by script");
        let unanswered = Unanswered(&self.log);
        let at = self.log.start.elapsed();
        let act = (self.script)(self.endpoint.host(), at, head);
        let seen = Seen { host: self.endpoint.host().to_owned(), at, head: head.clone(), body: Bytes::new() };
        let place = {
            let mut log = self.log.seen.lock().unwrap();
            log.push(seen);
            log.len() - 1
        };
        let body = body.collect().await.map_err(|_| failed(FailureKind::RequestBody))?.to_bytes();
        if let Some(seen) = self.log.seen.lock().unwrap().get_mut(place) {
            seen.body = body;
        }
        tokio::time::sleep(act.takes).await;
        std::mem::forget(unanswered);
        let answer = |status| Response::builder().status(status).body(Full::default()).unwrap();
        act.answer.map(answer).map_err(failed)
    }
}

/// A balance over endpoints with these URLs.
pub(crate) fn simulate(
    endpoints: Vec<Endpoint>,
    policy: impl Into<PolicySettings>,
    settings: &BalanceSettings,
    script: impl Fn(&str, Duration, &Parts) -> Act + Send + Sync + 'static,
) -> (Balance<Simulated>, EndpointSet, Arc<Log>) {
    let set = EndpointSet::new("test", endpoints, policy);
    let log = Arc::new(Log { start: Instant::now(), seen: Mutex::default(), cancelled: AtomicUsize::new(0) });
    let script: Script = Arc::new(script);
    let connect = |endpoint: &Endpoint| Simulated {
        endpoint: endpoint.clone(),
        script: script.clone(),
        log: log.clone(),
    };
    (Balance::new(set.clone(), settings, connect), set, log)
}

pub(crate) fn hosts<const N: usize>(names: [&str; N]) -> Vec<Endpoint> {
    names.iter().map(|host| Endpoint::parse(&format!("http://{host}")).unwrap()).collect()
}

pub(crate) fn policy(text: &str) -> PolicySettings {
    serde_json::from_str(text).unwrap()
}

pub(crate) fn settings(text: &str) -> BalanceSettings {
    serde_json::from_str(text).unwrap()
}

pub(crate) fn request(method: &str) -> Request<Empty<Bytes>> {
    Request::builder().method(method).uri("/").body(Empty::new()).unwrap()
}

/// The status and the code of the answer.
pub(crate) async fn send<B>(balance: &Balance<Simulated>, request: Request<B>) -> (u16, Option<&'static str>)
where
    B: Body<Data = Bytes, Error: Into<gateway_core::BoxError>> + Send + Unpin + 'static,
{
    let response = balance.clone().oneshot(request).await.unwrap();
    let code = response.extensions().get::<Problem>().map(|problem| problem.code().name());
    (response.status().as_u16(), code)
}

pub(crate) async fn get(balance: &Balance<Simulated>) -> (u16, Option<&'static str>) {
    send(balance, request("GET")).await
}
