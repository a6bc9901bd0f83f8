//! Sessions: begun, renewed, listed and ended.

use super::fields::Fields;
use super::request::{Head, bearer, parameter};
use super::{Answer, Face, json, nothing};
use crate::{Caller, IdentityError, Origin, Preset, Secret, Tokens};
use ::http::StatusCode;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

/// An access token and what renews it (RFC 6749 §5.1).
#[derive(Serialize, ToSchema)]
pub(super) struct TokenAnswer<'a> {
    /// To be sent as `Authorization: Bearer`.
    access_token: &'a str,
    /// `Bearer`.
    token_type: &'static str,
    /// How many seconds the access token is good.
    expires_in: u64,
    /// Renews the session, once.
    refresh_token: &'a str,
    /// How many seconds the refresh token is good.
    refresh_expires_in: u64,
    /// The session.
    session_id: &'a str,
}

/// Sessions, the latest first.
#[derive(Serialize, ToSchema)]
pub(super) struct SessionList {
    sessions: Vec<crate::Session>,
    /// The one that asks, if it is among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<String>,
}

fn answer(tokens: &Tokens) -> Answer {
    Ok(json(
        StatusCode::OK,
        &TokenAnswer {
            access_token: tokens.access_token.expose(),
            token_type: "Bearer",
            expires_in: tokens.expires_in.as_secs(),
            refresh_token: tokens.refresh_token.expose(),
            refresh_expires_in: tokens.refresh_expires_in.as_secs(),
            session_id: &tokens.session_id,
        },
    ))
}

/// Also OAuth 2's token endpoint for the grants `password` and `refresh_token`.
pub(super) async fn login(State(face): State<Face>, origin: Origin, mut fields: Fields) -> Answer {
    match fields.text(&["grant_type"]).as_deref() {
        None | Some("password") => {}
        Some("refresh_token") => return renew(&face, fields, None).await,
        Some(_) => fields.wrong("grant_type", "must be `password` or `refresh_token`"),
    }
    let login = fields.required(&["email", "username", "login"]);
    let password = fields.secret(&["password"]);
    fields.check()?;
    answer(&face.identity.login(&login, &password, &origin).await?)
}

pub(super) async fn refresh(State(face): State<Face>, head: Head, mut fields: Fields) -> Answer {
    fields.text(&["grant_type"]);
    let header = bearer(&head.0).ok().map(Secret::new);
    renew(&face, fields, header).await
}

/// The refresh token stands in the body, or, where that is empty, in the header.
async fn renew(face: &Face, mut fields: Fields, header: Option<Secret>) -> Answer {
    let token = match header {
        Some(header) if fields.is_empty() => header,
        _ => fields.secret(&["refresh_token", "refreshToken"]),
    };
    fields.check()?;
    answer(&face.identity.refresh(&token).await?)
}

/// S1-04 and S1-06: there `id` must say which session is meant.
fn named(face: &Face, head: &Head) -> Result<Option<String>, IdentityError> {
    let id = parameter(&head.0, "id");
    if id.is_none() && face.preset() == Preset::S1 {
        return Err(IdentityError::Malformed("the parameter `id` is missing: the session that is to end"));
    }
    Ok(id)
}

pub(super) async fn logout(State(face): State<Face>, head: Head) -> Answer {
    let id = named(&face, &head)?;
    let caller = face.identity.authenticate(bearer(&head.0)?).await?;
    face.identity.end_session(&caller, id.as_deref().unwrap_or(&caller.session_id)).await?;
    Ok(nothing())
}

/// By `id`, for owners and administrators; else by the token itself (RFC 7009), which needs no further proof.
pub(super) async fn revoke(State(face): State<Face>, head: Head, mut fields: Fields) -> Answer {
    if let Some(id) = named(&face, &head)? {
        let caller = face.identity.authenticate(bearer(&head.0)?).await?;
        face.identity.end_session(&caller, &id).await?;
        return Ok(nothing());
    }
    let token = fields.secret(&["token"]);
    // RFC 7009 §2.1: a hint; tokens are told apart without it.
    fields.text(&["token_type_hint"]);
    fields.check()?;
    face.identity.revoke_token(&token).await?;
    Ok(json(StatusCode::OK, &serde_json::json!({})))
}

pub(super) async fn list(State(face): State<Face>, caller: Caller) -> Answer {
    let user = caller.user_id.clone();
    listed(&face, &caller, &user).await
}

pub(super) async fn list_of(State(face): State<Face>, caller: Caller, Path(user): Path<String>) -> Answer {
    listed(&face, &caller, &user).await
}

async fn listed(face: &Face, caller: &Caller, user: &str) -> Answer {
    let sessions = face.identity.sessions(caller, user).await?;
    let current =
        sessions.iter().find(|session| session.id == caller.session_id).map(|session| session.id.clone());
    Ok(json(StatusCode::OK, &SessionList { sessions, current }))
}

pub(super) async fn end(State(face): State<Face>, caller: Caller, Path(id): Path<String>) -> Answer {
    face.identity.end_session(&caller, &id).await?;
    Ok(nothing())
}

pub(super) async fn end_all(State(face): State<Face>, caller: Caller) -> Answer {
    face.identity.end_sessions(&caller, &caller.user_id).await?;
    Ok(nothing())
}

pub(super) async fn end_all_of(State(face): State<Face>, caller: Caller, Path(user): Path<String>) -> Answer {
    face.identity.end_sessions(&caller, &user).await?;
    Ok(nothing())
}
