use crate::{Process, free_port, wait_until};
use nix::sys::signal::Signal;
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

const HINT: &str = "is redis-server installed? `scripts/test.sh` installs it";

mod cluster;
mod sentinel;

pub use cluster::RedisCluster;
pub use sentinel::RedisSentinel;

/// A real Redis server without persistence.
#[derive(Debug)]
pub struct Redis {
    process: Option<Process>,
    port: u16,
    arguments: Vec<String>,
    dir: tempfile::TempDir,
}

/// What Redis answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisValue {
    /// Nothing there.
    Nil,
    /// A number.
    Int(i64),
    /// A text.
    Text(String),
    /// Several.
    List(Vec<RedisValue>),
}

impl Redis {
    /// Starts a server and waits until it answers.
    ///
    /// # Panics
    /// It cannot be started.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server with further settings, such as `["--requirepass", "secret"]`, and waits until it answers.
    ///
    /// # Panics
    /// It cannot be started.
    #[must_use]
    pub fn start_with(arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let arguments = arguments.iter().map(ToString::to_string).collect();
        let mut redis = Self { process: None, port: free_port(), arguments, dir };
        redis.restart();
        redis
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again on the same port, empty.
    ///
    /// # Panics
    /// It cannot be started.
    pub fn restart(&mut self) {
        self.kill();
        let mut command = Command::new("redis-server");
        command.args([
            "--port",
            &self.port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        command.arg("--dir").arg(self.dir.path()).args(&self.arguments);
        let mut process = Process::start(&mut command, HINT);
        wait_until("Redis to answer", Duration::from_secs(10), || {
            assert!(process.try_wait().is_none(), "redis-server ended: {}", process.stdout());
            match self.try_command(&["PING"]) {
                Ok(RedisValue::Text(pong)) => (pong == "PONG").then_some(()),
                // One that wants a password answers too.
                Err(e) => e.to_string().starts_with("-NOAUTH").then_some(()),
                Ok(_) => None,
            }
        });
        self.process = Some(process);
    }

    /// Stops it from answering, as a frozen machine would.
    pub fn stall(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets it answer again.
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        self.process.as_ref().expect("a running Redis").signal(signal);
    }

    /// Runs a command.
    ///
    /// # Panics
    /// Redis does not answer, or answers with an error.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> RedisValue {
        self.try_command(words).unwrap_or_else(|e| panic!("{words:?}: {e}"))
    }

    /// All keys that match.
    ///
    /// # Panics
    /// Redis does not answer.
    #[must_use]
    pub fn keys(&self, pattern: &str) -> Vec<String> {
        let RedisValue::List(keys) = self.command(&["KEYS", pattern]) else { return Vec::new() };
        keys.into_iter()
            .filter_map(|key| if let RedisValue::Text(key) = key { Some(key) } else { None })
            .collect()
    }

    /// Runs a command that may fail.
    ///
    /// # Errors
    /// Redis does not answer, or answers with an error: the text of the error is that answer.
    pub fn try_command(&self, words: &[&str]) -> io::Result<RedisValue> {
        ask(self.port, words)
    }
}

fn ask(port: u16, words: &[&str]) -> io::Result<RedisValue> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut text = format!("*{}\r\n", words.len());
    for word in words {
        text.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    stream.write_all(text.as_bytes())?;
    read_value(&mut BufReader::new(stream))
}

fn read_value(from: &mut impl BufRead) -> io::Result<RedisValue> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, line.clone());
    let (kind, rest) = line.trim_end().split_at_checked(1).ok_or_else(wrong)?;
    let number = || rest.parse::<i64>().map_err(|_| wrong());
    match kind {
        "+" => Ok(RedisValue::Text(rest.to_owned())),
        ":" => number().map(RedisValue::Int),
        "$" => match number()? {
            length @ 0.. => {
                let mut text = vec![0; length as usize + 2];
                from.read_exact(&mut text)?;
                text.truncate(length as usize);
                Ok(RedisValue::Text(String::from_utf8_lossy(&text).into_owned()))
            }
            _ => Ok(RedisValue::Nil),
        },
        "*" => (0..number()?).map(|_| read_value(from)).collect::<io::Result<_>>().map(RedisValue::List),
        _ => Err(wrong()),
    }
}
