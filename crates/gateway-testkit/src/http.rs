use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

/// A request as it will stand on the wire.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    /// A request with this method; `Host` is added if it has none.
    #[must_use]
    pub fn new(method: &str, target: &str) -> Self {
        Self { method: method.to_owned(), target: target.to_owned(), headers: Vec::new(), body: Vec::new() }
    }

    /// A GET request.
    #[must_use]
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// Adds a header, also a second of the same name.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the body, sent with its length.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let has = |name: &str| self.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        if !has("host") {
            head.push_str("Host: test\r\n");
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.body.is_empty() && !has("content-length") && !has("transfer-encoding") {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        head.push_str("\r\n");
        [head.as_bytes(), &self.body].concat()
    }
}

/// A response, with every header as it came.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Names as they came, in order.
    pub headers: Vec<(String, String)>,
    /// The body, without its framing.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of this name, whatever its case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// All headers of this name.
    #[must_use]
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
            .collect()
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// It is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("no JSON ({e}): {:?}", self.text()))
    }
}

/// A client that keeps its connection as long as the server does.
#[derive(Debug)]
pub struct Client {
    addr: SocketAddr,
    connection: Option<BufReader<TcpStream>>,
}

impl Client {
    /// A client of this server.
    #[must_use]
    pub fn new(addr: SocketAddr) -> Self {
        Self { addr, connection: None }
    }

    /// Sends a request and reads the answer.
    ///
    /// # Panics
    /// There is none.
    pub fn send(&mut self, request: &Request) -> Response {
        self.try_send(request).unwrap_or_else(|e| panic!("{} {}: {e}", request.method, request.target))
    }

    /// Sends a request and reads the answer.
    ///
    /// # Errors
    /// The connection fails, or what comes is no answer.
    pub fn try_send(&mut self, request: &Request) -> io::Result<Response> {
        let (which, mut connection) = match self.connection.take() {
            Some(connection) => ("kept", connection),
            None => ("new", BufReader::new(connect(self.addr)?)),
        };
        let written = connection.get_mut().write_all(&request.bytes());
        let answered = written.and_then(|()| read_response(&mut connection, &request.method));
        let (response, keep) =
            answered.map_err(|e| within(&e, &format!("over a {which} connection to {}", self.addr)))?;
        self.connection = keep.then_some(connection);
        Ok(response)
    }
}

/// Sends one GET over a new connection.
///
/// # Panics
/// There is no answer.
#[must_use]
pub fn get(addr: SocketAddr, target: &str) -> Response {
    Client::new(addr).send(&Request::get(target))
}

/// Sends bytes as they are and reads until the server closes, or says nothing for two seconds after it has begun.
///
/// # Panics
/// Nobody listens.
#[must_use]
pub fn raw(addr: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = connect(addr).expect("a listening server");
    // The server may refuse before all is written.
    let _ = stream.write_all(bytes);
    let mut first = [0];
    let begun = stream.read_exact(&mut first).is_ok();
    let mut seen = first[..usize::from(begun)].to_vec();
    stream.set_read_timeout(Some(Duration::from_secs(2))).expect("a timeout");
    let _ = stream.read_to_end(&mut seen);
    String::from_utf8_lossy(&seen).into_owned()
}

pub(crate) fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&addr, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// The same error, and where it was met.
fn within(error: &io::Error, place: &str) -> io::Error {
    io::Error::new(error.kind(), format!("{error} ({place})"))
}

/// The first line, the fields, and the bytes of both.
type Head = (String, Vec<(String, String)>, Vec<u8>);

pub(crate) fn read_head(from: &mut impl BufRead) -> io::Result<Option<Head>> {
    let (mut raw, mut lines) = (Vec::new(), Vec::new());
    loop {
        let start = raw.len();
        if from.read_until(b'\n', &mut raw)? == 0 {
            return if raw.is_empty() {
                Ok(None)
            } else {
                Err(invalid(&format!("the head breaks off: {:?}", String::from_utf8_lossy(&raw))))
            };
        }
        let line = String::from_utf8_lossy(&raw[start..]).trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let mut lines = lines.into_iter();
    let first = lines.next().unwrap_or_default();
    let field = |line: String| line.split_once(':').map(|(n, v)| (n.to_owned(), v.trim().to_owned()));
    Ok(Some((first, lines.filter_map(field).collect(), raw)))
}

pub(crate) fn find<'h>(headers: &'h [(String, String)], name: &str) -> Option<&'h str> {
    headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// The body as its headers frame it; `None` if it goes on to the end.
pub(crate) fn read_body(
    from: &mut impl BufRead,
    headers: &[(String, String)],
) -> io::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    if find(headers, "transfer-encoding").is_some_and(|te| te.eq_ignore_ascii_case("chunked")) {
        loop {
            let mut line = String::new();
            from.read_line(&mut line)?;
            let size = line.trim().split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(size, 16).map_err(|_| {
                invalid(&format!("{:?} for the size of a chunk, after {} bytes", line, body.len()))
            })?;
            if size == 0 {
                while {
                    line.clear();
                    from.read_line(&mut line)?
                } > 2
                {}
                return Ok(Some(body));
            }
            let start = body.len();
            body.resize(start + size, 0);
            from.read_exact(&mut body[start..])?;
            from.read_line(&mut line)?;
        }
    }
    match find(headers, "content-length") {
        Some(length) => {
            let length: u64 = length.parse().map_err(|_| invalid("a length that is no number"))?;
            from.take(length).read_to_end(&mut body)?;
            if body.len() as u64 == length {
                Ok(Some(body))
            } else {
                Err(invalid(&format!("the body breaks off after {} of {length} bytes", body.len())))
            }
        }
        None => Ok(None),
    }
}

pub(crate) fn read_response(from: &mut BufReader<TcpStream>, method: &str) -> io::Result<(Response, bool)> {
    loop {
        let (first, headers, _) = read_head(from)?
            .ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "closed without an answer"))?;
        let status = first.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or_else(|| invalid(&first))?;
        if (100..200).contains(&status) && status != 101 {
            continue;
        }
        let mut keep = !find(&headers, "connection").is_some_and(|c| c.eq_ignore_ascii_case("close"));
        let body = if method == "HEAD" || matches!(status, 101 | 204 | 304) {
            Vec::new()
        } else if let Some(body) = read_body(from, &headers)
            .map_err(|e| within(&e, &format!("in the body of {first}, {headers:?}")))?
        {
            body
        } else {
            keep = false;
            let mut body = Vec::new();
            from.read_to_end(&mut body)?;
            body
        };
        return Ok((Response { status, headers, body }, keep));
    }
}
