//! Whether a token is good at a time: no clock, no I/O.

use crate::jwt::claims::Rules;
use crate::jwt::key::KeyId;
use crate::jwt::keyring::{Keyring, Signer};
use crate::jwt::settings::JwtSettings;
use crate::jwt::token::Token;
use crate::refusal::Refusal;
use crate::revocation::marks::{Group, Marks};
use gateway_core::{AuthMethod, Principal};
use serde_json::{Map, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) struct Verifier {
    pub(crate) keys: Keyring,
    pub(crate) rules: Rules,
    typ: Option<Box<str>>,
    pub(crate) group: Group,
    /// How many signatures were checked.
    pub(crate) verifications: AtomicU64,
}

/// Who a good token stands for, and until when, in seconds since 1970.
#[derive(Clone, Debug)]
pub(crate) struct Verified {
    pub(crate) principal: Principal,
    pub(crate) expires: f64,
    /// The key that signed it: when it goes, what it signed goes too.
    pub(crate) key: KeyId,
    /// What it could be revoked by.
    pub(crate) marks: Arc<Marks>,
}

/// Why a token is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    Refused(Refusal),
    /// It may be by a key of the issuer that we do not have yet. If we do not get it, this is the answer.
    KeyUnknown(Refusal),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Verifier {
    pub(crate) fn new(keys: Keyring, settings: &JwtSettings) -> Self {
        Self {
            keys,
            rules: Rules::new(settings),
            typ: settings.typ.as_deref().map(|typ| media_type(typ).into()),
            group: Group::of(settings),
            verifications: AtomicU64::new(0),
        }
    }

    /// Checks the signature and the claims.
    pub(crate) fn verify(&self, token: &str, now: f64) -> Result<Verified, Failure> {
        let parsed = Token::parse(token)?;
        if let Some(wanted) = &self.typ
            && !parsed.typ.as_deref().is_some_and(|typ| media_type(typ).eq_ignore_ascii_case(wanted))
        {
            return Err(Refusal::Invalid("the token is of another type").into());
        }
        self.verifications.fetch_add(1, Ordering::Relaxed);
        let key = match self.keys.signer(&parsed) {
            Signer::Known(key) => key,
            other => return Err(self.unsigned(&parsed, &other, now)),
        };
        Ok(self.accept(token, parsed.claims()?, key, now)?)
    }

    /// Nobody's signature. Whether the issuer is asked for new keys depends on whether one could make the token
    /// good: for what is expired or somebody else's, it is not.
    fn unsigned(&self, token: &Token<'_>, signer: &Signer, now: f64) -> Failure {
        let why = match signer {
            Signer::Nobody => Refusal::Invalid("the signature does not match"),
            _ if token.kid.is_some() => {
                Refusal::Invalid("the token's key is not known, or for another algorithm")
            }
            _ => Refusal::Invalid("the algorithm is not the one of the key"),
        };
        if !self.keys.may_be_new(token) {
            return Failure::Refused(why);
        }
        match token.claims().and_then(|claims| self.rules.check(&claims, now)) {
            Ok(()) if self.keys.lacks_issuer() => Failure::KeyUnknown(Refusal::KeysAway),
            Ok(()) => Failure::KeyUnknown(why),
            Err(foreign @ Refusal::Foreign(_)) => Failure::Refused(foreign),
            Err(_) => Failure::Refused(why),
        }
    }

    /// Checks claims whose signature was good: of this token, or as another instance left them.
    pub(crate) fn accept(
        &self,
        token: &str,
        claims: Map<String, Value>,
        key: KeyId,
        now: f64,
    ) -> Result<Verified, Refusal> {
        self.rules.check(&claims, now)?;
        let expires = self.rules.end(&claims);
        let marks = Marks::new(&self.group, token, &claims, self.rules.issued(&claims));
        let id = self.rules.id(&claims);
        let principal = Principal::new(id, AuthMethod::Jwt, claims);
        Ok(Verified { principal, expires, key, marks: Arc::new(marks) })
    }
}

/// RFC 7515 §4.1.9: `application/` may be left out.
fn media_type(typ: &str) -> &str {
    match typ.get(..12) {
        Some(prefix) if prefix.eq_ignore_ascii_case("application/") => &typ[12..],
        _ => typ,
    }
}
