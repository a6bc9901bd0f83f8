//! What a request says of who asks.

use super::{Face, Refusal};
use crate::{Caller, IdentityError, Origin};
use ::http::header::{AUTHORIZATION, USER_AGENT};
use ::http::request::Parts;
use axum::extract::{ConnectInfo, FromRequestParts};
use gateway_core::ClientAddr;
use std::net::SocketAddr;

/// The token of the `Authorization` header (RFC 6750 §2.1).
pub(super) fn bearer(parts: &Parts) -> Result<&str, IdentityError> {
    let mut values = parts.headers.get_all(AUTHORIZATION).iter();
    let (Some(value), rest) = (values.next(), values.next()) else {
        return Err(IdentityError::MissingCredentials);
    };
    if rest.is_some() {
        return Err(IdentityError::InvalidToken("there are several `Authorization` headers"));
    }
    let text = value.to_str().unwrap_or_default();
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("bearer") || token.trim().is_empty() {
        return Err(IdentityError::InvalidToken("expected `Authorization: Bearer` and a token"));
    }
    Ok(token.trim())
}

impl FromRequestParts<Face> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, face: &Face) -> Result<Self, Refusal> {
        Ok(face.identity.authenticate(bearer(parts)?).await?)
    }
}

impl FromRequestParts<Face> for Origin {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &Face) -> Result<Self, Refusal> {
        let told = parts.extensions.get::<ClientAddr>().map(ClientAddr::ip);
        let connected = || parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
        let user_agent = parts.headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
        Ok(Self { address: told.or_else(connected), user_agent: user_agent.map(ToOwned::to_owned) })
    }
}

/// The value of a parameter of the query.
pub(super) fn parameter(parts: &Parts, name: &str) -> Option<String> {
    let query = parts.uri.query()?;
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.into_owned())
}

/// The head of a request, for those who read it themselves.
pub(super) struct Head(pub(super) Parts);

impl FromRequestParts<Face> for Head {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &Face) -> Result<Self, Refusal> {
        Ok(Self(parts.clone()))
    }
}
