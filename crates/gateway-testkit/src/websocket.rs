use crate::Wire;
use crate::http::{find, read_head};
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

/// The key of RFC 6455 §1.3, and what a server makes of it.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// What kind of frame it is (RFC 6455 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// Goes on with the message of the frame before.
    Continuation = 0,
    /// Text.
    Text = 1,
    /// Bytes.
    Binary = 2,
    /// The end of the conversation.
    Close = 8,
    /// Asks for a [`Pong`](Self::Pong).
    Ping = 9,
    /// Answers a [`Ping`](Self::Ping).
    Pong = 10,
}

impl Opcode {
    fn of(byte: u8) -> io::Result<Self> {
        let all = [Self::Continuation, Self::Text, Self::Binary, Self::Close, Self::Ping, Self::Pong];
        let found = all.into_iter().find(|code| *code as u8 == byte & 0x0f);
        found.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("no opcode: {byte:#x}")))
    }
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Whether it is the last of its message.
    pub last: bool,
    /// Its kind.
    pub opcode: Opcode,
    /// What it holds, unmasked.
    pub payload: Vec<u8>,
}

impl Frame {
    /// A whole message.
    #[must_use]
    pub fn new(opcode: Opcode, payload: impl Into<Vec<u8>>) -> Self {
        Self { last: true, opcode, payload: payload.into() }
    }

    fn bytes(&self, masked: bool) -> Vec<u8> {
        let mut bytes = vec![u8::from(self.last) << 7 | self.opcode as u8];
        let mask_bit = u8::from(masked) << 7;
        match self.payload.len() {
            length @ ..126 => bytes.push(mask_bit | length as u8),
            length @ ..0x1_0000 => {
                bytes.push(mask_bit | 126);
                bytes.extend((length as u16).to_be_bytes());
            }
            length => {
                bytes.push(mask_bit | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        if masked {
            bytes.extend(MASK);
            bytes.extend(self.payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        } else {
            bytes.extend(&self.payload);
        }
        bytes
    }

    fn read(mut read: impl FnMut(usize) -> io::Result<Vec<u8>>) -> io::Result<Self> {
        let first = read(2)?;
        let length = match first[1] & 0x7f {
            126 => read(2)?.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
            127 => read(8)?.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
            length => usize::from(length),
        };
        let mask = if first[1] & 0x80 == 0 { vec![0] } else { read(4)? };
        let payload = read(length)?.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        Ok(Self { last: first[0] & 0x80 != 0, opcode: Opcode::of(first[0])?, payload })
    }
}

/// A WebSocket client that shows every frame.
#[derive(Debug)]
pub struct WebSocket(Wire);

impl WebSocket {
    /// Opens one at this path.
    ///
    /// # Errors
    /// What was answered instead.
    pub fn open(addr: SocketAddr, path: &str) -> Result<Self, String> {
        let mut wire = Wire::connect(addr);
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
        );
        let answer = wire.send(request.as_bytes()).and_then(|()| wire.answer("GET"));
        let answer = answer.map_err(|error| error.to_string())?;
        let upgraded = answer.header("upgrade").is_some_and(|to| to.eq_ignore_ascii_case("websocket"))
            && answer.header("connection").is_some_and(|what| what.eq_ignore_ascii_case("upgrade"))
            && answer.header("sec-websocket-accept") == Some(ACCEPT);
        if answer.status == 101 && upgraded { Ok(Self(wire)) } else { Err(format!("{answer:?}")) }
    }

    /// Sends a frame, masked as clients must.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn send(&mut self, frame: &Frame) -> io::Result<()> {
        self.0.send(&frame.bytes(true))
    }

    /// Receives a frame.
    ///
    /// # Errors
    /// The connection ends, or what comes is no frame.
    pub fn receive(&mut self) -> io::Result<Frame> {
        let wire = &mut self.0;
        Frame::read(|count| wire.bytes(count))
    }

    /// Whether the other side has closed the connection, in order and with nothing more said.
    #[must_use]
    pub fn is_closed(mut self) -> bool {
        self.0.rest().is_ok_and(|rest| rest.is_empty())
    }
}

/// A WebSocket server that sends every frame back as it came, answers pings, and closes after a close.
///
/// # Panics
/// No port is free.
#[must_use]
pub fn websocket_echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("a bound socket has an address");
    // Ends with the test's process.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || echo(&stream));
        }
    });
    addr
}

/// What a server answers to a key (RFC 6455 §4.2.2).
fn accept(key: &str) -> String {
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    BASE64_STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()))
}

fn echo(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut reader, mut writer) = (BufReader::new(stream), stream);
    let Some((_, headers, _)) = read_head(&mut reader)? else { return Ok(()) };
    let asked = find(&headers, "upgrade") == Some("websocket")
        && find(&headers, "connection").is_some_and(|what| what.eq_ignore_ascii_case("upgrade"));
    let Some(key) = find(&headers, "sec-websocket-key").filter(|_| asked) else {
        return writer
            .write_all(b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {}\r\n\r\n",
        accept(key)
    );
    writer.write_all(answer.as_bytes())?;
    loop {
        let mut frame = Frame::read(|count| {
            let mut bytes = vec![0; count];
            reader.read_exact(&mut bytes).map(|()| bytes)
        })?;
        let closes = frame.opcode == Opcode::Close;
        if frame.opcode == Opcode::Ping {
            frame.opcode = Opcode::Pong;
        }
        writer.write_all(&frame.bytes(false))?;
        if closes {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_accepted_as_in_the_rfc() {
        assert_eq!(accept(KEY), ACCEPT);
    }
}
