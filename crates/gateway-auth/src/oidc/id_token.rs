//! What an ID token must say besides what every token must: OpenID Connect Core 1.0 §3.1.3.7 and §3.1.3.8.

use crate::jwt::algorithm::Algorithm;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, SHA384, SHA512, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// What came with the token.
pub(crate) struct Expected<'a> {
    pub(crate) client: &'a str,
    /// What the login began with; after a refresh there is none (§12.2).
    pub(crate) nonce: Option<&'a str>,
    /// Whose session is refreshed.
    pub(crate) subject: Option<&'a str>,
    pub(crate) access_token: &'a str,
    /// What the ID token is signed with.
    pub(crate) algorithm: Algorithm,
}

/// Checks the claims of an ID token whose signature, issuer, audience and times are good.
pub(crate) fn check(claims: &Map<String, Value>, expected: &Expected<'_>) -> Result<(), &'static str> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let subject = text("sub").filter(|sub| !sub.is_empty() && sub.len() <= 255);
    let Some(subject) = subject else { return Err("the ID token does not say whose it is") };
    if expected.subject.is_some_and(|before| before != subject) {
        return Err("the ID token is somebody else's");
    }
    let several = matches!(claims.get("aud"), Some(Value::Array(many)) if many.len() > 1);
    match claims.get("azp") {
        None if several => {
            return Err("the ID token has several audiences and does not say for whom it was made");
        }
        Some(azp) if azp.as_str() != Some(expected.client) => {
            return Err("the ID token was made for another client");
        }
        _ => {}
    }
    if let Some(nonce) = expected.nonce
        && !text("nonce").is_some_and(|seen| same(seen, nonce))
    {
        return Err("the ID token is of another login");
    }
    match claims.get("at_hash") {
        Some(hash) if hash.as_str() != Some(&half_hash(expected.algorithm, expected.access_token)) => {
            Err("the ID token is of another access token")
        }
        _ => Ok(()),
    }
}

/// Compared in a time that tells nothing.
pub(crate) fn same(a: &str, b: &str) -> bool {
    verify_slices_are_equal(a.as_bytes(), b.as_bytes()).is_ok()
}

/// The left half of a hash, of the kind that the signature uses.
fn half_hash(algorithm: Algorithm, token: &str) -> String {
    use Algorithm::{
        ES256, ES384, ES512, EdDSA, HS256, HS384, HS512, PS256, PS384, PS512, RS256, RS384, RS512,
    };
    let kind = match algorithm {
        HS256 | RS256 | PS256 | ES256 => &SHA256,
        HS384 | RS384 | PS384 | ES384 => &SHA384,
        HS512 | RS512 | PS512 | ES512 | EdDSA => &SHA512,
    };
    let hash = digest(kind, token.as_bytes());
    let hash = hash.as_ref();
    URL_SAFE_NO_PAD.encode(&hash[..hash.len() / 2])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_id_token_is_for_this_login_this_client_and_this_access_token() {
        // The access token and hash of OpenID Connect Core 1.0, appendix A.3.
        let access_token = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y";
        let at_hash = "77QmUPtjPfzWtF2AnpK9RQ";
        let expected = |nonce, subject| Expected {
            client: "shop",
            nonce,
            subject,
            access_token,
            algorithm: Algorithm::RS256,
        };
        let login = expected(Some("n"), None);
        for (claims, good) in [
            (json!({ "sub": "ada", "aud": "shop", "nonce": "n" }), true),
            (json!({ "sub": "ada", "aud": ["shop"], "nonce": "n", "at_hash": at_hash }), true),
            (json!({ "sub": "ada", "aud": ["shop", "bank"], "azp": "shop", "nonce": "n" }), true),
            (json!({ "sub": "ada", "aud": ["shop", "bank"], "nonce": "n" }), false),
            (json!({ "sub": "ada", "aud": "shop", "azp": "bank", "nonce": "n" }), false),
            (json!({ "sub": "ada", "aud": "shop", "azp": ["shop"], "nonce": "n" }), false),
            (json!({ "sub": "ada", "aud": "shop" }), false),
            (json!({ "sub": "ada", "aud": "shop", "nonce": "m" }), false),
            (json!({ "sub": "ada", "aud": "shop", "nonce": ["n"] }), false),
            (json!({ "sub": "ada", "aud": "shop", "nonce": "n", "at_hash": "x" }), false),
            (json!({ "sub": "ada", "aud": "shop", "nonce": "n", "at_hash": null }), false),
            (json!({ "sub": "", "aud": "shop", "nonce": "n" }), false),
            (json!({ "sub": 7, "aud": "shop", "nonce": "n" }), false),
            (json!({ "aud": "shop", "nonce": "n" }), false),
        ] {
            assert_eq!(check(claims.as_object().unwrap(), &login).is_ok(), good, "{claims}");
        }
        let refreshed = json!({ "sub": "ada", "aud": "shop" });
        let refreshed = refreshed.as_object().unwrap();
        assert_eq!(check(refreshed, &expected(None, Some("ada"))), Ok(()));
        assert_eq!(check(refreshed, &expected(None, Some("eve"))), Err("the ID token is somebody else's"));
    }
}
