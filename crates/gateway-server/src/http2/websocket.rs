//! WebSocket and other tunnels over one HTTP/2 stream (RFC 8441): for the handler they are what they are over HTTP/1.1.

use super::Shared;
use super::tunnel::Tunnel;
use crate::http1::{Connection, Upload};
use crate::serve::run;
use crate::{Handler, Limits, RequestBody};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use gateway_core::{Recall, Upgrade};
use gateway_http1::Framing;
use h2::ext::Protocol;
use h2::{RecvStream, SendStream};
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE,
};
use http::response::Parts;
use http::{Method, Request, StatusCode};
use std::future::Future;

/// What becomes of an extended CONNECT when its answer is 101.
pub(super) struct Extended {
    stream: RecvStream,
    upload: Upload,
    protocol: HeaderValue,
}

/// The same request as HTTP/1.1 has it: a GET that asks to change protocols. `None` is a plain CONNECT, or one to a tunnel
/// of HTTP/2, which would pass by every policy: a request to change to `h2c` is none over HTTP/1.1 either.
pub(super) fn as_upgrade(mut request: Request<RecvStream>) -> Option<(Request<RequestBody>, Extended)> {
    let protocol = request.extensions_mut().remove::<Protocol>()?;
    if protocol.as_str().split(',').any(|token| token.trim().eq_ignore_ascii_case("h2c")) {
        return None;
    }
    let protocol = HeaderValue::from_str(protocol.as_str()).ok()?;
    let (body, pipe) = RequestBody::piped(None);
    let (head, stream) = request.into_parts();
    let mut request = Request::from_parts(head, body);
    *request.method_mut() = Method::GET;
    request.headers_mut().remove(CONTENT_LENGTH);
    if protocol.as_bytes().eq_ignore_ascii_case(b"websocket") {
        // HTTP/2 does without (RFC 8441 §5), an upstream that speaks HTTP/1.1 does not (RFC 6455 §4.1).
        let nonce = STANDARD.encode(fastrand::u128(..).to_ne_bytes());
        if let Ok(key) = HeaderValue::try_from(nonce) {
            request.headers_mut().insert(SEC_WEBSOCKET_KEY, key);
        }
    }
    request.extensions_mut().insert(Upgrade(protocol.clone()));
    let upload = Upload::new(Framing::None, pipe, false, Limits::default().patience());
    Some((request, Extended { stream, upload, protocol }))
}

/// Makes of 101 what HTTP/2 says instead.
pub(super) fn grant(head: &mut Parts) {
    head.status = StatusCode::OK;
    for name in [CONNECTION, UPGRADE, SEC_WEBSOCKET_ACCEPT, CONTENT_LENGTH] {
        head.headers.remove(name);
    }
}

impl Extended {
    /// The answer grants no tunnel.
    pub(super) fn refuse(self) {
        self.upload.refuse_tunnel();
    }

    /// Bytes both ways until the end.
    pub(super) fn open<H: Handler + Clone>(
        self,
        send: SendStream<Bytes>,
        body: H::Body,
        recall: Option<Recall>,
        shared: &Shared<H>,
    ) -> impl Future<Output = ()> + 'static {
        let io = Tunnel::new(self.stream, send);
        let (handler, limits) = (shared.handler.clone(), shared.limits.clone());
        let tunnel = Connection::tunnel(io, handler, limits, (body, self.upload), &self.protocol, recall);
        let drain = shared.drain.clone();
        async move {
            run(tunnel, &drain).await;
        }
    }
}
