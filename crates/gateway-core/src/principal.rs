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
}
