use crate::http::read_head;
use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

/// What the test has in hand of one request to a [`scripted`] upstream.
pub struct Exchange {
    /// The request's head, line ends included.
    pub head: String,
    reader: BufReader<TcpStream>,
    writer: TcpStream,
}

impl Exchange {
    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The gateway does not take them.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.write_all(bytes)
    }

    /// Reads as many bytes of the request's body as they stand on the wire, framing included.
    ///
    /// # Errors
    /// Fewer come.
    pub fn bytes(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.reader.read_exact(&mut bytes).map(|()| bytes)
    }
}

/// An upstream without a will of its own: each request's head arrives at the test, which decides byte by byte what
/// is read and answered. One request per connection.
///
/// # Panics
/// No port is free.
#[must_use]
pub fn scripted() -> (SocketAddr, Receiver<Exchange>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("a bound socket has an address");
    let (sender, receiver) = channel();
    // Ends with the test's process.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let sender = sender.clone();
            std::thread::spawn(move || hand_over(stream, &sender));
        }
    });
    (addr, receiver)
}

fn hand_over(writer: TcpStream, to: &Sender<Exchange>) -> io::Result<()> {
    writer.set_nodelay(true)?;
    let mut reader = BufReader::new(writer.try_clone()?);
    if let Some((_, _, raw)) = read_head(&mut reader)? {
        let head = String::from_utf8_lossy(&raw).into_owned();
        // Nobody asks for it when the test is over.
        let _ = to.send(Exchange { head, reader, writer });
    }
    Ok(())
}
