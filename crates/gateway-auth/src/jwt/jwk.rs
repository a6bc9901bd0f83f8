//! Key sets (RFC 7517): which of their keys verify tokens.

use crate::jwt::algorithm::Algorithm;
use crate::jwt::key::{Key, KeyId, Material};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

/// More keys than any issuer has; further ones are not looked at.
const MAX_KEYS: usize = 100;

/// A key set as it is written. Members of a key that we do not know do not matter (RFC 7517 §4).
#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

/// A key as it is written. `x5c`, `x5u` and `x5t` are not looked at: the key stands beside them.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    #[serde(default)]
    n: String,
    #[serde(default)]
    e: String,
    #[serde(default)]
    x: String,
    #[serde(default)]
    y: String,
    #[serde(default)]
    k: String,
}

/// Who wrote a key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A file of the operator: it may hold secrets.
    File,
    /// A URL that anybody may read: a secret there is none, and its keys are not believed.
    Url,
}

/// The keys of a set that verify tokens by one of these algorithms; by any if none is named. Whatever else a set
/// holds is passed over (RFC 7517 §5), so that a new kind of key does no harm.
pub(crate) fn read(json: &[u8], origin: Origin, allowed: &[Algorithm]) -> Result<Vec<Key>, String> {
    let set: Set = serde_json::from_slice(json).map_err(|error| format!("is no key set: {error}"))?;
    let keys = set.keys.into_iter().take(MAX_KEYS).filter_map(|value| {
        let jwk: Jwk = serde_json::from_value(value).ok()?;
        jwk.key(origin, allowed)
    });
    Ok(keys.collect())
}

impl Jwk {
    fn key(&self, origin: Origin, allowed: &[Algorithm]) -> Option<Key> {
        if self.usage.as_deref().is_some_and(|usage| usage != "sig") {
            return None;
        }
        if self.key_ops.as_ref().is_some_and(|operations| !operations.iter().any(|name| name == "verify")) {
            return None;
        }
        let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
        match self.kty.as_str() {
            "RSA" => {
                let (modulus, exponent) = (bytes(&self.n)?, bytes(&self.e)?);
                self.made(&Material::RsaNumbers { modulus: &modulus, exponent: &exponent }, allowed)
            }
            "EC" => {
                let size = match self.crv.as_deref()? {
                    "P-256" => 32,
                    "P-384" => 48,
                    "P-521" => 66,
                    _ => return None,
                };
                let (x, y) = (bytes(&self.x)?, bytes(&self.y)?);
                let point = [&[4][..], &x, &y].concat();
                let whole = x.len() == size && y.len() == size;
                whole.then(|| self.made(&Material::Point(&point), allowed)).flatten()
            }
            "OKP" if self.crv.as_deref() == Some("Ed25519") => {
                self.made(&Material::Ed25519(&bytes(&self.x)?), allowed)
            }
            "oct" if origin == Origin::File => {
                let secret = bytes(&self.k)?;
                (secret.len() >= 16).then(|| self.made(&Material::Secret(&secret), allowed)).flatten()
            }
            _ => None,
        }
    }

    fn made(&self, material: &Material<'_>, allowed: &[Algorithm]) -> Option<Key> {
        let own = match &self.alg {
            None => None,
            Some(name) => Some(Algorithm::named(name)?),
        };
        // A key that does not say for which algorithm it is takes each that goes with it.
        let algorithms: Vec<Algorithm> = material
            .algorithms()
            .iter()
            .copied()
            .filter(|algorithm| own.is_none_or(|own| own == *algorithm))
            .filter(|algorithm| allowed.is_empty() || allowed.contains(algorithm))
            .collect();
        if algorithms.is_empty() {
            return None;
        }
        Key::new(self.id(&algorithms), self.kid.as_deref(), material, &algorithms).ok()
    }

    /// By everything public that makes the key what it is, so that another key under the same name is another.
    fn id(&self, algorithms: &[Algorithm]) -> KeyId {
        let Self { kty, kid, crv, n, e, x, y, .. } = self;
        let whole = format!("{kty:?}{kid:?}{crv:?}{n:?}{e:?}{x:?}{y:?}{algorithms:?}");
        digest(&SHA256, whole.as_bytes())
            .as_ref()
            .iter()
            .take(8)
            .fold(0, |id, byte| id << 8 | u64::from(*byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example keys of RFC 7517 A.1.
    const EC: &str = r#""kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM""#;
    const OCT: &str = r#""kty":"oct","k":"YSBzZWNyZXQgb2YgdGhpcnR5LXR3byBieXRlcyAuLi4""#;

    fn count(keys: &[&str], origin: Origin) -> usize {
        let keys: Vec<String> = keys.iter().map(|key| format!("{{{key}}}")).collect();
        let set = format!(r#"{{"keys":[{}],"more":1}}"#, keys.join(","));
        read(set.as_bytes(), origin, &[]).unwrap().len()
    }

    #[test]
    fn keys_that_are_not_for_verifying_are_passed_over() {
        for (what, key, expected) in [
            ("plain", EC.to_owned(), 1),
            ("for signatures", format!(r#"{EC},"use":"sig","alg":"ES256""#), 1),
            ("for verifying", format!(r#"{EC},"key_ops":["verify"]"#), 1),
            ("for encryption", format!(r#"{EC},"use":"enc""#), 0),
            ("for signing", format!(r#"{EC},"key_ops":["sign"]"#), 0),
            ("for nothing", format!(r#"{EC},"key_ops":[]"#), 0),
            ("of another curve's algorithm", format!(r#"{EC},"alg":"ES384""#), 0),
            ("with an HMAC algorithm", format!(r#"{EC},"alg":"HS256""#), 0),
            ("with the algorithm none", format!(r#"{EC},"alg":"none""#), 0),
            ("of another curve", EC.replace("P-256", "P-384"), 0),
            ("not on the curve", EC.replace("4Etl", "5Etl"), 0),
            ("of an unknown kind", r#""kty":"AKP","pub":"AAAA""#.to_owned(), 0),
            ("with a number as its name", format!(r#"{EC},"kid":7"#), 0),
            ("a short secret", r#""kty":"oct","k":"c2hvcnQ""#.to_owned(), 0),
        ] {
            assert_eq!(count(&[&key], Origin::File), expected, "{what}");
        }
        assert_eq!(count(&[OCT, EC], Origin::File), 2);
        assert_eq!(count(&[OCT, EC], Origin::Url), 1, "a secret that anybody can read is none");
        assert_eq!(count(&vec![EC; 500], Origin::Url), MAX_KEYS);
        assert!(read(b"[]", Origin::Url, &[]).is_err());
        assert!(read(br#"{"keys":[1,{}]}"#, Origin::Url, &[]).unwrap().is_empty());
    }

    #[test]
    fn a_key_under_the_same_name_is_another_key() {
        let id = |key: &str| {
            read(format!(r#"{{"keys":[{{{key}}}]}}"#).as_bytes(), Origin::Url, &[]).unwrap()[0].id
        };
        assert_eq!(id(EC), id(&format!(r#"{EC},"use":"sig""#)));
        assert_ne!(id(EC), id(&format!(r#"{EC},"kid":"a""#)));
    }
}
