use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

pub(super) const UNIX: &str = "unix:";
/// The user and the group of the process, as for most services behind a proxy of the same machine.
const DEFAULT_MODE: u32 = 0o660;
/// What `sockaddr_un` has room for, less the end and the temporary name's suffix.
const MAX_PATH: usize = 95;

/// Where to listen: `127.0.0.1:8080`, `[::]:80`, `unix:/run/gateway.sock` or `unix:/run/gateway.sock,mode=0666`.
///
/// ```
/// use gateway_server::ListenAddress;
///
/// let address: ListenAddress = "unix:/run/gateway.sock,mode=0666".parse().unwrap();
/// assert_eq!(address, ListenAddress::Unix { path: "/run/gateway.sock".into(), mode: 0o666 });
/// assert!("localhost".parse::<ListenAddress>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// An address and a port; port 0 is any that is free.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix {
        /// Absolute, at most 95 bytes.
        path: PathBuf,
        /// Who may connect: the file's permissions. Default `0660`.
        mode: u32,
    },
}

/// Why a text says nowhere to listen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListenAddressError {
    /// Neither form.
    #[error(
        "`{0}` is no address to listen on; expected `ADDRESS:PORT` or `unix:/PATH`, for instance `0.0.0.0:8080`"
    )]
    Unknown(String),
    /// Relative, or longer than a socket's name may be.
    #[error("`{0}` is no path for a Unix socket; expected an absolute one of at most {MAX_PATH} bytes")]
    Path(String),
    /// Not an octal number of permissions.
    #[error("`{0}` is no mode for a Unix socket; expected octal permissions such as `mode=0660`")]
    Mode(String),
}

impl FromStr for ListenAddress {
    type Err = ListenAddressError;

    fn from_str(text: &str) -> Result<Self, ListenAddressError> {
        let Some(unix) = text.strip_prefix(UNIX) else {
            return text.parse().map(Self::Tcp).map_err(|_| ListenAddressError::Unknown(text.to_owned()));
        };
        let (path, option) = unix.split_once(',').map_or((unix, None), |(path, option)| (path, Some(option)));
        if !path.starts_with('/') || path.ends_with('/') || path.len() > MAX_PATH || path.contains('\0') {
            return Err(ListenAddressError::Path(path.to_owned()));
        }
        let mode = match option {
            None => DEFAULT_MODE,
            Some(option) => option
                .strip_prefix("mode=")
                .filter(|octal| octal.bytes().all(|digit| digit.is_ascii_digit()))
                .and_then(|octal| u32::from_str_radix(octal, 8).ok())
                .filter(|mode| *mode <= 0o777)
                .ok_or_else(|| ListenAddressError::Mode(option.to_owned()))?,
        };
        Ok(Self::Unix { path: path.into(), mode })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix { path, mode: DEFAULT_MODE } => write!(f, "{UNIX}{}", path.display()),
            Self::Unix { path, mode } => write!(f, "{UNIX}{},mode={mode:04o}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written_alike() {
        for text in ["127.0.0.1:80", "[::1]:0", "unix:/run/a.sock", "unix:/a,mode=0600", "unix:/a,mode=0000"]
        {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), text);
        }
        assert_eq!("unix:/a,mode=660".parse::<ListenAddress>().unwrap().to_string(), "unix:/a");
    }

    #[test]
    fn what_is_no_address_is_refused_and_why() {
        let long = format!("unix:/{}", "a".repeat(MAX_PATH));
        for (text, part) in [
            ("", "`ADDRESS:PORT`"),
            ("127.0.0.1", "`ADDRESS:PORT`"),
            ("localhost:80", "`ADDRESS:PORT`"),
            ("127.0.0.1:99999", "`ADDRESS:PORT`"),
            ("unix:", "absolute"),
            ("unix:run/a", "absolute"),
            ("unix:/run/", "absolute"),
            (&long, "95 bytes"),
            ("unix:/a,mode=+66", "`mode=0660`"),
            ("unix:/a,mode=888", "`mode=0660`"),
            ("unix:/a,mode=1777", "`mode=0660`"),
            ("unix:/a,owner=me", "`owner=me`"),
        ] {
            let error = text.parse::<ListenAddress>().unwrap_err().to_string();
            assert!(error.contains(part), "{text:?}: {error}");
        }
    }
}
