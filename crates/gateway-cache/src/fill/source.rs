//! Where a body comes from: any body, in a box.

use bytes::Bytes;
use gateway_core::BoxError;
use http_body::{Body, Frame};
use std::pin::Pin;
use std::task::{Context, Poll};

pub(super) type Source = Pin<Box<dyn Body<Data = Bytes, Error = BoxError> + Send>>;

pub(super) fn source<B>(body: B) -> Source
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    Box::pin(AnyError { body })
}

pin_project_lite::pin_project! {
    struct AnyError<B> {
        #[pin]
        body: B,
    }
}

impl<B> Body for AnyError<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.project().body.poll_frame(cx).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
