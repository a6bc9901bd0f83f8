//! Everything that changes under a gateway, in one run under load: reloads, instances that are killed and restarted,
//! an upstream that closes idle connections, the hand-over to the next process, and the end. No request that may be
//! sent twice fails.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use gateway_testkit::{
    Client, Gateway, Process, Recorded, Reply, Request, Signal, Upstream, get, wait_until,
};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

const EXE: &str = env!("CARGO_BIN_EXE_gateway");
const SOON: Duration = Duration::from_secs(20);
/// 32 clients of HTTP/1.1 and 32 of HTTP/2, each this often: 2,000 requests a second, if the machine can.
const PACE: Duration = Duration::from_millis(32);
/// The clients of HTTP/2 share as many connections.
const SHARED: usize = 4;
const RELOADS: usize = 50;

#[derive(Default)]
struct Tally {
    /// Answered in full, with what was sent.
    done: AtomicUsize,
    /// Sent again by the client over HTTP/1.1, on a new connection: the old one was closed while the request was on
    /// its way (RFC 9110 §9.2.2).
    resent: AtomicUsize,
    /// The same over HTTP/2: the request left behind the answer to the gateway's last PING, which is when the last
    /// stream is settled (RFC 9113 §6.8).
    resent_http2: AtomicUsize,
    failed: AtomicUsize,
    /// POSTs, which nobody may send twice: they fail with the instance that they were sent to.
    posts: AtomicUsize,
    posts_failed: AtomicUsize,
    ending: AtomicBool,
}

impl Tally {
    fn count(&self, of: &AtomicUsize) {
        of.fetch_add(1, Ordering::Relaxed);
    }
}

type Http1 = http1::SendRequest<Full<Bytes>>;
type Http2 = http2::SendRequest<Full<Bytes>>;

async fn dial(addr: SocketAddr) -> Result<TokioIo<TcpStream>, String> {
    TcpStream::connect(addr).await.map(TokioIo::new).map_err(|error| format!("connecting: {error}"))
}

/// A connection of HTTP/2 that several clients share.
#[derive(Default)]
struct Shared(tokio::sync::Mutex<Option<Http2>>);

impl Shared {
    /// One that takes requests: a new one where the gateway has said that the last one ends.
    async fn ready(&self, addr: SocketAddr) -> Result<Http2, String> {
        let mut current = self.0.lock().await;
        if let Some(sender) = &mut *current
            && sender.ready().await.is_ok()
        {
            return Ok(sender.clone());
        }
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new());
        let opened = builder.handshake(dial(addr).await?).await;
        let (sender, connection) = opened.map_err(|error| format!("opening: {error}"))?;
        tokio::spawn(connection);
        Ok(current.insert(sender).clone())
    }
}

enum Connection {
    /// Its own, if it is open.
    Http1(Option<Http1>),
    Http2(Arc<Shared>),
}

impl Connection {
    fn version(&self) -> u8 {
        match self {
            Self::Http1(_) => 1,
            Self::Http2(_) => 2,
        }
    }

    /// The status and the body; what was wrong where there is no answer.
    async fn send(
        &mut self,
        addr: SocketAddr,
        method: &str,
        body: &Bytes,
        tally: &Tally,
    ) -> Result<(u16, Option<Bytes>), String> {
        let request = http::Request::builder().method(method).uri("http://shop.example/x");
        let request = request.header("Host", "shop.example").body(Full::new(body.clone())).unwrap();
        let answer = match self {
            Self::Http1(kept) => {
                let reused = kept.is_some();
                let answer = Self::send_http1(kept, addr, request.clone()).await;
                match answer {
                    // For what may be sent twice, the next connection is the answer.
                    Err(_) if reused && method != "POST" => {
                        tally.count(&tally.resent);
                        *kept = None;
                        Self::send_http1(kept, addr, request).await
                    }
                    answer => answer,
                }
            }
            Self::Http2(shared) => loop {
                match shared.ready(addr).await?.send_request(request.clone()).await {
                    // It has not left: the connection was said to end before its turn came.
                    Err(error) if error.is_canceled() => {}
                    Err(error) if says_goodbye(&error) && method != "POST" => {
                        tally.count(&tally.resent_http2);
                    }
                    answer => break answer.map_err(|error| format!("{error:?}")),
                }
            },
        }?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.ok().map(http_body_util::Collected::to_bytes);
        if body.is_none()
            && let Self::Http1(kept) = self
        {
            *kept = None;
        }
        Ok((status, body))
    }

    async fn send_http1(
        kept: &mut Option<Http1>,
        addr: SocketAddr,
        request: http::Request<Full<Bytes>>,
    ) -> Result<http::Response<hyper::body::Incoming>, String> {
        let sender = match kept {
            Some(sender) => sender,
            None => {
                let opened = http1::handshake(dial(addr).await?).await;
                let (sender, connection) = opened.map_err(|error| format!("opening: {error}"))?;
                tokio::spawn(connection);
                kept.insert(sender)
            }
        };
        let answer = match sender.ready().await {
            Ok(()) => sender.send_request(request).await,
            Err(error) => Err(error),
        };
        if answer.is_err() {
            *kept = None;
        }
        answer.map_err(|error| format!("{error:?}"))
    }
}

/// Whether the connection has ended in order, before this request's turn.
fn says_goodbye(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| cause.is_go_away() && cause.reason() == Some(h2::Reason::NO_ERROR))
}

/// One client that sends request after request until the gateway is told to end.
async fn client(addr: SocketAddr, mut connection: Connection, number: usize, tally: Arc<Tally>) {
    let mut ticks = tokio::time::interval(PACE);
    for turn in number.. {
        ticks.tick().await;
        if tally.ending.load(Ordering::Relaxed) {
            return;
        }
        let method = ["GET", "PUT", "GET", "PUT", "DELETE", "POST", "GET", "PUT"][turn % 8];
        let body = match method {
            "PUT" | "POST" => Bytes::from(format!("{number}-{turn}-").repeat(100)),
            _ => Bytes::new(),
        };
        let outcome = match connection.send(addr, method, &body, &tally).await {
            Ok((200, Some(answer))) if answer == body => Ok(()),
            Ok((status, answer)) => Err(format!("{status} {answer:?}")),
            Err(why) => Err(why),
        };
        let ending = tally.ending.load(Ordering::Relaxed);
        match (method, outcome) {
            ("POST", Ok(())) => tally.count(&tally.posts),
            ("POST", Err(_)) => tally.count(&tally.posts_failed),
            (_, Ok(())) => tally.count(&tally.done),
            // It has stopped listening, as it was told to.
            (_, Err(why)) if ending && why.starts_with("connecting") => return,
            (method, Err(why)) => {
                println!("HTTP/{} {method} failed: {why}", connection.version());
                tally.count(&tally.failed);
            }
        }
    }
}

fn echo(request: &Recorded) -> Reply {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.body.len());
    Reply::raw(&[head.as_bytes(), &request.body].concat(), false)
}

fn config(upstreams: &[&Upstream], timeout: usize) -> String {
    let endpoints: Vec<String> = upstreams.iter().map(|upstream| format!("\"{}\"", upstream.url())).collect();
    format!(
        "access_log = false\n[server]\nlisten = \"127.0.0.1:@PORT@\"\nworkers = 2\nwatch = false\n\
         drain_timeout = \"20s\"\n[admin]\nlisten = \"127.0.0.1:@ADMIN@\"\n[services.a]\n\
         endpoints = [{}]\nretry = 4\ntimeout = \"{timeout}s\"\n[[routes]]\npath = \"/*\"\nservice = \"a\"\n",
        endpoints.join(", ")
    )
}

fn ended(process: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    status.is_empty() || status.contains(") Z ")
}

/// The process that a gateway has started to take its place.
fn child_of(process: &Process) -> u32 {
    let children = format!("/proc/{0}/task/{0}/children", process.id());
    wait_until("the next process", SOON, || {
        std::fs::read_to_string(&children).ok()?.split_whitespace().next()?.parse().ok()
    })
}

#[test]
fn nothing_is_lost_whatever_changes() {
    let (mut a, mut b, flaky) = (Upstream::start(echo), Upstream::start(echo), Upstream::start(echo));
    let text = |timeout| config(&[&a, &b, &flaky], timeout);
    let texts = [text(10), text(11)];
    let gateway = Gateway::builder(EXE).config(&texts[0]).start();
    let (addr, admin) = (gateway.addr(), gateway.admin());
    let (file, port) = (gateway.dir().join("gateway.toml"), addr.port());

    let began = Instant::now();
    let tally = Arc::new(Tally::default());
    let load = tally.clone();
    let clients = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let shared: [Arc<Shared>; SHARED] = Default::default();
            let mut clients = Vec::new();
            for number in 0..32 {
                let over = [Connection::Http1(None), Connection::Http2(shared[number % SHARED].clone())];
                for connection in over {
                    clients.push(tokio::spawn(client(addr, connection, number, load.clone())));
                }
            }
            for client in clients {
                client.await.unwrap();
            }
        });
    });
    let after = |more: usize| {
        let goal = tally.done.load(Ordering::Relaxed) + more;
        wait_until("the load to go on", SOON, || (tally.done.load(Ordering::Relaxed) >= goal).then_some(()));
    };
    after(500);

    for turn in 0..RELOADS {
        let text = texts[(turn + 1) % 2]
            .replace("@PORT@", &port.to_string())
            .replace("@ADMIN@", &admin.port().to_string());
        std::fs::write(&file, text).unwrap();
        let answer = Client::new(admin).send(&Request::new("POST", "/reload"));
        assert_eq!((answer.status, answer.text().as_str()), (200, "reloaded\n"));
        match turn % 10 {
            0 => a.kill(),
            3 => a.restart(),
            5 => b.kill(),
            8 => b.restart(),
            _ => flaky.close_connections(),
        }
        after(100);
    }
    let reloads = get(admin, "/config").json()["reloads"].as_u64().unwrap();

    gateway.process().signal(Signal::SIGUSR2);
    let next = child_of(gateway.process());
    wait_until("the first process to end", SOON, || ended(gateway.process().id()).then_some(()));
    after(1000);

    tally.ending.store(true, Ordering::Relaxed);
    let told = std::process::Command::new("sh").args(["-c", &format!("kill -TERM {next}")]).status();
    assert!(told.unwrap().success());
    clients.join().unwrap();
    wait_until("the next process to end", SOON, || ended(next).then_some(()));

    let of = |count: &AtomicUsize| count.load(Ordering::Relaxed);
    println!(
        "{} requests, {:.0} a second, {} and {} of them sent again by their clients over HTTP/1.1 and HTTP/2, whose \
         connections were closed; {} failed; over {reloads} reloads, {} instances killed, a hand-over and the end. {} POSTs besides, {} of them \
         failed.",
        of(&tally.done),
        (of(&tally.done) + of(&tally.posts)) as f64 / began.elapsed().as_secs_f64(),
        of(&tally.resent),
        of(&tally.resent_http2),
        of(&tally.failed),
        RELOADS / 5,
        of(&tally.posts),
        of(&tally.posts_failed),
    );
    assert_eq!(reloads, RELOADS as u64);
    assert_eq!(of(&tally.failed), 0);
}
