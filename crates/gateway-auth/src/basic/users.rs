use crate::AuthError;
use crate::basic::hash::StoredHash;
use crate::basic::settings::{BasicSettings, BasicUser};
use crate::jwt::cache::Cache;
use gateway_core::{AuthMethod, KeyedHash, Principal};
use hashbrown::HashMap;
use serde_json::{Map, Value};
use std::path::Path;

/// The users at a time, and whose passwords were right lately.
#[derive(Debug)]
pub(crate) struct Users {
    by_name: HashMap<Box<str>, User>,
    /// What a password is compared with where there is no such user: the same work, never right.
    nobody: StoredHash,
    /// Gone with the users: whoever is removed from the file is not remembered.
    pub(crate) right: Cache<Principal>,
    pub(crate) hasher: KeyedHash,
}

#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) hash: StoredHash,
    pub(crate) principal: Principal,
}

const REMEMBERED: usize = 10_000;
impl Users {
    pub(crate) fn new(settings: &BasicSettings) -> Result<Self, AuthError> {
        let mut by_name: HashMap<Box<str>, User> = HashMap::new();
        for (name, user) in &settings.users {
            by_name.insert(name.as_str().into(), parse(name, user).map_err(|why| wrong_user(name, why))?);
        }
        if let Some(path) = &settings.file {
            for (name, user) in read(path)? {
                by_name.entry(name).or_insert(user);
            }
        }
        // Of somebody who is there, so that it takes as long: of the same one each time.
        let first = by_name.iter().min_by_key(|(name, _)| *name);
        let no_users = || match &settings.file {
            Some(path) => {
                let why = format!("`{}`: it names nobody; expected lines of `NAME:HASH`", path.display());
                AuthError::setting("file", why)
            }
            None => AuthError::NoUsers,
        };
        let nobody = first.map(|(_, user)| user.hash.clone()).ok_or_else(no_users)?;
        Ok(Self { by_name, nobody, right: Cache::new(REMEMBERED), hasher: KeyedHash::default() })
    }

    /// The hash to compare with, and who that is.
    pub(crate) fn find(&self, name: &str) -> (StoredHash, Option<Principal>) {
        match self.by_name.get(name) {
            Some(user) => (user.hash.clone(), Some(user.principal.clone())),
            None => (self.nobody.clone(), None),
        }
    }
}

fn wrong_user(name: &str, why: String) -> AuthError {
    AuthError::User { name: name.to_owned(), why }
}

fn parse(name: &str, user: &BasicUser) -> Result<User, String> {
    if name.is_empty() || name.contains(':') || name.chars().any(char::is_control) {
        return Err("a user's name has at least one character and no `:` (RFC 7617 §2)".to_owned());
    }
    let mut claims = Map::new();
    claims.insert("sub".to_owned(), name.into());
    if !user.roles.is_empty() {
        claims.insert("roles".to_owned(), user.roles.clone().into());
    }
    if !user.scopes.is_empty() {
        claims.insert("scope".to_owned(), Value::from(user.scopes.join(" ")));
    }
    Ok(User { hash: user.hash.parse()?, principal: Principal::new(name, AuthMethod::Basic, claims) })
}

fn read(path: &Path) -> Result<Vec<(Box<str>, User)>, AuthError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| AuthError::File { path: path.to_owned(), source })?;
    let lines = text.lines().enumerate().map(|(number, line)| (number + 1, line.trim()));
    let users = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).map(|(number, line)| {
        let wrong =
            |why: &str| AuthError::Content { path: path.to_owned(), why: format!("line {number}: {why}") };
        let (name, hash) = line.split_once(':').ok_or_else(|| wrong("expected `NAME:HASH`"))?;
        let user = BasicUser { hash: hash.to_owned(), ..BasicUser::default() };
        Ok((name.into(), parse(name, &user).map_err(|why| wrong(&format!("user `{name}`: {why}")))?))
    });
    users.collect()
}
