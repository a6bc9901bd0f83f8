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
use std::time::Duration;
use tokio::net::TcpStream;

const EXE: &str = env!("CARGO_BIN_EXE_gateway");
const SOON: Duration = Duration::from_secs(20);
/// 32 clients of HTTP/1.1 and 32 streams on 4 connections of HTTP/2, each this often: 2,000 requests a second.
const PACE: Duration = Duration::from_millis(32);
const RELOADS: usize = 50;

#[derive(Default)]
struct Tally {
    /// Answered in full, with what was sent.
    done: AtomicUsize,
    /// Sent again by the client, on a new connection: the old one was closed while the request was on its way
    /// (RFC 9110 §9.2.2, RFC 9113 §8.7).
    resent: AtomicUsize,
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

enum Connection {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    async fn open(addr: SocketAddr, version: u8) -> Result<Self, String> {
        let stream = TcpStream::connect(addr).await.map_err(|error| format!("connecting: {error}"))?;
        let stream = TokioIo::new(stream);
        let words = |error: hyper::Error| format!("opening: {error}");
        if version == 1 {
            let (sender, connection) = http1::handshake(stream).await.map_err(words)?;
            tokio::spawn(connection);
            return Ok(Self::Http1(sender));
        }
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new());
        let (sender, connection) = builder.handshake(stream).await.map_err(words)?;
        tokio::spawn(connection);
        Ok(Self::Http2(sender))
    }

    /// The status and the body; an error where there was no answer at all.
    async fn send(&mut self, method: &str, body: &Bytes) -> Result<(u16, Option<Bytes>), hyper::Error> {
        let request = http::Request::builder().method(method).uri("http://shop.example/x");
        let request = request.header("Host", "shop.example").body(Full::new(body.clone())).unwrap();
        let answer = match self {
            Self::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Self::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        let status = answer.status().as_u16();
        Ok((status, answer.into_body().collect().await.ok().map(http_body_util::Collected::to_bytes)))
    }
}

/// One client that sends request after request until the gateway is told to end.
async fn client(addr: SocketAddr, version: u8, number: usize, tally: Arc<Tally>) {
    let mut connection = None;
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
        let mut tries = 0;
        let outcome = loop {
            let reused = connection.is_some();
            let open = match connection.take() {
                Some(open) => Ok(open),
                None => Connection::open(addr, version).await,
            };
            let mut open = match open {
                Ok(open) => open,
                Err(error) => break Err(error),
            };
            match open.send(method, &body).await {
                Ok((200, Some(answer))) if answer == body => {
                    connection = Some(open);
                    break Ok(());
                }
                Ok((status, answer)) => break Err(format!("{status} {answer:?}")),
                // Closed while it was on its way: for what may be sent twice, the next connection is the answer.
                Err(_) if reused && tries == 0 && method != "POST" => {
                    tries += 1;
                    tally.count(&tally.resent);
                }
                Err(error) => break Err(format!("{error:?}")),
            }
        };
        let ending = tally.ending.load(Ordering::Relaxed);
        match (method, outcome) {
            ("POST", Ok(())) => tally.count(&tally.posts),
            ("POST", Err(_)) => tally.count(&tally.posts_failed),
            (_, Ok(())) => tally.count(&tally.done),
            // It has stopped listening, as it was told to.
            (_, Err(why)) if ending && why.starts_with("connecting") => return,
            (method, Err(why)) => {
                println!("HTTP/{version} {method} failed: {why}");
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
         endpoints = [{}]\nretry = {{ attempts = 4, budget = 100 }}\ntimeout = \"{timeout}s\"\n[[routes]]\npath = \"/*\"\nservice = \"a\"\n",
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

    let tally = Arc::new(Tally::default());
    let load = tally.clone();
    let clients = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut clients = Vec::new();
            for number in 0..32 {
                clients.push(tokio::spawn(client(addr, 1, number, load.clone())));
                clients.push(tokio::spawn(client(addr, 2, number, load.clone())));
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
        "{} requests, {} of them sent again by the client after its connection was closed; {} failed; over {reloads} \
         reloads, {} instances killed, a hand-over and the end. {} POSTs besides, {} of them failed.",
        of(&tally.done),
        of(&tally.resent),
        of(&tally.failed),
        RELOADS / 5,
        of(&tally.posts),
        of(&tally.posts_failed),
    );
    assert_eq!(reloads, RELOADS as u64);
    assert_eq!(of(&tally.failed), 0);
}
