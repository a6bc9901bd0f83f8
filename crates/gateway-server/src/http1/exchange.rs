//! One request and its answer.

use super::MAX_DISCARD;
use super::answer::{AnswerFraming, Asked, Put, put_frame, put_head, put_interim, put_spliced};
use super::io::{Input, Output, stream_socket};
use super::recall::Recalling;
use super::upload::{Pumped, Upload};
use super::websocket::{Frames, GOING_AWAY};
use crate::{Handler, Limits, RequestBody};
use bytes::Bytes;
use gateway_core::{Recall, Upgrade, interim, spare};
use gateway_http1::{Framing, RequestHead, put_last_chunk};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version};
use http_body::{Body, Frame};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::AsyncRead;

pub(crate) struct Exchange<H: Handler> {
    pub(crate) phase: Phase<H>,
    pub(crate) upload: Option<Upload>,
    pub(crate) keep_alive: bool,
    /// Whether the client may still be sending when the connection is closed.
    pub(crate) linger: bool,
    /// Whether the client must be told, by the end of the connection, that its answer is not whole; or is gone.
    pub(crate) broken: bool,
    /// Whether the end of the connection, were it in order, would be the end of the broken answer.
    pub(crate) ends_by_close: bool,
    /// Whether both sides have left HTTP.
    pub(crate) tunnel: bool,
    /// Whether the client was told that nothing follows, while it may go on to send: half a tunnel.
    pub(crate) half_closed: bool,
    /// Ready when the tunnel is to end because its other side is gone.
    pub(crate) recalling: Option<Recalling>,
    farewell: Farewell,
    asked: Asked,
    waiting_for_client: bool,
}

/// How a tunnel is ended when the connection drains, or it has lasted as long as it may.
#[derive(Debug)]
enum Farewell {
    /// Not at all: the protocol has no words for it that are known here.
    None,
    /// Between two frames of a WebSocket.
    Due(Frames),
    /// The client was told to go.
    Said,
}

impl Farewell {
    fn of(protocol: &HeaderValue) -> Self {
        match protocol.as_bytes().eq_ignore_ascii_case(b"websocket") {
            true => Self::Due(Frames::default()),
            false => Self::None,
        }
    }
}

pub(crate) enum Phase<H: Handler> {
    Waiting(H::Future),
    Answering { body: H::Body, framing: AnswerFraming },
    Answered,
}

impl<H: Handler> Exchange<H> {
    fn new(phase: Phase<H>, upload: Option<Upload>, keep_alive: bool, asked: Asked) -> Self {
        Self {
            phase,
            upload,
            keep_alive,
            linger: false,
            broken: false,
            ends_by_close: false,
            tunnel: false,
            half_closed: false,
            recalling: None,
            farewell: Farewell::None,
            asked,
            waiting_for_client: false,
        }
    }

    /// What follows a request that was granted its tunnel elsewhere.
    pub(crate) fn tunnel(
        body: H::Body,
        mut upload: Upload,
        protocol: &HeaderValue,
        recall: Option<Recall>,
    ) -> Self {
        upload.open_tunnel();
        let asked = Asked { http_10: false, head_only: false };
        let phase = Phase::Answering { body, framing: AnswerFraming::UntilClose };
        Self {
            tunnel: true,
            recalling: recall.map(Recalling::from),
            farewell: Farewell::of(protocol),
            ..Self::new(phase, Some(upload), false, asked)
        }
    }

    pub(crate) fn begin(head: RequestHead, handler: &H, limits: &Limits) -> Self {
        let RequestHead { mut request, framing, keep_alive, expects_continue, upgrade } = head;
        let asked = Asked {
            http_10: request.version() == Version::HTTP_10,
            head_only: *request.method() == Method::HEAD,
        };
        let (mut body, upload) = if framing == Framing::None && upgrade.is_none() {
            (RequestBody::default(), None)
        } else {
            let length = if let Framing::Length(length) = framing { Some(length) } else { None };
            let (body, pipe) = RequestBody::piped(length);
            (body, Some(Upload::new(framing, pipe, expects_continue, limits.patience())))
        };
        let farewell = upgrade.as_ref().map_or(Farewell::None, Farewell::of);
        if let Some(protocol) = upgrade {
            request.extensions_mut().insert(Upgrade(protocol));
        } else if let Some(received) = body.received() {
            request.extensions_mut().insert(received);
        }
        let phase = Phase::Waiting(handler.call(request.map(|()| body)));
        Self { farewell, ..Self::new(phase, upload, keep_alive, asked) }
    }

    /// The answer to what is no request.
    pub(crate) fn refusal(future: H::Future) -> Self {
        let asked = Asked { http_10: false, head_only: false };
        Self { linger: true, ..Self::new(Phase::Waiting(future), None, false, asked) }
    }

    pub(crate) fn is_waiting_for_client(&self) -> bool {
        self.waiting_for_client
    }

    /// Whether the answer has begun and not ended.
    pub(crate) fn is_answering(&self) -> bool {
        matches!(self.phase, Phase::Answering { .. })
    }

    /// How long the client may be waited for, from the beginning of this wait.
    pub(crate) fn patience(&mut self, limits: &Limits) -> Duration {
        match (&self.phase, &mut self.upload) {
            (Phase::Waiting(_), Some(upload)) => upload.patience.wait(),
            _ => limits.body_timeout,
        }
    }

    /// Whether nothing is read for this request, now or ever: it has no body, a tunnel that is not granted, or a body
    /// that nobody wants any more.
    pub(crate) fn reads_nothing(&self) -> bool {
        self.upload.as_ref().is_none_or(|upload| match upload.is_tunnel() {
            true => !self.tunnel,
            false => !upload.has_reader(),
        })
    }

    /// Whether a tunnel's client can be told to go.
    pub(crate) fn has_farewell(&self) -> bool {
        !matches!(self.farewell, Farewell::None)
    }

    /// Whether a tunnel's client was told to go.
    pub(crate) fn is_leaving(&self) -> bool {
        self.tunnel && matches!(self.farewell, Farewell::Said)
    }

    /// Puts the words that end a tunnel, where they may stand. `data` is what the other side sends meanwhile; what
    /// is left of it is to be put.
    fn take_leave(&mut self, output: &mut Output, data: Bytes) -> Bytes {
        let Farewell::Due(frames) = &mut self.farewell else { return Bytes::new() };
        let rest = frames.pass_rest(&data);
        if frames.is_between_frames() {
            let out = output.end();
            out.extend_from_slice(&data[..rest]);
            if !frames.has_closed() {
                out.extend_from_slice(GOING_AWAY);
            }
            self.farewell = Farewell::Said;
            return Bytes::new();
        }
        data
    }

    /// What of a tunnel's frame goes to the client.
    fn follow(&mut self, output: &mut Output, frame: Frame<Bytes>, draining: bool) -> Frame<Bytes> {
        match (frame.into_data(), &mut self.farewell) {
            (Ok(_), Farewell::Said) => Frame::data(Bytes::new()),
            (Ok(data), Farewell::Due(_)) if draining => Frame::data(self.take_leave(output, data)),
            (Ok(data), Farewell::Due(frames)) => {
                frames.pass(&data);
                Frame::data(data)
            }
            (Ok(data), Farewell::None) => Frame::data(data),
            (Err(frame), _) => frame,
        }
    }

    /// Moves the answer on; says whether it did.
    pub(crate) fn poll_answer<I: 'static>(
        &mut self,
        output: &mut Output,
        io: &I,
        draining: bool,
        cx: &mut Context<'_>,
    ) -> bool {
        let mut progress = false;
        if let Phase::Waiting(future) = &mut self.phase {
            let listening = interim::listen();
            let polled = Pin::new(future).poll(cx);
            let heard = listening.heard();
            // HTTP/1.0 knows none; and whoever takes nothing of them can do without more.
            for early in heard.iter().filter(|_| !self.asked.http_10) {
                if output.has_room() {
                    put_interim(output.end(), early);
                    progress = true;
                }
            }
            let Poll::Ready(Ok(response)) = polled else { return progress };
            self.begin_answer(response, output, draining);
            progress = true;
        }
        if draining && self.tunnel && output.has_room() && matches!(self.farewell, Farewell::Due(_)) {
            self.take_leave(output, Bytes::new());
            progress |= self.is_leaving();
        }
        while let Phase::Answering { body, framing } = &mut self.phase
            && output.has_room()
        {
            if let AnswerFraming::Length(_) = framing
                && output.keeps_up()
                && let Some(socket) = stream_socket(io)
            {
                match H::splice(Pin::new(body), cx, socket) {
                    Poll::Pending => break,
                    Poll::Ready(spliced) if spliced.total() == 0 => {}
                    Poll::Ready(spliced) => {
                        progress = true;
                        let put = put_spliced(output, framing, spliced);
                        self.put(put);
                        continue;
                    }
                }
            }
            let mut polled = Pin::new(body).poll_frame(cx);
            if self.tunnel {
                polled = polled.map_ok(|frame| self.follow(output, frame, draining));
            }
            let Phase::Answering { framing, .. } = &mut self.phase else { break };
            let put = match polled {
                Poll::Pending => break,
                Poll::Ready(Some(Ok(frame))) => put_frame(output, framing, frame),
                Poll::Ready(Some(Err(_))) => Put::Broken,
                Poll::Ready(None) => match framing {
                    AnswerFraming::Length(1..) => Put::Broken,
                    AnswerFraming::Chunked => {
                        put_last_chunk(output.end(), &HeaderMap::new());
                        Put::End
                    }
                    _ => Put::End,
                },
            };
            progress = true;
            self.put(put);
        }
        progress
    }

    /// A piece of the answer was put.
    fn put(&mut self, put: Put) {
        match put {
            Put::More => {}
            Put::End => self.phase = Phase::Answered,
            Put::Broken => {
                let until_close =
                    matches!(self.phase, Phase::Answering { framing: AnswerFraming::UntilClose, .. });
                self.ends_by_close = until_close && !self.tunnel;
                self.phase = Phase::Answered;
                self.broken = true;
            }
        }
    }

    fn begin_answer(&mut self, response: Response<H::Body>, output: &mut Output, draining: bool) {
        let (mut head, body) = response.into_parts();
        let asked_for_tunnel = self.upload.as_ref().is_some_and(Upload::is_tunnel);
        match head.status {
            StatusCode::SWITCHING_PROTOCOLS if asked_for_tunnel => {
                self.tunnel = true;
                self.recalling = head.extensions.remove::<Recall>().map(Recalling::from);
                if let Some(upload) = &mut self.upload {
                    upload.open_tunnel();
                }
            }
            // Only a service that does not know what it does answers so.
            status if status.is_informational() => head.status = StatusCode::BAD_GATEWAY,
            // The tunnel was not granted, and there is no body without one.
            _ if asked_for_tunnel => {
                if let Some(upload) = self.upload.take() {
                    upload.refuse_tunnel();
                }
            }
            _ => {}
        }
        let length = body.size_hint().exact();
        let framing = AnswerFraming::of(head.status, self.asked, length);
        let readable = self.upload.as_mut().is_none_or(|upload| upload.answer_begins(MAX_DISCARD));
        let keep_alive = self.keep_alive && !draining && readable && framing != AnswerFraming::UntilClose;
        self.keep_alive = put_head(output.end(), &head, framing, length, self.asked, keep_alive);
        let ended = match framing {
            AnswerFraming::None | AnswerFraming::Length(0) => true,
            AnswerFraming::Length(_) | AnswerFraming::Chunked | AnswerFraming::UntilClose => false,
        };
        spare::give_headers(head.headers);
        self.phase = if ended { Phase::Answered } else { Phase::Answering { body, framing } };
    }

    /// Nothing more of the request's body is read, though it has not ended, nor what follows it.
    fn end_upload(&mut self) -> Option<Upload> {
        self.keep_alive = false;
        self.linger = true;
        self.upload.take()
    }

    /// The client lets the reader of its body wait for too long: whoever reads is told, and answers for it.
    pub(crate) fn give_up_upload(&mut self) {
        if let Some(upload) = self.end_upload() {
            upload.give_up();
        }
    }

    /// Moves the request's body on; says whether it did.
    pub(crate) fn poll_upload<I: AsyncRead + Unpin>(
        &mut self,
        input: &mut Input,
        output: &mut Output,
        io: &mut I,
        cx: &mut Context<'_>,
    ) -> bool {
        self.waiting_for_client = false;
        let Some(upload) = &mut self.upload else { return false };
        match upload.pump(input, output, io, cx) {
            Pumped::Progress => true,
            Pumped::Done => {
                self.upload = None;
                true
            }
            Pumped::WaitingForClient => {
                self.waiting_for_client = true;
                false
            }
            Pumped::Idle => false,
            Pumped::Malformed => {
                self.end_upload();
                true
            }
            Pumped::Gone => {
                self.broken = true;
                false
            }
        }
    }
}
