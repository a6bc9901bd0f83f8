//! One way to recognise a caller, and what it can say.

use crate::HeaderNames;
use bytes::Bytes;
use gateway_core::{Code, Principal, Problem};
use gateway_store::Store;
use http::header::{HeaderName, HeaderValue};
use http::{Extensions, HeaderMap, Request, Response, Uri, request};
use std::fmt::{self, Debug};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// A way to recognise a caller by the head of a request. [`AuthLayer`](crate::AuthLayer) asks several in turn.
///
/// A method only says what it found. Whether a request without credentials may pass, and what becomes of one with
/// bad ones, is up to the layer's [`AuthPolicy`](crate::AuthPolicy).
pub trait Method: Debug + Send + Sync {
    /// Looks for this method's credential and, where it is, whether it is good.
    fn check(&self, head: Head<'_>) -> Check;

    /// What a 401 for a request without credentials asks for in `WWW-Authenticate`. Default: nothing.
    fn challenge(&self) -> Option<&HeaderValue> {
        None
    }

    /// A further header of such a 401, such as `Accept-Signature`. Default: none.
    fn hint(&self) -> Option<(HeaderName, HeaderValue)> {
        None
    }

    /// How large the bodies are at most that it looks at, in bytes; asked once. Default: none, for it looks at heads.
    fn max_body(&self) -> Option<u64> {
        None
    }

    /// Whether it has to see the body of this request, which a [`SignedBodyLayer`](crate::SignedBodyLayer) then reads
    /// before [`check`](Method::check). Default `false`.
    fn wants_body(&self, head: Head<'_>) -> bool {
        let _ = head;
        false
    }

    /// Whether [`strip`](Method::strip) does anything; asked once. Default `false`.
    fn strips(&self) -> bool {
        false
    }

    /// Takes from a request what must not reach the service: headers that only this method may set, and its
    /// credential where the operator wants it hidden. Called for every method of the layer and every request that
    /// passes, whichever recognised the caller, on public paths too. Default: nothing.
    fn strip(&self, request: &mut request::Parts) {
        let _ = request;
    }

    /// Headers by which only this method tells services something. [`strip`](Method::strip) takes them from requests of
    /// its own routes; an edge takes them from all others, too, for who cannot set them here could there. Default:
    /// none.
    fn sets(&self) -> HeaderNames {
        HeaderNames::default()
    }

    /// Headers in which it looks for a credential, besides `Authorization` and `Cookie`: an edge must not take them.
    /// Default: none.
    fn reads(&self) -> Vec<HeaderName> {
        Vec::new()
    }

    /// Query parameters in which it looks for a credential, for a log to leave their values out. Default: none.
    fn reads_queries(&self) -> Vec<&str> {
        Vec::new()
    }

    /// Whether those whom it asks over the network answered when they were asked last. Default: `None`, for methods that
    /// ask nobody.
    fn answered(&self) -> Option<bool> {
        None
    }

    /// The same over another connection to the store, for a thread with its own runtime. Default: `None`, for
    /// methods that have no use for a store.
    fn with_store(&self, store: &Store) -> Option<Arc<dyn Method>> {
        let _ = store;
        None
    }
}

/// The head of a request, borrowed.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    /// The request's method.
    pub method: &'a http::Method,
    /// The request's target.
    pub uri: &'a Uri,
    /// The request's headers.
    pub headers: &'a HeaderMap,
    /// What layers before this one found out: [`ClientAddr`](gateway_core::ClientAddr),
    /// [`ClientCertificate`](gateway_core::ClientCertificate), …
    pub extensions: &'a Extensions,
}

impl<'a> Head<'a> {
    /// The head of a request.
    #[must_use]
    pub fn of<B>(request: &'a Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            extensions: request.extensions(),
        }
    }

    /// The head of a request that was taken apart.
    #[must_use]
    pub fn of_parts(parts: &'a request::Parts) -> Self {
        Self {
            method: &parts.method,
            uri: &parts.uri,
            headers: &parts.headers,
            extensions: &parts.extensions,
        }
    }
}

/// Without headers and query, which may hold credentials.
impl fmt::Debug for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Head")
            .field("method", self.method)
            .field("path", &self.uri.path())
            .finish_non_exhaustive()
    }
}

/// What a method answers: at once, or after it asked somebody.
pub enum Check {
    /// Decided, without an allocation.
    Done(Verdict),
    /// Somebody else must be asked.
    Wait(Pin<Box<dyn Future<Output = Verdict> + Send>>),
}

impl Check {
    /// Decided later.
    pub fn wait(verdict: impl Future<Output = Verdict> + Send + 'static) -> Self {
        Self::Wait(Box::pin(verdict))
    }
}

/// What a method found.
#[derive(Debug)]
pub enum Verdict {
    /// The request has no such credential.
    Absent,
    /// It has none, and where it needs one there is a better answer than 401 with all challenges: a redirect to a
    /// login. Else the same as [`Absent`](Verdict::Absent): other methods are asked, and `optional` lets it pass.
    Login(Login),
    /// It has something in the place of the credential, but of another kind: another scheme, a token of another
    /// issuer. The next method is asked; if none knows better, this is the answer.
    Foreign(Refusal),
    /// It is good.
    Passed(Passed),
    /// It is bad. No other method is asked.
    Refused(Refusal),
}

/// The way to a login, which is made only where it becomes the answer: whoever knows it may have to be asked.
pub struct Login(Pin<Box<dyn Future<Output = Refusal> + Send>>);

impl Login {
    /// One that somebody else must be asked for.
    pub fn wait(answer: impl Future<Output = Refusal> + Send + 'static) -> Self {
        Self(Box::pin(answer))
    }

    /// The answer.
    pub(crate) async fn answer(self) -> Refusal {
        self.0.await
    }
}

impl<R: Into<Refusal>> From<R> for Login {
    fn from(refusal: R) -> Self {
        Self::wait(std::future::ready(refusal.into()))
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login")
    }
}

impl Verdict {
    /// The caller is recognised, and nothing else is to be done.
    #[must_use]
    pub fn passed(principal: Principal) -> Self {
        Self::Passed(Passed { principal: Some(principal), changes: None })
    }
}

/// A request that may pass.
#[derive(Clone, Debug, Default)]
pub struct Passed {
    /// Who is calling, if that came out.
    pub principal: Option<Principal>,
    /// What is to be done to the request and to its answer.
    pub changes: Option<Box<Changes>>,
}

impl Passed {
    /// Adds what another method says: its name only if there is none yet.
    pub(crate) fn extend(&mut self, other: Self) {
        self.principal = self.principal.take().or(other.principal);
        match (&mut self.changes, other.changes) {
            (Some(ours), Some(theirs)) => ours.extend(&theirs),
            (ours @ None, theirs) => *ours = theirs,
            (Some(_), None) => {}
        }
    }
}

/// What a method does to a request that passes, and to its answer.
#[derive(Clone, Default)]
pub struct Changes {
    /// Headers that are added to the request. Copies that a client may have sent are taken away by
    /// [`Method::strip`] before.
    pub request: HeaderMap,
    /// Headers that are added to the answer, such as `Set-Cookie`.
    pub response: HeaderMap,
}

impl Changes {
    /// Does what another method wants besides.
    pub(crate) fn extend(&mut self, other: &Self) {
        for (name, value) in &other.request {
            self.request.append(name, value.clone());
        }
        for (name, value) in &other.response {
            self.response.append(name, value.clone());
        }
    }
}

/// Without values, which may be credentials.
impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (request, response) = (self.request.keys(), self.response.keys());
        f.debug_struct("Changes")
            .field("request", &request.collect::<Vec<_>>())
            .field("response", &response.collect::<Vec<_>>())
            .finish()
    }
}

/// Why a request does not pass, and what it is answered.
#[derive(Debug)]
pub struct Refusal {
    answer: Box<Answer>,
    in_any_mode: bool,
}

#[derive(Debug)]
enum Answer {
    Problem(Problem),
    Response(Response<Bytes>),
}

impl Refusal {
    /// An answer of somebody else, as it is: that of a forward-auth service, a redirect to a login.
    #[must_use]
    pub fn response(response: Response<Bytes>) -> Self {
        Self { answer: Box::new(Answer::Response(response)), in_any_mode: false }
    }

    /// The same for a request that is meant for the method itself, such as one to a login's callback: it is answered
    /// where other refusals are only reported, too ([`Mode::Report`](crate::Mode::Report)).
    #[must_use]
    pub fn in_any_mode(mut self) -> Self {
        self.in_any_mode = true;
        self
    }

    /// Whether it is carried out where others are only reported.
    pub(crate) fn is_in_any_mode(&self) -> bool {
        self.in_any_mode
    }

    /// Why, where the gateway itself refuses.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match &*self.answer {
            Answer::Problem(problem) => Some(problem.code()),
            Answer::Response(_) => None,
        }
    }

    /// The status it is answered with, unless the operator says otherwise of its code.
    #[must_use]
    pub fn status(&self) -> http::StatusCode {
        match &*self.answer {
            Answer::Problem(problem) => problem.code().status(),
            Answer::Response(response) => response.status(),
        }
    }

    /// The answer.
    #[must_use]
    pub fn into_response<R: From<Bytes>>(self) -> Response<R> {
        match *self.answer {
            Answer::Problem(problem) => problem.into_response(),
            Answer::Response(response) => response.map(R::from),
        }
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self { answer: Box::new(Answer::Problem(problem)), in_any_mode: false }
    }
}
