//! The fields of a body, which is JSON or a form.

use super::{Face, MAX_BODY, Refusal};
use crate::{IdentityError, Secret, Violation};
use ::http::Request;
use ::http::header::CONTENT_TYPE;
use axum::body::Body;
use axum::extract::FromRequest;
use gateway_core::FailureKind;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::{Map, Value};
use std::fmt;

/// The fields that were sent; each is taken once, and what is left is seen.
pub(super) struct Fields {
    fields: Map<String, Value>,
    violations: Vec<Violation>,
}

/// Names only: the values may be passwords.
impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.fields.keys()).finish()
    }
}

impl FromRequest<Face> for Fields {
    type Rejection = Refusal;

    async fn from_request(request: Request<Body>, _: &Face) -> Result<Self, Refusal> {
        let content_type = request.headers().get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or("?"));
        let content_type =
            content_type.map(|text| text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
        let body = Limited::new(request.into_body(), MAX_BODY).collect().await.map_err(|error| {
            match FailureKind::of_request_body(&*error) {
                _ if error.is::<LengthLimitError>() => IdentityError::TooLarge,
                FailureKind::BodyTooLarge => IdentityError::TooLarge,
                FailureKind::BodyTimedOut => IdentityError::TooSlow,
                _ => IdentityError::Malformed("the body broke off"),
            }
        })?;
        Ok(Self::read(content_type.as_deref(), &body.to_bytes())?)
    }
}

impl Fields {
    fn read(content_type: Option<&str>, body: &[u8]) -> Result<Self, IdentityError> {
        let fields = match content_type {
            _ if body.is_empty() => Map::new(),
            Some("application/x-www-form-urlencoded") => form(body)?,
            Some(json) if json == "application/json" || json.ends_with("+json") => parse(body)?,
            Some(_) => return Err(IdentityError::MediaType),
            // Who says nothing sends JSON.
            None => parse(body)?,
        };
        Ok(Self { fields, violations: Vec::new() })
    }

    /// A text under the first of these names; an empty one counts as absent.
    pub(super) fn text(&mut self, names: &[&str]) -> Option<String> {
        let (name, value) = names.iter().find_map(|name| Some((name, self.fields.remove(*name)?)))?;
        match value {
            Value::String(text) if text.is_empty() => None,
            Value::String(text) => Some(text),
            Value::Null => None,
            _ => {
                self.wrong(name, "must be a text");
                None
            }
        }
    }

    /// A text that must be there.
    pub(super) fn required(&mut self, names: &[&str]) -> String {
        let before = self.violations.len();
        self.text(names).unwrap_or_else(|| {
            if self.violations.len() == before {
                self.wrong(names[0], "is required");
            }
            String::new()
        })
    }

    pub(super) fn secret(&mut self, names: &[&str]) -> Secret {
        Secret::new(self.required(names))
    }

    /// Whatever stands under this name, `null` included.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.fields.remove(name)
    }

    /// The profile: the object of that name, and every field that is none of the others, as forms have them.
    pub(super) fn profile(&mut self) -> Map<String, Value> {
        let mut profile = match self.fields.remove("profile") {
            Some(Value::Object(profile)) => profile,
            None | Some(Value::Null) => Map::new(),
            Some(_) => {
                self.wrong("profile", "must be an object");
                Map::new()
            }
        };
        profile.append(&mut self.fields);
        profile
    }

    pub(super) fn roles(&mut self) -> Option<Vec<String>> {
        let roles = self.fields.remove("roles")?;
        let parsed = serde_json::from_value::<Vec<String>>(roles);
        parsed.map_err(|_| self.wrong("roles", "must be a list of texts")).ok()
    }

    pub(super) fn switch(&mut self, name: &str) -> Option<bool> {
        match self.fields.remove(name)? {
            Value::Bool(on) => Some(on),
            Value::String(text) if text == "true" || text == "false" => Some(text == "true"),
            _ => {
                self.wrong(name, "must be true or false");
                None
            }
        }
    }

    pub(super) fn wrong(&mut self, name: &str, detail: &str) {
        self.violations.push(Violation::new(format!("/{name}"), detail));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Says what was wrong with the fields that were taken.
    pub(super) fn check(&self) -> Result<(), IdentityError> {
        if self.violations.is_empty() { Ok(()) } else { Err(IdentityError::Invalid(self.violations.clone())) }
    }
}

fn parse(body: &[u8]) -> Result<Map<String, Value>, IdentityError> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(IdentityError::Invalid(vec![Violation::new("", "the body must be an object")])),
        // The parser's own words could quote a password.
        Err(_) => Err(IdentityError::Malformed("the body is no JSON")),
    }
}

fn form(body: &[u8]) -> Result<Map<String, Value>, IdentityError> {
    let mut fields = Map::new();
    for (name, value) in form_urlencoded::parse(body) {
        // RFC 6749 §3.2: parameters must not be sent more than once.
        if fields.insert(name.into_owned(), value.into_owned().into()).is_some() {
            return Err(IdentityError::Malformed("a field of the form is there twice"));
        }
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FORM: Option<&str> = Some("application/x-www-form-urlencoded");

    #[test]
    fn json_and_forms_say_the_same() {
        for (kind, body) in [
            (Some("application/json"), r#"{"username":"ada","password":"a+b c"}"#),
            (None, r#"{"username":"ada","password":"a+b c"}"#),
            (FORM, "username=ada&password=a%2Bb+c"),
        ] {
            let mut fields = Fields::read(kind, body.as_bytes()).unwrap();
            assert_eq!(fields.required(&["email", "username"]), "ada");
            assert_eq!(fields.secret(&["password"]).expose(), "a+b c");
            assert_eq!(fields.check(), Ok(()));
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused_and_not_quoted() {
        for (kind, body, shown) in [
            (Some("text/xml"), "<x/>", "expected `application/json`"),
            (None, "{\"password\":\"hunter2\"", "the body is no JSON"),
            (None, "[\"hunter2\"]", "the body must be an object"),
            (FORM, "password=hunter2&password=hunter3", "there twice"),
        ] {
            let error = Fields::read(kind, body.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(shown) && !error.contains("hunter"), "{body}: {error}");
        }
        let mut fields = Fields::read(None, br#"{"password": 5}"#).unwrap();
        fields.required(&["password"]);
        fields.required(&["email", "username"]);
        assert_eq!(fields.check().unwrap_err().to_string(), "/password must be a text; /email is required");
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200), kind in 0..3) {
            let kind = [None, FORM, Some("application/json")][kind as usize];
            if let Ok(mut fields) = Fields::read(kind, &body) {
                fields.profile();
            }
        }
    }
}
