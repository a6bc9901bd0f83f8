//! Accounts: opened, read, changed and removed.

use super::fields::Fields;
use super::request::{Head, parameter};
use super::{Answer, Face, json, nothing};
use crate::{Caller, IdentityError, NewUser, Origin, ProfileChange, Secret, UserChange, Violation};
use ::http::header::{HeaderValue, LOCATION};
use ::http::{Method, StatusCode};
use axum::extract::{Path, State};
use serde_json::Value;

/// How many accounts a page has where the request does not say.
const PAGE: usize = 50;

fn new_user(mut fields: Fields) -> Result<NewUser, IdentityError> {
    let new = NewUser {
        email: fields.text(&["email"]).unwrap_or_default(),
        username: fields.text(&["username"]),
        password: fields.text(&["password"]).map(Secret::new),
        roles: fields.roles(),
        disabled: fields.switch("disabled").unwrap_or(false),
        profile: fields.profile(),
    };
    fields.check()?;
    Ok(new)
}

fn change_of(mut fields: Fields, method: &Method) -> Result<UserChange, IdentityError> {
    let username = match fields.take("username") {
        None => None,
        Some(Value::Null) => Some(None),
        Some(Value::String(name)) => Some(Some(name)),
        Some(_) => {
            fields.wrong("username", "must be a text");
            None
        }
    };
    let mut change = UserChange {
        email: fields.text(&["email"]),
        username,
        password: fields.text(&["password"]).map(Secret::new),
        roles: fields.roles(),
        disabled: fields.switch("disabled"),
        profile: None,
    };
    let profile = fields.profile();
    fields.check()?;
    // `PUT` says what the profile is, `PATCH` what of it changes. Nobody removes a profile by not speaking of it.
    if !profile.is_empty() {
        change.profile = Some(if method == Method::PUT {
            ProfileChange::Replace(profile)
        } else {
            ProfileChange::Merge(profile)
        });
    }
    Ok(change)
}

fn created(face: &Face, user: &crate::User) -> Answer {
    let mut response = json(StatusCode::CREATED, user);
    let place = HeaderValue::try_from(format!("{}/{}", face.paths.users, user.id));
    if let Ok(place) = place {
        response.headers_mut().insert(LOCATION, place);
    }
    Ok(response)
}

pub(super) async fn register(State(face): State<Face>, origin: Origin, fields: Fields) -> Answer {
    let user = face.identity.register(new_user(fields)?, &origin).await?;
    created(&face, &user)
}

pub(super) async fn create(State(face): State<Face>, caller: Caller, fields: Fields) -> Answer {
    // Who may not gets told so before what is wrong with the fields.
    caller.must_be_admin()?;
    let user = face.identity.create_user(&caller, new_user(fields)?).await?;
    created(&face, &user)
}

pub(super) async fn list(State(face): State<Face>, caller: Caller, head: Head) -> Answer {
    let limit = match parameter(&head.0, "limit").map(|text| text.parse()) {
        None => PAGE,
        Some(Ok(limit @ 1..=500)) => limit,
        Some(_) => {
            let violation = Violation::new("/limit", "must be a number from 1 to 500");
            return Err(IdentityError::Invalid(vec![violation]).into());
        }
    };
    let after = parameter(&head.0, "after").unwrap_or_default();
    Ok(json(StatusCode::OK, &face.identity.users(&caller, &after, limit).await?))
}

pub(super) async fn read(State(face): State<Face>, caller: Caller, Path(id): Path<String>) -> Answer {
    Ok(json(StatusCode::OK, &face.identity.user(&caller, &id).await?))
}

pub(super) async fn me(State(face): State<Face>, caller: Caller) -> Answer {
    Ok(json(StatusCode::OK, &face.identity.user(&caller, &caller.user_id).await?))
}

pub(super) async fn change(
    State(face): State<Face>,
    caller: Caller,
    Path(id): Path<String>,
    method: Method,
    fields: Fields,
) -> Answer {
    let change = change_of(fields, &method)?;
    Ok(json(StatusCode::OK, &face.identity.update_user(&caller, &id, change).await?))
}

pub(super) async fn change_me(
    State(face): State<Face>,
    caller: Caller,
    method: Method,
    fields: Fields,
) -> Answer {
    let change = change_of(fields, &method)?;
    Ok(json(StatusCode::OK, &face.identity.update_user(&caller, &caller.user_id, change).await?))
}

pub(super) async fn remove(State(face): State<Face>, caller: Caller, Path(id): Path<String>) -> Answer {
    face.identity.delete_user(&caller, &id).await?;
    Ok(nothing())
}

pub(super) async fn remove_me(State(face): State<Face>, caller: Caller) -> Answer {
    face.identity.delete_user(&caller, &caller.user_id).await?;
    Ok(nothing())
}

pub(super) async fn change_password(State(face): State<Face>, caller: Caller, mut fields: Fields) -> Answer {
    let current = fields.secret(&["current_password", "password"]);
    let new = fields.secret(&["new_password"]);
    fields.check()?;
    face.identity.change_password(&caller, &current, &new).await?;
    Ok(nothing())
}
