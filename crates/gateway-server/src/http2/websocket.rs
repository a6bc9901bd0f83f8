//! WebSocket and other tunnels over one HTTP/2 stream (RFC 8441): for the handler they are what they are over HTTP/1.1.

use super::stream::{AnswerBody, Counted};
use crate::http1::{Connection, Upload};
use crate::serve::run;
use crate::{Handler, RequestBody};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gateway_core::Upgrade;
use gateway_http1::Framing;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE,
};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

/// What becomes of an extended CONNECT when its answer is 101.
pub(super) struct Extended {
    on_upgrade: OnUpgrade,
    upload: Upload,
    protocol: HeaderValue,
}

/// The same request as HTTP/1.1 has it: a GET that asks to change protocols. `None` is a plain CONNECT.
pub(super) fn as_upgrade(mut request: Request<Incoming>) -> Option<(Request<RequestBody>, Extended)> {
    let protocol = request.extensions_mut().remove::<Protocol>()?;
    let protocol = HeaderValue::from_str(protocol.as_str()).ok()?;
    let on_upgrade = hyper::upgrade::on(&mut request);
    let (body, pipe) = RequestBody::piped(None);
    let mut request = request.map(|_| body);
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
    let upload = Upload::new(Framing::None, pipe, false);
    Some((request, Extended { on_upgrade, upload, protocol }))
}

/// The answer to an extended CONNECT. 101 is 200 here, and the tunnel is begun.
///
/// Another success is an error, which is to be answered instead: HTTP/2 would take its body for the tunnel's bytes.
pub(super) fn granted<H: Handler + Clone>(
    extended: Extended,
    response: Response<H::Body>,
    counted: Counted<H>,
) -> Result<Response<AnswerBody<H>>, Counted<H>> {
    let Extended { on_upgrade, upload, protocol } = extended;
    let (mut head, body) = response.into_parts();
    if head.status != StatusCode::SWITCHING_PROTOCOLS {
        upload.refuse_tunnel();
        if head.status.is_success() {
            return Err(counted);
        }
        return Ok(Response::from_parts(head, AnswerBody::of(body, counted)));
    }
    head.status = StatusCode::OK;
    for name in [CONNECTION, UPGRADE, SEC_WEBSOCKET_ACCEPT, CONTENT_LENGTH] {
        head.headers.remove(name);
    }
    tokio::task::spawn_local(async move {
        // It fails when the stream has ended meanwhile: then there is nothing to do.
        if let Ok(stream) = on_upgrade.await {
            let shared = counted.shared();
            let io = TokioIo::new(stream);
            let (handler, limits) = (shared.handler.clone(), shared.limits.clone());
            run(Connection::tunnel(io, handler, limits, (body, upload), &protocol), &shared.drain).await;
        }
    });
    Ok(Response::from_parts(head, AnswerBody::empty()))
}
