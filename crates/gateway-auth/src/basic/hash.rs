use argon2::Argon2;
use argon2::password_hash::PasswordVerifier;
use argon2::password_hash::phc::PasswordHash;
use std::fmt;
use std::str::FromStr;

/// The hash of a password: bcrypt or argon2id. All else is refused.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum StoredHash {
    Bcrypt(Box<str>),
    Argon2id(Box<str>),
}

/// Without the hash.
impl fmt::Debug for StoredHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bcrypt(_) => "bcrypt",
            Self::Argon2id(_) => "argon2id",
        })
    }
}

/// The kinds that are known and not good enough, by how they begin.
const REFUSED: [(&str, &str); 8] = [
    ("$apr1$", "Apache's MD5"),
    ("{SHA}", "SHA-1"),
    ("{SSHA}", "salted SHA-1"),
    ("$1$", "MD5"),
    ("$5$", "SHA-256 crypt"),
    ("$6$", "SHA-512 crypt"),
    ("$argon2i$", "argon2i"),
    ("$argon2d$", "argon2d"),
];

impl FromStr for StoredHash {
    type Err = String;

    /// What was found may be the password itself, by mistake: it is not repeated.
    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected bcrypt (`htpasswd -nB USER`) or argon2id";
        if ["$2a$", "$2b$", "$2y$"].iter().any(|begin| text.starts_with(begin)) {
            return match text.parse::<bcrypt::HashParts>() {
                Ok(_) => Ok(Self::Bcrypt(text.into())),
                Err(error) => Err(format!("the bcrypt hash is malformed: {error}")),
            };
        }
        if text.starts_with("$argon2id$") {
            return match PasswordHash::new(text) {
                Ok(_) => Ok(Self::Argon2id(text.into())),
                Err(error) => Err(format!("the argon2id hash is malformed: {error}")),
            };
        }
        Err(match REFUSED.iter().find(|(begin, _)| text.starts_with(begin)) {
            Some((_, kind)) => format!("the password is kept as {kind}, which is not safe; {EXPECTED}"),
            None => format!("this is no hash of a password that we know; {EXPECTED}"),
        })
    }
}

impl StoredHash {
    /// Whether this is the password. Takes some 50 ms by design: not for a worker.
    pub(crate) fn is_of(&self, password: &str) -> bool {
        match self {
            // Cut off after 72 bytes, as every bcrypt does.
            Self::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
            Self::Argon2id(hash) => PasswordHash::new(hash)
                .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()),
        }
    }
}
