use bytes::Bytes;
use gateway_core::{BoxError, Problem};
use gateway_server::{Drain, Handler, Limits, RequestBody, serve_connection};
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;

pub(crate) type AnyBody = Pin<Box<dyn Body<Data = Bytes, Error = BoxError>>>;
type Answering = Pin<Box<dyn Future<Output = Result<Response<AnyBody>, Infallible>>>>;

/// A handler made of a closure.
pub(crate) struct Answer<F>(Rc<F>);

impl<F> Clone for Answer<F> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<F, A> Handler for Answer<F>
where
    F: Fn(Request<RequestBody>) -> A + 'static,
    A: Future<Output = Response<AnyBody>> + 'static,
{
    type Body = AnyBody;
    type Future = Answering;

    fn call(&self, request: Request<RequestBody>) -> Answering {
        let answer = (self.0)(request);
        Box::pin(async { Ok(answer.await) })
    }

    fn refuse(&self, problem: Problem) -> Answering {
        let response = problem.into_response().map(|body: Full<Bytes>| boxed(body));
        Box::pin(std::future::ready(Ok(response)))
    }
}

pub(crate) fn answer<F, A>(f: F) -> Answer<F>
where
    F: Fn(Request<RequestBody>) -> A + 'static,
    A: Future<Output = Response<AnyBody>> + 'static,
{
    Answer(Rc::new(f))
}

pub(crate) fn boxed<B>(body: B) -> AnyBody
where
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<BoxError>,
{
    Box::pin(body.map_err(Into::into))
}

pub(crate) fn text(text: impl Into<Bytes>) -> Response<AnyBody> {
    Response::new(boxed(Full::new(text.into())))
}

/// Answers with so many pieces of so many bytes, of which the script tells how many were taken.
pub(crate) fn a_long_answer(pieces: usize, bytes: usize) -> (Script, impl Handler + Clone) {
    let script = Script::default();
    for _ in 0..pieces {
        script.data(vec![b'x'; bytes]);
    }
    let body = script.clone();
    let handler = answer(move |_| {
        let body = body.body();
        async { Response::new(body) }
    });
    (script, handler)
}

/// Answers with method, path and body of the request. Refuses upgrades.
pub(crate) async fn echo(request: Request<RequestBody>) -> Response<AnyBody> {
    let (head, body) = request.into_parts();
    if head.extensions.get::<gateway_core::Upgrade>().is_some() {
        return text("no upgrade");
    }
    match body.collect().await {
        Ok(body) => {
            let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
            text(format!("{} {} {body}", head.method, head.uri.path()))
        }
        Err(error) => Problem::of_request_body(&error).into_response().map(|body: Full<Bytes>| boxed(body)),
    }
}

/// A body whose frames the test puts in, and which counts what was taken.
#[derive(Clone, Default)]
pub(crate) struct Script(Rc<ScriptState>);

/// What one poll of a body yields.
type Polled = Option<Result<Frame<Bytes>, BoxError>>;

#[derive(Default)]
struct ScriptState {
    frames: RefCell<VecDeque<Polled>>,
    taken: Cell<usize>,
    dropped: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Script {
    pub(crate) fn of(pieces: &[&'static str]) -> Self {
        let script = Self::default();
        for piece in pieces {
            script.data(*piece);
        }
        script
    }
    fn put(&self, frame: Polled) {
        self.0.frames.borrow_mut().push_back(frame);
        if let Some(waker) = self.0.waker.take() {
            waker.wake();
        }
    }
    pub(crate) fn data(&self, data: impl Into<Bytes>) {
        self.put(Some(Ok(Frame::data(data.into()))));
    }
    pub(crate) fn trailers(&self, name: &'static str, value: &'static str) {
        let mut trailers = http::HeaderMap::new();
        trailers.insert(name, value.parse().unwrap());
        self.put(Some(Ok(Frame::trailers(trailers))));
    }
    pub(crate) fn fail(&self) {
        self.put(Some(Err("broken".into())));
    }
    pub(crate) fn end(&self) {
        self.put(None);
    }
    pub(crate) fn taken(&self) -> usize {
        self.0.taken.get()
    }
    pub(crate) fn is_dropped(&self) -> bool {
        self.0.dropped.get()
    }
    pub(crate) fn body(&self) -> AnyBody {
        Box::pin(ScriptBody(self.clone()))
    }
}

struct ScriptBody(Script);

impl Body for ScriptBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let state = &self.0.0;
        match state.frames.borrow_mut().pop_front() {
            Some(frame) => {
                state.taken.set(state.taken.get() + 1);
                Poll::Ready(frame)
            }
            None => {
                *state.waker.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for ScriptBody {
    fn drop(&mut self) {
        self.0.0.dropped.set(true);
    }
}

/// Sets its flag when it is dropped.
pub(crate) struct OnDrop(pub(crate) Rc<Cell<bool>>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

pub(crate) struct Client<I = DuplexStream> {
    pub(crate) io: I,
    seen: Vec<u8>,
    pub(crate) drain: Drain,
    pub(crate) server: JoinHandle<()>,
}

pub(crate) fn connect<H: Handler + Clone>(handler: H) -> Client {
    connect_with(handler, Limits::default(), 64 * 1024)
}

/// `pipe` is how much fits into the connection in each direction.
pub(crate) fn connect_with<H: Handler + Clone>(handler: H, limits: Limits, pipe: usize) -> Client {
    let (io, server) = tokio::io::duplex(pipe);
    serve(io, server, handler, limits)
}

pub(crate) fn serve<I, S, H>(io: I, server: S, handler: H, limits: Limits) -> Client<I>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    H: Handler + Clone,
{
    let drain = Drain::default();
    let server = tokio::task::spawn_local(serve_connection(server, handler, Rc::new(limits), drain.clone()));
    Client { io, seen: Vec::new(), drain, server }
}

/// Far beyond every limit; time is paused, so it costs nothing.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

impl<I: AsyncRead + AsyncWrite + Unpin> Client<I> {
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.io.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Whatever the server sent since it was last looked at, without its dates, up to and with `end`.
    #[track_caller]
    pub(crate) fn until(&mut self, end: &str) -> impl Future<Output = String> {
        let place = std::panic::Location::caller();
        async move {
            let reading = async {
                loop {
                    let seen = without_dates(&self.seen);
                    if let Some(at) = seen.find(end) {
                        let (here, rest) = seen.split_at(at + end.len());
                        self.seen = rest.as_bytes().to_vec();
                        return here.to_owned();
                    }
                    let read = self.io.read_buf(&mut self.seen).await;
                    assert!(matches!(read, Ok(1..)), "{place}: {read:?} after {seen:?}");
                }
            };
            match tokio::time::timeout(PATIENCE, reading).await {
                Ok(seen) => seen,
                Err(_) => panic!("{place}: the server says no more than {:?}", without_dates(&self.seen)),
            }
        }
    }

    /// All that the server sends until it closes.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> impl Future<Output = String> {
        let place = std::panic::Location::caller();
        async move {
            match tokio::time::timeout(PATIENCE, self.io.read_to_end(&mut self.seen)).await {
                Ok(read) => {
                    read.unwrap();
                }
                Err(_) => panic!("{place}: still open after {:?}", without_dates(&self.seen)),
            }
            without_dates(&std::mem::take(&mut self.seen))
        }
    }

    /// Whether nothing was sent that was not looked at, nor is when all that can run has run.
    pub(crate) async fn is_silent(&mut self) -> bool {
        settle().await;
        let reading = tokio::time::timeout(Duration::ZERO, self.io.read_buf(&mut self.seen));
        reading.await.is_err() && self.seen.is_empty()
    }
}

/// Lets every task run until it waits.
pub(crate) async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

fn without_dates(wire: &[u8]) -> String {
    let wire = String::from_utf8_lossy(wire);
    let mut out = String::with_capacity(wire.len());
    let mut rest = &*wire;
    while let Some(at) = rest.find("\r\ndate: ") {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        match after[2..].find("\r\n") {
            Some(end) => rest = &after[2 + end..],
            None => {
                out.push_str(after);
                rest = "";
            }
        }
    }
    out + rest
}
