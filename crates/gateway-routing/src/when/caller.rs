use super::{Program, Scope, WhenMistakes};
use crate::request::Head;
use http::{Extensions, HeaderMap, Method, Uri};
use std::fmt;
use std::str::FromStr;

/// An expression over a request and over who sends it, for what is decided behind authentication: a
/// [`When`](crate::When) for which there is a [`Principal`](gateway_core::Principal) as well.
///
/// ```
/// # #[cfg(feature = "cel")] fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use gateway_core::{AuthMethod, Principal};
/// use gateway_routing::CallerWhen;
///
/// let when: CallerWhen = "principal.claims.plan == 'gold' && 'eu' in principal.lists.regions".parse()?;
/// let claims = serde_json::json!({ "plan": "gold", "regions": ["eu", "us"] }).as_object().cloned().unwrap_or_default();
/// let (mut head, ()) = http::Request::get("/").body(())?.into_parts();
/// assert!(!when.holds(&head.method, &head.uri, &head.headers, &head.extensions));
/// head.extensions.insert(Principal::new("ada", AuthMethod::Jwt, claims));
/// assert!(when.holds(&head.method, &head.uri, &head.headers, &head.extensions));
/// # Ok(()) }
/// # #[cfg(not(feature = "cel"))] fn main() {}
/// ```
///
/// | variable | type | what it is |
/// |---|---|---|
/// | `principal.authenticated` | bool | whether it is known who calls |
/// | `principal.id` | string | the caller's identifier |
/// | `principal.method` | string | how it was proved ([`AuthMethod::name`](gateway_core::AuthMethod::name)), such as `'jwt'` |
/// | `principal.claims` | map of strings | claims that are texts, numbers or switches, as they are written; those within others by their path, `principal.claims.org.plan` |
/// | `principal.lists` | map of lists of strings | claims that are lists, with what is text, number or switch in them, or the words of a text |
///
/// Of callers who are not authenticated there are no claims, and what asks for their `id` or `method` does not hold.
#[derive(Clone)]
pub struct CallerWhen(Program);

impl CallerWhen {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.text()
    }

    /// Whether it holds for the request of this head. What fails does not.
    #[must_use]
    pub fn holds(&self, method: &Method, uri: &Uri, headers: &HeaderMap, extensions: &Extensions) -> bool {
        let head = Head::of_parts(method, uri, headers, extensions);
        self.0.ask(&head, |holds| holds.unwrap_or(false))
    }
}

impl FromStr for CallerWhen {
    type Err = WhenMistakes;

    fn from_str(text: &str) -> Result<Self, WhenMistakes> {
        Program::new(text, Scope::Caller).map(Self).map_err(WhenMistakes)
    }
}

impl fmt::Debug for CallerWhen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CallerWhen").field(&self.as_str()).finish()
    }
}
