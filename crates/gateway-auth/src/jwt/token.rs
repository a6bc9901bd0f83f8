//! A token taken apart, before anything of it is believed.

use crate::jwt::algorithm::Algorithm;
use crate::jwt::json;
use crate::refusal::Refusal;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// A token in the compact form of RFC 7515 §3.1, its signature not yet checked.
pub(crate) struct Token<'t> {
    pub(crate) algorithm: Algorithm,
    pub(crate) kid: Option<String>,
    pub(crate) typ: Option<String>,
    /// What is signed: the first two parts.
    pub(crate) message: &'t [u8],
    claims: &'t str,
    pub(crate) signature: Vec<u8>,
}

const MALFORMED: Refusal = Refusal::Invalid("the token is malformed");

impl<'t> Token<'t> {
    /// Takes a token apart. What is not three parts of base64url is foreign: another method may know it.
    pub(crate) fn parse(token: &'t str) -> Result<Self, Refusal> {
        const FOREIGN: Refusal = Refusal::Foreign("the token is not made of three parts of base64url");
        let mut parts = token.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(FOREIGN);
        };
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| FOREIGN);
        let fields = json::object(&decode(header)?).ok_or(FOREIGN)?;
        let header = Header::read(&fields)?;
        let (message, _) = token.as_bytes().split_at(token.len() - signature.len() - 1);
        Ok(Self {
            algorithm: header.algorithm,
            kid: header.kid.map(str::to_owned),
            typ: header.typ.map(str::to_owned),
            message,
            claims,
            signature: decode(signature)?,
        })
    }

    /// What it claims.
    pub(crate) fn claims(&self) -> Result<Map<String, Value>, Refusal> {
        claims(self.claims).ok_or(MALFORMED)
    }
}

fn claims(part: &str) -> Option<Map<String, Value>> {
    json::object(&URL_SAFE_NO_PAD.decode(part).ok()?)
}

/// What a token claims, without a look at its signature: to know what to ask for, never to believe it.
pub(crate) fn unverified_claims(token: &str) -> Option<Map<String, Value>> {
    claims(token.split('.').nth(1)?)
}

struct Header<'h> {
    algorithm: Algorithm,
    kid: Option<&'h str>,
    typ: Option<&'h str>,
}

impl<'h> Header<'h> {
    /// What of a header counts. Keys that it brings along (`jwk`, `jku`, `x5c`, `x5u`) are never looked at.
    fn read(fields: &'h Map<String, Value>) -> Result<Self, Refusal> {
        // Extensions that we must understand: we understand none (RFC 7515 §4.1.11), unencoded claims (RFC 7797)
        // included, nor encryption and compression (RFC 7516).
        if fields.contains_key("crit") {
            return Err(Refusal::Invalid("the token has critical extensions"));
        }
        if ["b64", "enc", "zip"].iter().any(|name| fields.contains_key(*name)) {
            return Err(Refusal::Invalid("the token is encrypted, compressed or not encoded"));
        }
        let text = |name: &str| match fields.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(MALFORMED),
        };
        // A token within a token (RFC 7519 §5.2).
        if text("cty")?.is_some_and(|cty| cty.eq_ignore_ascii_case("jwt")) {
            return Err(Refusal::Invalid("the token holds another token"));
        }
        let algorithm = text("alg")?.ok_or(MALFORMED)?;
        let algorithm =
            Algorithm::named(algorithm).ok_or(Refusal::Invalid("the algorithm is not the one of the key"))?;
        Ok(Self { algorithm, kid: text("kid")?, typ: text("typ")? })
    }
}
