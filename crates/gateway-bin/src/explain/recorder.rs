//! What stands in for the endpoints of all services: a listener that notes the request it gets.

use gateway_core::Endpoint;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// Waits for one request on this machine, and answers it.
pub(super) struct Recorder {
    pub(super) endpoint: Endpoint,
    recording: JoinHandle<io::Result<String>>,
}

impl Recorder {
    pub(super) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let endpoint = Endpoint::parse(&url).map_err(io::Error::other)?;
        Ok(Self { endpoint, recording: tokio::spawn(record(listener)) })
    }

    /// The head of the request that came, if one did before now.
    pub(super) async fn finish(self) -> Option<String> {
        if !self.recording.is_finished() {
            self.recording.abort();
        }
        self.recording.await.ok()?.ok()
    }
}

async fn record(listener: TcpListener) -> io::Result<String> {
    let (mut stream, _) = listener.accept().await?;
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    stream.write_all(ANSWER).await?;
    Ok(String::from_utf8_lossy(&head).into_owned())
}
