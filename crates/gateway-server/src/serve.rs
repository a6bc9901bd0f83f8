use crate::http1::{Connection, Ended};
use crate::{Drain, Handler, Limits, http2};
use bytes::BytesMut;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use tokio::io::{AsyncRead, AsyncWrite};

/// Serves one connection until it ends: HTTP/1.1, HTTP/1.0, or HTTP/2 where the client begins with its preface.
///
/// When it is to drain, the requests under way are still answered, an idle connection is closed. To be called
/// within a [`LocalSet`](tokio::task::LocalSet) or a local runtime: HTTP/2 streams are tasks of their own.
pub async fn serve_connection<I, H>(io: I, handler: H, limits: Rc<Limits>, drain: Drain)
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
    H: Handler + Clone,
{
    serve_connection_from(io, BytesMut::new(), handler, limits, drain).await;
}

/// Serves a connection of which the first bytes were read already, for instance behind a PROXY protocol header.
/// Otherwise as [`serve_connection`].
pub async fn serve_connection_from<I, H>(io: I, read: BytesMut, handler: H, limits: Rc<Limits>, drain: Drain)
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
    H: Handler + Clone,
{
    let connection = Connection::new(io, read, handler.clone(), limits.clone());
    if let Ended::Http2(io, read) = run(connection, &drain).await {
        // Boxed, for its state is many times that of HTTP/1.1, and would be set aside in every connection's task.
        Box::pin(http2::serve(io, read, handler, limits, drain)).await;
    }
}

/// Serves until the end, and tells the connection when it is to drain.
pub(crate) async fn run<I, H>(connection: Connection<I, H>, drain: &Drain) -> Ended<I>
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
    H: Handler,
{
    let mut begins = pin!(drain.begins());
    let mut connection = pin!(connection);
    let mut listening = false;
    poll_fn(|cx| {
        if !listening {
            listening = true;
            let _ = begins.as_mut().poll(cx);
        }
        if drain.has_begun() {
            connection.as_mut().get_mut().drain();
        }
        connection.as_mut().poll(cx)
    })
    .await
}
