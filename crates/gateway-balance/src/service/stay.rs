//! How long an answer without an end may stay at an endpoint that is gone.

use crate::set::Picked;
use gateway_core::{Grpc, is_event_stream};
use http::{HeaderMap, HeaderValue, Response};
use http_body::Body;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::Context;

/// Whether a body is ended when its endpoint is gone, and how that stands.
pub(super) enum Stay {
    /// It has an end of its own, or is a tunnel, which its server ends.
    Unlimited,
    /// Nobody waits for it yet.
    Waiting(Kind),
    Watched(Kind, Pin<Box<dyn Future<Output = ()> + Send>>),
    Over,
}

/// How such a body ends in order.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// An event stream has no last words; its client comes back.
    Events,
    /// A call has its status in trailers.
    Grpc,
}

impl Stay {
    /// That of an answer. Only one without a length is looked at more closely.
    pub(super) fn of<B: Body>(answer: &Response<B>) -> Self {
        if answer.body().size_hint().exact().is_some() {
            return Self::Unlimited;
        }
        if Grpc::of(answer.headers()) == Some(Grpc::Native) {
            return Self::Waiting(Kind::Grpc);
        }
        match is_event_stream(answer.headers()) {
            true => Self::Waiting(Kind::Events),
            false => Self::Unlimited,
        }
    }

    /// Whether it was watched and is over.
    pub(super) fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        match self {
            Self::Watched(_, due) => due.as_mut().poll(cx).is_ready(),
            _ => false,
        }
    }

    /// Watches from now on, if that is not done yet: the first time that nothing more has come, as with an answer that is at
    /// hand there is nothing to end. Says whether that is news.
    pub(super) fn begin_to_watch(&mut self, picked: &Picked) -> bool {
        let Self::Waiting(kind) = *self else { return false };
        *self = Self::Watched(kind, Box::pin(picked.departure()));
        true
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self, Self::Over)
    }

    /// Ends it, with these trailers.
    pub(super) fn end(&mut self) -> Option<HeaderMap> {
        let Self::Watched(kind, _) = std::mem::replace(self, Self::Over) else { return None };
        match kind {
            Kind::Events => None,
            Kind::Grpc => Some(HeaderMap::from_iter(
                [
                    ("grpc-status", HeaderValue::from_static("14")),
                    ("grpc-message", HeaderValue::from_static("the endpoint is gone")),
                ]
                .map(|(name, value)| (http::HeaderName::from_static(name), value)),
            )),
        }
    }
}

impl fmt::Debug for Stay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unlimited => "Unlimited",
            Self::Waiting(_) => "Waiting",
            Self::Watched(..) => "Watched",
            Self::Over => "Over",
        })
    }
}
