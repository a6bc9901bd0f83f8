//! Claims as the values of headers.

use gateway_core::Principal;
use http::HeaderValue;
use serde_json::Value;
use std::fmt::Write;

/// Longer values are left out: services refuse heads that large.
const MAX: usize = 8192;

/// Where a value comes from, as it is looked up.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    Id,
    Roles,
    Scopes,
    Method,
    Subject,
    Claim(Box<str>),
}

impl Source {
    pub(crate) fn new(name: &str) -> Result<Self, String> {
        match name {
            "@id" => Ok(Self::Id),
            "@roles" => Ok(Self::Roles),
            "@scopes" => Ok(Self::Scopes),
            "@method" => Ok(Self::Method),
            "sub" => Ok(Self::Subject),
            "" => Err("it is empty; expected the name of a claim".to_owned()),
            name if name.starts_with('@') => Err(format!(
                "`{name}` is unknown; expected `@id`, `@roles`, `@scopes`, `@method` or the name of a claim"
            )),
            name => Ok(Self::Claim(name.into())),
        }
    }

    /// The value of a header; `Ok(None)` where there is nothing to say.
    ///
    /// # Errors
    /// What there is to say cannot stand in a header.
    pub(crate) fn value(&self, caller: &Principal, separator: &str) -> Result<Option<HeaderValue>, Unfit> {
        let mut text = Text { out: String::new(), separator };
        match self {
            Self::Id => text.whole(caller.id())?,
            Self::Method => text.whole(caller.method().name())?,
            Self::Roles => caller.roles().try_for_each(|role| text.one_of_several(role))?,
            Self::Scopes => caller.scopes().try_for_each(|scope| text.one_of_several(scope))?,
            Self::Subject => match caller.claim("sub") {
                Some(claim) => text.claim(claim)?,
                None => text.whole(caller.id())?,
            },
            Self::Claim(path) => caller.claim_at(path).map_or(Ok(()), |claim| text.claim(claim))?,
        }
        match text.out {
            out if out.is_empty() => Ok(None),
            out if out.len() > MAX => Err(Unfit::Long),
            out => HeaderValue::try_from(out).map(Some).map_err(|_| Unfit::Control),
        }
    }
}

/// Why a claim cannot stand in a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfit {
    #[error("it has a control character")]
    Control,
    #[error("it is longer than 8192 bytes")]
    Long,
}

struct Text<'a> {
    out: String,
    separator: &'a str,
}

impl Text<'_> {
    fn claim(&mut self, claim: &Value) -> Result<(), Unfit> {
        match claim {
            Value::String(text) => self.whole(text),
            Value::Array(list) => list.iter().try_for_each(|element| match element {
                Value::String(text) => self.one_of_several(text),
                Value::Number(_) | Value::Bool(_) => self.one_of_several(&element.to_string()),
                _ => Ok(()),
            }),
            Value::Number(_) | Value::Bool(_) => self.whole(&claim.to_string()),
            Value::Null | Value::Object(_) => Ok(()),
        }
    }

    fn whole(&mut self, text: &str) -> Result<(), Unfit> {
        self.encode(text, "")
    }

    /// An element that has the separator in it would be read as two.
    fn one_of_several(&mut self, text: &str) -> Result<(), Unfit> {
        if !self.out.is_empty() {
            self.out.push_str(self.separator);
        }
        self.encode(text, self.separator)
    }

    /// Percent-encodes what is not ASCII, the percent sign, and these characters.
    fn encode(&mut self, text: &str, special: &str) -> Result<(), Unfit> {
        if text.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(Unfit::Control);
        }
        for char in text.chars() {
            if char.is_ascii() && char != '%' && !special.contains(char) {
                self.out.push(char);
                continue;
            }
            for byte in char.encode_utf8(&mut [0; 4]).bytes() {
                // Writing to a text never fails.
                let _ = write!(self.out, "%{byte:02X}");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_core::AuthMethod;
    use proptest::prelude::*;
    use serde_json::json;

    fn value(source: &str, separator: &str, claims: Value) -> Result<String, Unfit> {
        let Value::Object(claims) = claims else { panic!("not a table: {claims}") };
        let caller = Principal::new("7", AuthMethod::Jwt, claims);
        let value = Source::new(source).unwrap().value(&caller, separator)?;
        Ok(value.map_or("-".to_owned(), |value| value.to_str().unwrap().to_owned()))
    }

    #[test]
    fn claims_become_values_that_a_service_can_read_back() {
        for (source, separator, claims, expected) in [
            ("@id", ",", json!({}), Ok("7")),
            ("@method", ",", json!({}), Ok("jwt")),
            ("sub", ",", json!({}), Ok("7")),
            ("sub", ",", json!({ "sub": "ada" }), Ok("ada")),
            ("@roles", ",", json!({ "roles": ["a", "b"] }), Ok("a,b")),
            ("@roles", ", ", json!({ "roles": "a b", "role": "c" }), Ok("a, b, c")),
            ("@roles", ",", json!({ "roles": ["a,admin"] }), Ok("a%2Cadmin")),
            ("@roles", " ", json!({ "roles": ["a admin"] }), Ok("a%20admin")),
            ("@scopes", " ", json!({ "scope": "r w" }), Ok("r w")),
            ("c", ",", json!({ "c": "Zoë, 100%" }), Ok("Zo%C3%AB, 100%25")),
            ("c", ",", json!({ "c": 7 }), Ok("7")),
            ("c", ",", json!({ "c": [1, true, "x", null, {}] }), Ok("1,true,x")),
            ("c", ",", json!({ "c": {} }), Ok("-")),
            ("c", ",", json!({ "c": null }), Ok("-")),
            ("c", ",", json!({ "c": "" }), Ok("-")),
            ("c", ",", json!({}), Ok("-")),
            ("a.b", ",", json!({ "a": { "b": "x" } }), Ok("x")),
            ("c", ",", json!({ "c": "a\r\nX-Role: admin" }), Err(Unfit::Control)),
            ("c", ",", json!({ "c": ["a", "b\0"] }), Err(Unfit::Control)),
            ("c", ",", json!({ "c": "\u{7f}" }), Err(Unfit::Control)),
            ("c", ",", json!({ "c": "x".repeat(9000) }), Err(Unfit::Long)),
        ] {
            assert_eq!(
                value(source, separator, claims.clone()).as_deref().map_err(|e| *e),
                expected,
                "{source} {claims}"
            );
        }
    }

    proptest! {
        #[test]
        fn as_many_roles_are_read_as_there_are(roles in prop::collection::vec("[ -~]{1,8}", 1..5)) {
            let text = value("@roles", ",", json!({ "roles": roles })).unwrap();
            prop_assert_eq!(text.split(',').count(), roles.len(), "{}", text);
        }

        #[test]
        fn whatever_a_claim_is_the_value_is_printable_or_left_out(claim in "\\PC{0,20}|.{0,20}") {
            if let Ok(text) = value("c", ",", json!({ "c": claim })) {
                prop_assert!(text.bytes().all(|b| (0x20..0x7f).contains(&b)), "{}", text);
            }
        }
    }
}
