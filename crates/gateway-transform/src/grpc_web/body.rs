//! Bodies of requests and answers, changed as they come.

use super::head::Form;
use super::text::{Decoder, encode};
use super::trailers;
use bytes::Bytes;
use gateway_core::BoxError;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

pin_project! {
    /// The body of a request behind [`GrpcWeb`](crate::GrpcWeb): as it came, or decoded from base64 as it comes.
    ///
    /// What is no base64 fails with [`GrpcWebError`](crate::GrpcWebError).
    #[derive(Debug)]
    pub struct GrpcWebRequestBody<B> {
        #[pin]
        body: B,
        decoder: Option<Decoder>,
    }
}

impl<B> GrpcWebRequestBody<B> {
    pub(super) fn new(body: B, form: Option<Form>) -> Self {
        let decoder = (form == Some(Form::Text)).then(Decoder::default);
        Self { body, decoder }
    }
}

impl<B> Body for GrpcWebRequestBody<B>
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
        let mut this = self.project();
        loop {
            let frame = ready!(this.body.as_mut().poll_frame(cx)).transpose().map_err(Into::into)?;
            let Some(decoder) = this.decoder else { return Poll::Ready(frame.map(Ok)) };
            let frame = match frame.map(Frame::into_data) {
                Some(Ok(text)) => match decoder.decode(&text)? {
                    // Not a whole group yet.
                    none if none.is_empty() => continue,
                    bytes => Some(Frame::data(bytes)),
                },
                Some(Err(trailers)) => {
                    decoder.end()?;
                    Some(trailers)
                }
                None => {
                    decoder.end()?;
                    None
                }
            };
            return Poll::Ready(frame.map(Ok));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream() && self.decoder.as_ref().is_none_or(Decoder::is_between_groups)
    }

    fn size_hint(&self) -> SizeHint {
        let written = self.body.size_hint();
        if self.decoder.is_none() || written.exact() == Some(0) {
            return written;
        }
        // A group of four stands for one to three bytes; one may have begun in a piece before.
        let mut decoded = SizeHint::new();
        decoded.set_lower(written.lower() / 4);
        if let Some(most) = written.upper().and_then(|upper| (upper / 4 + 1).checked_mul(3)) {
            decoded.set_upper(most);
        }
        decoded
    }
}

pin_project! {
    /// The body of an answer of [`GrpcWeb`](crate::GrpcWeb): as it comes, or with its trailers in a last frame.
    #[derive(Debug)]
    pub struct GrpcWebBody<R> {
        #[pin]
        body: R,
        form: Option<Form>,
    }
}

impl<R> GrpcWebBody<R> {
    pub(super) fn new(body: R, form: Option<Form>) -> Self {
        Self { body, form }
    }
}

impl<R: Body<Data = Bytes>> Body for GrpcWebBody<R> {
    type Data = Bytes;
    type Error = R::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, R::Error>>> {
        let this = self.project();
        let Some(frame) = ready!(this.body.poll_frame(cx)).transpose()? else { return Poll::Ready(None) };
        let Some(form) = *this.form else { return Poll::Ready(Some(Ok(frame))) };
        let frame = match frame.into_data().map_err(Frame::into_trailers) {
            Ok(data) => data,
            Err(Ok(trailers)) => trailers::frame(&trailers),
            Err(Err(unknown)) => return Poll::Ready(Some(Ok(unknown))),
        };
        let frame = if form == Form::Text { encode(&frame) } else { frame };
        Poll::Ready(Some(Ok(Frame::data(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.form {
            None => self.body.size_hint(),
            Some(_) if self.body.is_end_stream() => SizeHint::with_exact(0),
            // Nobody knows the trailers before they come.
            Some(_) => SizeHint::default(),
        }
    }
}
