use super::*;
use crate::account::violations;
use crate::{Registration, UserChange, UserPage, Violation};

impl Identity {
    /// Opens an account for whoever asks, with the default roles.
    ///
    /// # Errors
    /// Registration is closed, a field breaks the rules, a name is taken, or too many came from this address.
    pub async fn register(&self, new: NewUser, origin: &Origin) -> Result<User, IdentityError> {
        let settings = &self.0.settings;
        if settings.registration == Registration::Closed || new.roles.is_some() || new.disabled {
            return Err(IdentityError::Forbidden);
        }
        self.validate(&new)?;
        if let Some(address) = origin.address {
            let name = format!("registrations:{}", network(address));
            self.attempt(&name, settings.throttle.registrations).await?;
        }
        self.insert(new).await
    }

    /// Opens an account for somebody else.
    ///
    /// # Errors
    /// The caller is no administrator, a field breaks the rules, or a name is taken.
    pub async fn create_user(&self, caller: &Caller, new: NewUser) -> Result<User, IdentityError> {
        caller.must_be_admin()?;
        self.validate(&new)?;
        self.insert(new).await
    }

    fn violations(&self, new: &NewUser) -> Vec<Violation> {
        let mut found =
            violations(&new.email, new.username.as_deref(), &new.profile, &self.0.settings.profile);
        match &new.password {
            None => found.push(Violation::new("/password", "is required")),
            Some(password) => found.extend(self.0.hasher.violation(password)),
        }
        found
    }

    fn validate(&self, new: &NewUser) -> Result<(), IdentityError> {
        let found = self.violations(new);
        if found.is_empty() { Ok(()) } else { Err(IdentityError::Invalid(found)) }
    }

    /// The configured administrator, who needs no profile.
    pub(super) async fn insert_admin(&self, new: NewUser) -> Result<User, IdentityError> {
        let mut found = self.violations(&new);
        found.retain(|violation| !violation.pointer.starts_with("/profile"));
        if found.is_empty() { self.insert(new).await } else { Err(IdentityError::Invalid(found)) }
    }

    async fn insert(&self, new: NewUser) -> Result<User, IdentityError> {
        let password = new.password.unwrap_or_else(secret::refresh_token);
        let hash = self.0.hasher.hash(&password).await?;
        let now = self.now();
        let user = User {
            id: new_id(now),
            email: new.email.trim().to_owned(),
            username: new.username.map(|name| name.trim().to_owned()),
            profile: new.profile,
            roles: new.roles.unwrap_or_else(|| self.0.settings.default_roles.clone()),
            disabled: new.disabled,
            created_at: now,
            updated_at: now,
        };
        self.0.db.insert_user(&user, &hash).await?;
        tracing::info!(user = user.id, "account made");
        Ok(user)
    }

    /// One account.
    ///
    /// # Errors
    /// The caller is neither its owner nor an administrator, or there is none.
    pub async fn user(&self, caller: &Caller, id: &str) -> Result<User, IdentityError> {
        caller.may(id)?;
        self.0.db.user(id).await?.map(|(user, _)| user).ok_or(IdentityError::NotFound("account"))
    }

    /// A page of at most 500 accounts in the order they were made, after the one with this identifier (the empty one:
    /// from the first).
    ///
    /// # Errors
    /// The caller is no administrator.
    pub async fn users(&self, caller: &Caller, after: &str, limit: usize) -> Result<UserPage, IdentityError> {
        caller.must_be_admin()?;
        UserPage::read(&self.0.db, after, limit).await
    }

    /// Changes an account. Other roles, a password set by an administrator, and disabling end its sessions, so that no
    /// token says what is no longer so.
    ///
    /// # Errors
    /// The caller is neither its owner nor an administrator, or wants to change what only administrators may; a field
    /// breaks the rules; a name is taken; there is no such account.
    pub async fn update_user(
        &self,
        caller: &Caller,
        id: &str,
        change: UserChange,
    ) -> Result<User, IdentityError> {
        let (caller, id) = (caller.clone(), id.to_owned());
        self.whole(|identity| async move { identity.change_user(&caller, &id, change).await }).await
    }

    async fn change_user(
        &self,
        caller: &Caller,
        id: &str,
        change: UserChange,
    ) -> Result<User, IdentityError> {
        caller.may(id)?;
        if change.roles.is_some() || change.disabled.is_some() || change.password.is_some() {
            caller.must_be_admin()?;
        }
        let missing = IdentityError::NotFound("account");
        let (mut wanted, _) = self.0.db.user(id).await?.ok_or(missing.clone())?;
        let apply = |user: &mut User| {
            if let Some(email) = &change.email {
                email.trim().clone_into(&mut user.email);
            }
            if let Some(username) = &change.username {
                user.username = username.as_ref().map(|name| name.trim().to_owned());
            }
            if let Some(profile) = &change.profile {
                profile.apply(&mut user.profile);
            }
            if let Some(roles) = &change.roles {
                user.roles.clone_from(roles);
            }
            if let Some(disabled) = change.disabled {
                user.disabled = disabled;
            }
        };
        apply(&mut wanted);
        let mut found =
            violations(&wanted.email, wanted.username.as_deref(), &wanted.profile, &self.0.settings.profile);
        found.extend(change.password.as_ref().and_then(|password| self.0.hasher.violation(password)));
        if !found.is_empty() {
            return Err(IdentityError::Invalid(found));
        }
        let hash = match &change.password {
            Some(password) => Some(self.0.hasher.hash(password).await?),
            None => None,
        };
        let (before, after) =
            self.0.db.update_user(id, hash.as_deref(), self.now(), apply).await?.ok_or(missing)?;
        tracing::info!(user = id, by = caller.user_id, "account changed");
        if change.password.is_some() || before.roles != after.roles || after.disabled {
            self.end_all(id, "").await?;
        }
        Ok(after)
    }

    /// Removes an account and ends its sessions.
    ///
    /// # Errors
    /// The caller is neither its owner nor an administrator, or there is none.
    pub async fn delete_user(&self, caller: &Caller, id: &str) -> Result<(), IdentityError> {
        caller.may(id)?;
        let (id, by) = (id.to_owned(), caller.user_id.clone());
        let delete = |identity: Self| async move {
            if !identity.0.db.delete_user(&id).await? {
                return Err(IdentityError::NotFound("account"));
            }
            tracing::info!(user = id, by, "account removed");
            identity.end_all(&id, "").await.map(drop)
        };
        self.whole(delete).await
    }

    /// Changes the caller's own password, and ends all other sessions.
    ///
    /// # Errors
    /// The current password is wrong, too many were, or the new one breaks the rules.
    pub async fn change_password(
        &self,
        caller: &Caller,
        current: &Secret,
        new: &Secret,
    ) -> Result<(), IdentityError> {
        let Inner { db, hasher, settings, .. } = &*self.0;
        if let Some(Violation { detail, .. }) = hasher.violation(new) {
            return Err(IdentityError::Invalid(vec![Violation::new("/new_password", detail)]));
        }
        // Who stole an access token must not guess the password with it.
        let name = format!("password:{}", caller.user_id);
        self.attempt(&name, settings.throttle.account_attempts).await?;
        let missing = IdentityError::NotFound("account");
        let (_, stored) = db.user(&caller.user_id).await?.ok_or(missing)?;
        if hasher.verify(current, Some(&stored)).await? == Verdict::Wrong {
            return Err(IdentityError::InvalidCredentials);
        }
        db.forgive(&name, true).await?;
        let (hash, caller) = (hasher.hash(new).await?, caller.clone());
        let replace = |identity: Self| async move {
            if !identity.0.db.replace_password(&caller.user_id, &stored, &hash).await? {
                // Somebody changed it meanwhile: the current one is no longer current.
                return Err(IdentityError::InvalidCredentials);
            }
            identity.end_all(&caller.user_id, &caller.session_id).await.map(drop)
        };
        self.whole(replace).await
    }
}
