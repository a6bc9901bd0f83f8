use serde_json::{Map, Value};
use std::sync::Arc;

/// How a principal proved who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AuthMethod {
    /// A verified JSON Web Token.
    Jwt,
    /// An API key.
    ApiKey,
    /// A user and a password (RFC 7617).
    Basic,
    /// A client certificate, shown to us or to a trusted proxy.
    ClientCertificate,
    /// A token that its issuer vouched for when asked (RFC 7662).
    Introspection,
    /// A service that was asked about the request.
    Forward,
    /// A browser's session after a login.
    Session,
    /// A signature of the request itself (RFC 9421, Standard Webhooks).
    Signature,
}

impl AuthMethod {
    /// Its stable name, such as `api_key`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Jwt => "jwt",
            Self::ApiKey => "api_key",
            Self::Basic => "basic",
            Self::ClientCertificate => "client_certificate",
            Self::Introspection => "introspection",
            Self::Forward => "forward",
            Self::Session => "session",
            Self::Signature => "signature",
        }
    }
}

/// Request extension: who is calling, as proved to the authentication layer. Absent for anonymous callers.
///
/// Cheap to clone. The authentication layer also leaves a copy in the response's extensions, so that an access
/// log further out can name the caller.
#[derive(Clone, Debug)]
pub struct Principal(Arc<Facts>);

#[derive(Debug)]
struct Facts {
    id: String,
    method: AuthMethod,
    claims: Map<String, Value>,
}

impl Principal {
    /// A principal with its stable identifier (for a JWT, the `sub` claim) and what else is known of it.
    #[must_use]
    pub fn new(id: impl Into<String>, method: AuthMethod, claims: Map<String, Value>) -> Self {
        Self(Arc::new(Facts { id: id.into(), method, claims }))
    }

    /// The stable identifier; empty when the credentials name none.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// How it was proved.
    #[must_use]
    pub fn method(&self) -> AuthMethod {
        self.0.method
    }

    /// One claim by its name.
    #[must_use]
    pub fn claim(&self, name: &str) -> Option<&Value> {
        self.0.claims.get(name)
    }

    /// All claims.
    #[must_use]
    pub fn claims(&self) -> &Map<String, Value> {
        &self.0.claims
    }

    /// A claim by its name or, if none has it, by a path through nested claims: `realm_access.roles`.
    ///
    /// A name that itself has dots, such as `https://shop.example/roles`, is found first.
    #[must_use]
    pub fn claim_at(&self, path: &str) -> Option<&Value> {
        self.claim(path).or_else(|| {
            let (first, rest) = path.split_once('.')?;
            rest.split('.').try_fold(self.claim(first)?, |value, name| value.get(name))
        })
    }

    /// The texts of a claim by its name or path: those of a list, or the words of a text.
    pub fn texts<'a>(&'a self, path: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        texts(self.claim_at(path))
    }

    /// What the caller may do: the words of `scope` (RFC 6749 §3.3) and of `scp`, as texts or lists.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        texts(self.claim("scope")).chain(texts(self.claim("scp")))
    }

    /// Whether [`Principal::scopes`] has this one.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes().any(|has| has == scope)
    }

    /// What the caller is: `roles`, `role`, and Keycloak's `realm_access.roles`, as texts or lists.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        let realm = self.claim("realm_access").and_then(|realm| realm.get("roles"));
        texts(self.claim("roles")).chain(texts(self.claim("role"))).chain(texts(realm))
    }

    /// Whether [`Principal::roles`] has this one.
    #[must_use]
    pub fn has_role(&self, role: &str) -> bool {
        self.roles().any(|has| has == role)
    }
}

/// The texts of a list, or the words of a text. What is neither has none.
fn texts(value: Option<&Value>) -> impl Iterator<Item = &str> {
    let (words, list) = match value {
        Some(Value::String(words)) => (words.as_str(), [].as_slice()),
        Some(Value::Array(list)) => ("", list.as_slice()),
        _ => ("", [].as_slice()),
    };
    words.split_ascii_whitespace().chain(list.iter().filter_map(Value::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn principal(claims: Value) -> Principal {
        let Value::Object(claims) = claims else { panic!("not a table: {claims}") };
        Principal::new("ada", AuthMethod::Jwt, claims)
    }

    #[test]
    fn scopes_and_roles_are_read_from_texts_and_lists() {
        for (claims, scopes, roles) in [
            (json!({}), vec![], vec![]),
            (json!({ "scope": "read write", "roles": "admin" }), vec!["read", "write"], vec!["admin"]),
            (json!({ "scope": ["read write", "x"], "role": ["a", 7] }), vec!["read write", "x"], vec!["a"]),
            (json!({ "scp": "read", "realm_access": { "roles": ["b"] } }), vec!["read"], vec!["b"]),
            (json!({ "scope": 7, "roles": { "admin": true }, "realm_access": [1] }), vec![], vec![]),
        ] {
            let principal = principal(claims.clone());
            assert_eq!(principal.scopes().collect::<Vec<_>>(), scopes, "{claims}");
            assert_eq!(principal.roles().collect::<Vec<_>>(), roles, "{claims}");
        }
    }

    #[test]
    fn a_path_finds_nested_claims_and_a_name_with_dots_is_found_first() {
        let principal = principal(json!({
            "resource": { "shop": { "roles": ["buyer"] } },
            "https://shop.example/roles": ["seller"],
        }));
        assert_eq!(principal.texts("resource.shop.roles").collect::<Vec<_>>(), ["buyer"]);
        assert_eq!(principal.texts("https://shop.example/roles").collect::<Vec<_>>(), ["seller"]);
        for none in ["", ".", "resource.", "resource.shop.roles.buyer", "nobody.roles"] {
            assert_eq!(principal.texts(none).count(), 0, "{none}");
        }
    }
}
