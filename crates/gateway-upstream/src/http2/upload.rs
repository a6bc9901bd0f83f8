use super::head;
use bytes::Bytes;
use gateway_core::BoxError;
use h2::SendStream;
use http::HeaderMap;
use http_body::Body;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A body being sent on a stream: driven by whoever waits for the answer, as fast as the upstream takes it.
#[derive(Debug)]
pub(super) struct Upload<B> {
    stream: SendStream<Bytes>,
    chunk: Bytes,
    body: Option<B>,
    /// How long it said it would be.
    length: Option<u64>,
    sent: u64,
    begun: bool,
}

impl<B> Upload<B> {
    pub(super) fn new(stream: SendStream<Bytes>, body: B, length: Option<u64>) -> Self {
        Self { stream, chunk: Bytes::new(), body: Some(body), length, sent: 0, begun: false }
    }

    /// The body, if nothing of it was taken yet.
    pub(super) fn into_untouched(self) -> Option<B> {
        self.body.filter(|_| !self.begun)
    }
}

impl<B> Upload<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    /// Sends until all is sent, the upstream wants no more, or something has to be waited for. Only the client's own
    /// body is an error: what else broke, the answer tells.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        loop {
            if !self.chunk.is_empty() {
                self.stream.reserve_capacity(self.chunk.len());
                let mut room = self.stream.capacity();
                if room == 0 {
                    let Some(Ok(more)) = ready!(self.stream.poll_capacity(cx)) else {
                        return Poll::Ready(Ok(()));
                    };
                    room = more;
                }
                let piece = self.chunk.split_to(room.min(self.chunk.len()));
                let end = self.chunk.is_empty() && self.body.is_none();
                if self.stream.send_data(piece, end).is_err() || end {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            let Some(body) = self.body.as_mut() else { return Poll::Ready(Ok(())) };
            if self.stream.poll_reset(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            self.begun = true;
            let frame = match ready!(Pin::new(&mut *body).poll_frame(cx)) {
                None => {
                    self.finish()?;
                    // Refused only where the stream has ended already.
                    let _ = self.stream.send_data(Bytes::new(), true);
                    return Poll::Ready(Ok(()));
                }
                Some(frame) => frame.map_err(Into::into)?,
            };
            match frame.into_data() {
                Ok(data) => {
                    self.sent += data.len() as u64;
                    if self.length.is_some_and(|length| self.sent > length) {
                        return Poll::Ready(Err("the request body is longer than it said".into()));
                    }
                    if body.is_end_stream() && !data.is_empty() {
                        self.finish()?;
                    }
                    self.chunk = data;
                }
                Err(frame) => {
                    self.finish()?;
                    self.finish_with(frame.into_trailers().unwrap_or_default());
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }

    /// The body has ended: it should have all it said.
    fn finish(&mut self) -> Result<(), BoxError> {
        self.body = None;
        match self.length {
            Some(length) if self.sent != length => Err("the request body is shorter than it said".into()),
            _ => Ok(()),
        }
    }

    fn finish_with(&mut self, trailers: HeaderMap) {
        let trailers = head::trailers(trailers);
        // Refused only where the stream has ended already.
        let _ = if trailers.is_empty() {
            self.stream.send_data(Bytes::new(), true)
        } else {
            self.stream.send_trailers(trailers)
        };
    }
}
