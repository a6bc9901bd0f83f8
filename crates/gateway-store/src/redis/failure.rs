use deadpool_redis::redis::{ErrorKind, RedisError};
use gateway_core::with_causes;

/// What an error means for the operations after it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nobody asks for a while, and then over a new connection.
    Away(String),
    /// The server answers, only not this.
    Refused(String),
}

/// What an error says, and what to do about it where that is known.
pub(super) fn explained(error: &RedisError) -> String {
    // The parser says where it stopped in lines of their own.
    let text = with_causes(error).split('\n').filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
    match error.code() {
        Some("NOPERM") => {
            let role = if text.contains("'role'") { ", with sentinels also `+role`" } else { "" };
            format!("{text}; its user needs more in the access control list{role}")
        }
        _ => text,
    }
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        let text = explained(&error);
        // Codes: https://redis.io/docs/latest/develop/reference/protocol-spec/ and server.c, `shared`.
        match error.code() {
            // A new master, or one that is not ready: found by a new connection, with sentinels perhaps elsewhere.
            Some("LOADING" | "READONLY" | "MASTERDOWN" | "CLUSTERDOWN" | "BUSY") => Self::Away(text),
            Some("NOAUTH" | "WRONGPASS") => Self::Away(format!("{text}; check `username` and `password`")),
            Some("MOVED" | "ASK") => {
                Self::Refused(format!("{text}; the server is part of a cluster: name it under `cluster`"))
            }
            Some("CROSSSLOT") => {
                Self::Refused(format!("{text}; the keys of a script must share one `{{…}}`"))
            }
            // Out of memory, no permission, a disk that is full, a script that fails.
            Some(_) => Self::Refused(text),
            None => match error.kind() {
                ErrorKind::UnexpectedReturnType | ErrorKind::Client => Self::Refused(text),
                _ => Self::Away(text),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use deadpool_redis::redis::{Parser, Value};

    fn answer(text: &str) -> Failure {
        let value = Parser::new().parse_value(format!("-{text}\r\n").as_bytes()).unwrap();
        assert!(matches!(value, Value::ServerError(_)), "{value:?}");
        value.extract_error().unwrap_err().into()
    }

    #[test]
    fn each_answer_has_its_treatment() {
        for text in [
            "LOADING Redis is loading the dataset in memory",
            "READONLY You can't write against a read only replica.",
            "MASTERDOWN Link with MASTER is down",
            "CLUSTERDOWN The cluster is down",
            "BUSY Redis is busy running a script",
            "NOAUTH Authentication required.",
            "WRONGPASS invalid username-password pair",
        ] {
            assert!(matches!(answer(text), Failure::Away(_)), "{text}: {:?}", answer(text));
        }
        for (text, hint) in [
            ("OOM command not allowed when used memory > 'maxmemory'.", "maxmemory"),
            ("MISCONF Redis is configured to save RDB snapshots", "MISCONF"),
            ("NOPERM this user has no permissions", "its user needs more in the access control list"),
            ("NOPERM User gateway has no permissions to run the 'role' command", "also `+role`"),
            ("MOVED 3999 127.0.0.1:6381", "name it under `cluster`"),
            ("CROSSSLOT Keys in request don't hash to the same slot", "`{…}`"),
            ("ERR wrong number of arguments", "wrong number"),
            ("WRONGTYPE Operation against a key", "WRONGTYPE"),
        ] {
            let Failure::Refused(why) = answer(text) else { panic!("{text}: {:?}", answer(text)) };
            assert!(why.to_lowercase().contains(&hint.to_lowercase()), "{text}: {why}");
        }
        let nonsense = Parser::new().parse_value(&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..]).unwrap_err();
        assert!(matches!(Failure::from(nonsense), Failure::Away(why) if !why.contains('\n')));
        let closed = RedisError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert!(matches!(Failure::from(closed), Failure::Away(_)));
    }
}
