//! A row of the tables: bytes, and what has to become of them.

use gateway_testkit::{Gateway, Recorded, Upstream, Wire, wait_until};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);
/// Follows requests that end their connection: it must never be served.
const SMUGGLED: &[u8] = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/// A request with these fields, `Host` besides.
pub(crate) fn get(target: &str, fields: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes()
}

/// A POST with these fields, `Host` besides, and what follows its head.
pub(crate) fn post(fields: &str, rest: &str) -> Vec<u8> {
    format!("POST /x HTTP/1.1\r\nHost: a\r\n{fields}\r\n{rest}").into_bytes()
}

/// A POST whose body is chunked.
pub(crate) fn chunked(body: &str) -> Vec<u8> {
    post("Transfer-Encoding: chunked\r\n", body)
}

/// What the upstream must have seen.
#[derive(Default)]
pub(crate) struct Seen {
    line: String,
    with: Vec<(&'static str, String)>,
    without: Vec<&'static str>,
    body: String,
}

/// A request with this method and target, without a body.
pub(crate) fn seen(line: &str) -> Seen {
    Seen { line: line.to_owned(), ..Seen::default() }
}

impl Seen {
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.with.push((name, value.to_owned()));
        self
    }

    pub(crate) fn without(mut self, names: &[&'static str]) -> Self {
        self.without.extend(names);
        self
    }

    pub(crate) fn body(mut self, body: &str) -> Self {
        self.body = body.to_owned();
        self
    }

    pub(crate) fn differs(&self, request: &Recorded) -> Option<String> {
        let line = format!("{} {}", request.method, request.target);
        if line != self.line || request.body != self.body.as_bytes() {
            let body = String::from_utf8_lossy(&request.body);
            return Some(format!("upstream saw `{line}` {body:?}, expected `{}` {:?}", self.line, self.body));
        }
        for (name, value) in &self.with {
            let all: Vec<_> = values(request, name);
            if all != [value.as_str()] {
                return Some(format!("upstream saw {name}: {all:?}, expected {value:?}"));
            }
        }
        let found = self.without.iter().find(|name| !values(request, name).is_empty());
        found.map(|name| format!("upstream saw {name}")).or_else(|| ambiguous(request))
    }
}

fn values<'r>(request: &'r Recorded, name: &str) -> Vec<&'r str> {
    let same = request.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
    same.map(|(_, value)| value.as_str()).collect()
}

/// What no upstream may ever see.
fn ambiguous(request: &Recorded) -> Option<String> {
    let head = &request.raw_head;
    let bare = (0..head.len()).any(|i| match head[i] {
        b'\n' => i == 0 || head[i - 1] != b'\r',
        b'\r' => head.get(i + 1) != Some(&b'\n'),
        b'\0' => true,
        _ => false,
    });
    let count = |name| values(request, name).len();
    let framings = count("content-length") + count("transfer-encoding");
    let folded = head.windows(2).any(|pair| pair[0] == b'\n' && matches!(pair[1], b' ' | b'\t'));
    (bare || folded || framings > 1 || count("host") != 1)
        .then(|| format!("upstream saw an ambiguous head: {:?}", String::from_utf8_lossy(head)))
}

/// Bytes on one connection, and what has to become of them.
pub(crate) struct Case {
    what: String,
    send: Vec<u8>,
    answers: Vec<u16>,
    closed: bool,
    seen: Vec<Seen>,
    broken_off: usize,
    /// Whether the client ends its side.
    finish: bool,
    head_only: bool,
}

impl Case {
    fn new(what: impl Into<String>, send: impl Into<Vec<u8>>, answers: Vec<u16>, closed: bool) -> Self {
        let (what, send) = (what.into(), send.into());
        Self { what, send, answers, closed, seen: Vec::new(), broken_off: 0, finish: false, head_only: false }
    }

    /// No request: answered, never shown to the upstream, and nothing after it is served.
    pub(crate) fn refused(what: impl Into<String>, send: impl Into<Vec<u8>>, status: u16) -> Self {
        let mut send = send.into();
        send.extend_from_slice(SMUGGLED);
        Self::new(what, send, vec![status], true)
    }

    /// A request that is understood, and refused: the connection is of further use.
    pub(crate) fn turned_away(what: impl Into<String>, send: impl Into<Vec<u8>>, status: u16) -> Self {
        Self::new(what, send, vec![status], false)
    }

    /// Reaches the upstream like this, and is answered 200.
    pub(crate) fn passes(what: impl Into<String>, send: impl Into<Vec<u8>>, seen: Seen) -> Self {
        Self { seen: vec![seen], ..Self::new(what, send, vec![200], false) }
    }

    /// Several answers in order, and whether the connection is closed after them.
    pub(crate) fn several(
        what: &str,
        send: impl Into<Vec<u8>>,
        answers: &[u16],
        closed: bool,
        seen: Vec<Seen>,
    ) -> Self {
        Self { seen, ..Self::new(what, send, answers.to_vec(), closed) }
    }

    /// Ends before it is whole: nobody is left to be answered.
    pub(crate) fn cut(what: impl Into<String>, send: impl Into<Vec<u8>>) -> Self {
        Self { finish: true, ..Self::new(what, send, Vec::new(), true) }
    }

    /// The gateway closes after the answer, as it was asked to.
    pub(crate) fn closes(self) -> Self {
        Self { closed: true, ..self }
    }

    /// The answer has no body.
    pub(crate) fn head_only(self) -> Self {
        Self { head_only: true, ..self }
    }

    /// The upstream saw a head whose body ended too soon.
    pub(crate) fn broken_off(self) -> Self {
        Self { broken_off: 1, ..self }
    }

    /// Says what is wrong.
    pub(crate) fn run(self, gateway: &Gateway, upstream: &Upstream) -> Option<String> {
        let (hits, broken) = (upstream.hits(), upstream.broken_off().len());
        let mut wrong = Vec::new();
        let mut wire = Wire::connect(gateway.addr()).with_patience(PATIENCE);
        // The gateway may refuse before all is written.
        let _ = wire.send(&self.send);
        if self.finish {
            let _ = wire.finish();
        }
        for status in &self.answers {
            match wire.answer(if self.head_only { "HEAD" } else { "GET" }) {
                Ok(answer) if answer.status == *status => {}
                Ok(answer) => wrong.push(format!("{} {}, expected {status}", answer.status, answer.text())),
                Err(error) => wrong.push(format!("no answer ({error}), expected {status}")),
            }
        }
        let probe = b"GET /probe HTTP/1.1\r\nHost: a\r\n\r\n";
        if self.closed {
            match wire.rest() {
                Ok(rest) if rest.is_empty() => {}
                Ok(rest) => wrong.push(format!("and then {:?}", String::from_utf8_lossy(&rest))),
                Err(error) => wrong.push(format!("the connection was not closed in order: {error}")),
            }
            wire = Wire::connect(gateway.addr()).with_patience(PATIENCE);
        }
        // What was left over by the request would stand before this one, on either side.
        let probed = wire.send(probe).and_then(|()| wire.answer("GET"));
        if !probed.as_ref().is_ok_and(|answer| answer.status == 200) {
            wrong.push(format!("the next request is not answered: {probed:?}"));
        }
        let requests = upstream.requests().split_off(hits);
        let (last, requests) = requests.split_last().expect("the probe");
        if last.target != "/probe" {
            wrong.push(format!("the upstream saw `{}` last", last.target));
        }
        if requests.len() != self.seen.len() {
            let lines: Vec<_> = requests.iter().map(|r| format!("{} {}", r.method, r.target)).collect();
            wrong.push(format!("upstream saw {lines:?}, expected {} requests", self.seen.len()));
        }
        wrong.extend(self.seen.iter().zip(requests).filter_map(|(seen, request)| seen.differs(request)));
        let enough = || (upstream.broken_off().len() - broken >= self.broken_off).then_some(());
        wait_until("the upstream to see the end of a half request", PATIENCE, enough);
        let start = self.send.len().min(120);
        let shown = String::from_utf8_lossy(&self.send[..start]);
        (!wrong.is_empty()).then(|| format!("- {}: {}\n  {shown:?}", self.what, wrong.join("; ")))
    }
}
