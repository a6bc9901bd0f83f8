use crate::db::Database;
use crate::{ProfileSettings, Secret, Violation};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// An account.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct User {
    /// Its identifier, a UUID of version 7: `sub` in its tokens.
    pub id: String,
    /// The address to log in with, as it was given.
    pub email: String,
    /// A name to log in with, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// What else is known of the person.
    #[schema(value_type = Object)]
    pub profile: Map<String, Value>,
    /// What it may do.
    pub roles: Vec<String>,
    /// Whether it may not log in.
    pub disabled: bool,
    /// When it was made, in milliseconds since 1970.
    pub created_at: i64,
    /// When it was changed last, in milliseconds since 1970.
    pub updated_at: i64,
}

/// An account to be made.
#[derive(Clone, Debug, Default)]
pub struct NewUser {
    /// The address to log in with.
    pub email: String,
    /// A name to log in with.
    pub username: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// What else is known of the person.
    pub profile: Map<String, Value>,
    /// What it may do; `default_roles` where that is left open. Who registers may not say.
    pub roles: Option<Vec<String>>,
    /// Whether it may not log in. Who registers may not say.
    pub disabled: bool,
}

/// What of an account changes.
#[derive(Clone, Debug, Default)]
pub struct UserChange {
    /// Another address.
    pub email: Option<String>,
    /// Another name; `Some(None)` removes it.
    pub username: Option<Option<String>>,
    /// Another password: for administrators.
    pub password: Option<Secret>,
    /// Profile fields.
    pub profile: Option<ProfileChange>,
    /// Other roles: for administrators.
    pub roles: Option<Vec<String>>,
    /// Disabled, or no longer: for administrators.
    pub disabled: Option<bool>,
}

/// How a profile changes.
#[derive(Clone, Debug)]
pub enum ProfileChange {
    /// Only these fields; `null` removes one (RFC 7396).
    Merge(Map<String, Value>),
    /// Exactly these fields.
    Replace(Map<String, Value>),
}

impl ProfileChange {
    pub(crate) fn apply(&self, profile: &mut Map<String, Value>) {
        match self {
            Self::Replace(new) => *profile = new.clone(),
            Self::Merge(new) => {
                for (field, value) in new {
                    if value.is_null() {
                        profile.remove(field);
                    } else {
                        profile.insert(field.clone(), value.clone());
                    }
                }
            }
        }
    }
}

/// A page of accounts.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct UserPage {
    /// In the order they were made.
    pub users: Vec<User>,
    /// What to give as `after` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl UserPage {
    /// One more than the page holds is asked for, to know whether there is a next one.
    pub(crate) async fn read(db: &Database, after: &str, limit: usize) -> Result<Self, crate::IdentityError> {
        let limit = limit.clamp(1, 500);
        let mut users = db.users(after, limit as i64 + 1).await?;
        let more = users.len() > limit;
        users.truncate(limit);
        let next = users.last().filter(|_| more).map(|user| user.id.clone());
        Ok(Self { users, next })
    }
}

/// What is wrong with names and profile.
pub(crate) fn violations(
    email: &str,
    username: Option<&str>,
    profile: &Map<String, Value>,
    settings: &ProfileSettings,
) -> Vec<Violation> {
    let mut found = Vec::new();
    if email.trim().is_empty() {
        found.push(Violation::new("/email", "is required"));
    } else if !is_email(email.trim()) {
        found.push(Violation::new("/email", "is not an e-mail address"));
    }
    if username.is_some_and(|name| !is_username(name.trim())) {
        found.push(Violation::new("/username", "must be 1 to 64 letters, digits, or `.`, `_` and `-`"));
    }
    found.extend(settings.violations(profile).map(|(pointer, detail)| Violation::new(pointer, detail)));
    found
}

/// Whether mail could be sent there: an address as people have them, without the quoted and commented forms of
/// RFC 5322.
fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else { return false };
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !"@\"(),:;<>[\\]".contains(c);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_alphanumeric() || c == '-')
    };
    text.len() <= 254
        && (1..=64).contains(&local.len())
        && local.chars().all(plain)
        && local.split('.').all(|part| !part.is_empty())
        && domain.split('.').all(label)
}

fn is_username(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn addresses_are_told_from_other_texts() {
        for (text, fine) in [
            ("ada@example.org", true),
            ("ada.lovelace+tag@mail.example.org", true),
            ("ada@localhost", true),
            ("jörg@bücher.example", true),
            ("", false),
            ("ada", false),
            ("@example.org", false),
            ("ada@", false),
            ("a@b@c", false),
            ("a..b@c.d", false),
            ("a b@c.d", false),
            ("a@-b.c", false),
            ("a@b..c", false),
            ("a\u{0}@b.c", false),
            ("a\r\nBcc: x@b.c", false),
        ] {
            assert_eq!(is_email(text), fine, "{text:?}");
        }
        assert!(!is_email(&format!("{}@b.c", "x".repeat(65))));
    }

    #[test]
    fn every_mistake_is_named_at_once() {
        let settings = ProfileSettings {
            allowed: Some(vec!["nick".to_owned()]),
            required: vec!["name".to_owned()],
            ..ProfileSettings::default()
        };
        let profile = json!({ "a/b": 1 }).as_object().unwrap().clone();
        let found = violations("x", Some("no spaces"), &profile, &settings);
        let pointers: Vec<_> = found.iter().map(|violation| violation.pointer.as_str()).collect();
        assert_eq!(pointers, ["/email", "/username", "/profile/name", "/profile/a~1b"]);
    }
}
