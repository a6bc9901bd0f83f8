use crate::http::{Response, connect, read_response};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// One connection on which a test writes what it likes, and reads answers one by one.
#[derive(Debug)]
pub struct Wire(BufReader<TcpStream>);

impl Wire {
    /// Connects to this server.
    ///
    /// # Panics
    /// Nobody listens.
    #[must_use]
    pub fn connect(addr: SocketAddr) -> Self {
        Self(BufReader::new(connect(addr).expect("a listening server")))
    }

    /// How long a read waits for bytes. Default 20 s.
    ///
    /// # Panics
    /// The time is zero.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        self.0.get_ref().set_read_timeout(Some(patience)).expect("a timeout");
        self
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The server does not take them.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.get_mut().write_all(bytes)
    }

    /// Says that nothing more will be sent.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn finish(&mut self) -> io::Result<()> {
        self.0.get_ref().shutdown(Shutdown::Write)
    }

    /// Reads the answer to a request with this method; interim ones (1xx but 101) are skipped.
    ///
    /// # Errors
    /// The connection ends, or what comes is no answer.
    pub fn answer(&mut self, method: &str) -> io::Result<Response> {
        read_response(&mut self.0, method).map(|(response, _)| response)
    }

    /// Reads until the server closes, which it has to do in order.
    ///
    /// # Errors
    /// It does not within the patience, or with a reset.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).map(|_| rest)
    }

    /// Reads one line with its end; empty at the end of the connection.
    ///
    /// # Errors
    /// Nothing comes.
    pub fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.0.read_line(&mut line).map(|_| line)
    }

    /// Reads as many bytes.
    ///
    /// # Errors
    /// Fewer come.
    pub fn bytes(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes).map(|()| bytes)
    }

    /// A second handle on the connection, to write while another thread reads.
    ///
    /// # Panics
    /// The system has no more file descriptors.
    #[must_use]
    pub fn writer(&self) -> TcpStream {
        self.0.get_ref().try_clone().expect("a second handle")
    }
}
