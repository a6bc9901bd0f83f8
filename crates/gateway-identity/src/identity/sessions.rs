use super::*;

/// What one tells of itself may be long.
const MAX_USER_AGENT: usize = 256;

impl Identity {
    /// Checks a name and a password, and begins a session.
    ///
    /// An unknown name, a wrong password and a disabled account cost the same work and get the same answer.
    ///
    /// # Errors
    /// [`InvalidCredentials`](IdentityError::InvalidCredentials), or too many attempts by this address or on this
    /// account, or too many at once.
    pub async fn login(
        &self,
        login: &str,
        password: &Secret,
        origin: &Origin,
    ) -> Result<Tokens, IdentityError> {
        let Inner { db, hasher, settings, .. } = &*self.0;
        // No name has one, and PostgreSQL takes none.
        let found = if login.contains('\0') { None } else { db.user_by_login(login).await? };
        // Whoever guesses by the address and by the user name guesses at one account.
        let account = match &found {
            Some((user, _)) => format!("account:{}", user.id),
            None => format!("account:{}", fingerprint(&login.trim().to_lowercase())),
        };
        let address = origin.address.map(|address| format!("address:{}", network(address)));
        if let Some(address) = &address {
            self.attempt(address, settings.throttle.address_attempts).await?;
        }
        self.attempt(&account, settings.throttle.account_attempts).await?;

        let verdict = hasher.verify(password, found.as_ref().map(|(_, hash)| hash.as_str())).await;
        let forgive = async |all| -> Result<(), IdentityError> {
            db.forgive(&account, all).await?;
            if let Some(address) = &address {
                db.forgive(address, false).await?;
            }
            Ok(())
        };
        let verdict = match verdict {
            Ok(verdict) => verdict,
            Err(error) => {
                // It was not looked at: no guess.
                forgive(false).await?;
                return Err(error);
            }
        };
        let (user, mut hash) = match found {
            Some(found) if verdict != Verdict::Wrong && !found.0.disabled => found,
            _ => {
                tracing::info!(address = ?origin.address, "login refused");
                return Err(IdentityError::InvalidCredentials);
            }
        };
        forgive(true).await?;
        if verdict == Verdict::Outdated {
            let stronger = hasher.hash(password).await?;
            if db.replace_password(&user.id, &hash, &stronger).await? {
                hash = stronger;
            }
        }
        self.begin(&user.id, &hash, origin).await
    }

    /// Counts an attempt, and refuses it where there were too many.
    pub(super) async fn attempt(&self, name: &str, free: u32) -> Result<(), IdentityError> {
        let (policy, now) = (Policy::new(&self.0.settings.throttle, free), self.now());
        match self.0.db.attempt(name, &policy, now).await? {
            Attempt::Allowed => Ok(()),
            Attempt::Refused { until } => {
                let wait = u64::try_from(until.saturating_sub(now)).unwrap_or(0);
                Err(IdentityError::Throttled { retry_after: Duration::from_millis(wait) })
            }
        }
    }

    /// Begins a session for whoever knew the password with this hash, unless the account has changed meanwhile.
    async fn begin(&self, user: &str, password: &str, origin: &Origin) -> Result<Tokens, IdentityError> {
        let (now, settings) = (self.now(), &self.0.settings);
        let expires_at = now.saturating_add(millis(*settings.session_lifetime));
        let session = SessionRow {
            id: new_id(now),
            user_id: user.to_owned(),
            created_at: now,
            last_used_at: now,
            expires_at,
            revoked_at: None,
            user_agent: origin.user_agent.iter().flat_map(|text| text.chars()).take(MAX_USER_AGENT).collect(),
            address: origin.address.map(|address| address.to_string()).unwrap_or_default(),
        };
        let refresh = secret::refresh_token();
        let refresh_expires = expires_at.min(now.saturating_add(millis(*settings.refresh_token_lifetime)));
        let refresh_hash = fingerprint(refresh.expose());
        let begun = self.0.db.insert_session(&session, password, &refresh_hash, refresh_expires).await?;
        let Some(user) = begun else {
            tracing::info!(user, "login refused: the account was changed meanwhile");
            return Err(IdentityError::InvalidCredentials);
        };
        tracing::info!(user = user.id, session = session.id, "session begun");
        self.tokens(&user, &session.id, refresh, refresh_expires)
    }

    fn tokens(
        &self,
        user: &User,
        session: &str,
        refresh_token: Secret,
        refresh_expires: Millis,
    ) -> Result<Tokens, IdentityError> {
        let now = self.now();
        let left = u64::try_from(refresh_expires.saturating_sub(now)).unwrap_or(0);
        Ok(Tokens {
            access_token: token::issue(&self.0.keys.current(), &self.0.settings, user, session, now)?,
            expires_in: self.lifetime(),
            refresh_token,
            refresh_expires_in: Duration::from_millis(left),
            session_id: session.to_owned(),
        })
    }

    /// Renews a session: the refresh token is used up, and another takes its place.
    ///
    /// Within `reuse_grace`, and as long as what followed it was not used, the same token gets the same answer again:
    /// a client that asked twice at once, or lost the answer, goes on. Any other second use is that of a copy, and ends
    /// the session with all its tokens (RFC 9700 §4.14.2): a session is one family of refresh tokens.
    ///
    /// # Errors
    /// The token is unknown, expired, of a session that ended, or used before.
    pub async fn refresh(&self, refresh_token: &Secret) -> Result<Tokens, IdentityError> {
        let token = refresh_token.clone();
        self.whole(|identity| async move { identity.renew(&token).await }).await
    }

    async fn renew(&self, refresh_token: &Secret) -> Result<Tokens, IdentityError> {
        let Inner { db, settings, .. } = &*self.0;
        let now = self.now();
        let used = db
            .rotate(
                &fingerprint(refresh_token.expose()),
                &secret::base64(&secret::random::<16>()),
                now,
                millis(*settings.reuse_grace),
                millis(*settings.refresh_token_lifetime),
                |salt| fingerprint(secret::successor(refresh_token, salt).expose()),
            )
            .await?;
        let (session, salt, expires_at) = match used {
            Used::Rotated { session, salt, expires_at } | Used::Repeated { session, salt, expires_at } => {
                (session, salt, expires_at)
            }
            Used::Replayed { session } => {
                tracing::warn!(
                    user = session.user_id,
                    session = session.id,
                    "a used refresh token came again: the session is ended"
                );
                self.tell(&session).await;
                return Err(IdentityError::ReplayedToken);
            }
            Used::Expired => return Err(IdentityError::ExpiredToken),
            Used::Revoked => return Err(IdentityError::RevokedToken),
            Used::Unknown => return Err(IdentityError::InvalidToken("it is no refresh token of ours")),
        };
        match db.user(&session.user_id).await? {
            Some((user, _)) if !user.disabled => {
                self.tokens(&user, &session.id, secret::successor(refresh_token, &salt), expires_at)
            }
            _ => {
                self.end(&session.id).await?;
                Err(IdentityError::RevokedToken)
            }
        }
    }

    /// Who an access token speaks for. Asks the database whether its session goes on.
    ///
    /// # Errors
    /// It is none of ours, has expired, or its session has ended.
    pub async fn authenticate(&self, access_token: &str) -> Result<Caller, IdentityError> {
        let check = || token::check(&self.0.keys.current(), &self.0.settings, access_token, self.now());
        let mut checked = check();
        if matches!(checked, Checked::UnknownKey) {
            self.refresh_keys().await?;
            checked = check();
        }
        let claims = match checked {
            Checked::Good(claims) => claims,
            Checked::Expired(_) => return Err(IdentityError::ExpiredToken),
            Checked::UnknownKey => {
                return Err(IdentityError::InvalidToken("it is signed by a key that is not ours"));
            }
            Checked::Bad(why) => return Err(IdentityError::InvalidToken(why)),
        };
        let session = self.0.db.session(&claims.sid).await?;
        let now = self.now();
        let goes_on =
            |s: &SessionRow| s.revoked_at.is_none() && s.expires_at > now && s.user_id == claims.sub;
        if !session.as_ref().is_some_and(goes_on) {
            return Err(IdentityError::RevokedToken);
        }
        let admin = claims.roles.contains(&self.0.settings.admin_role);
        Ok(Caller { user_id: claims.sub, session_id: claims.sid, roles: claims.roles, admin })
    }

    /// The sessions of a user that can still be renewed, the latest first, 1000 at most.
    ///
    /// # Errors
    /// The caller is neither the user nor an administrator.
    pub async fn sessions(&self, caller: &Caller, user: &str) -> Result<Vec<Session>, IdentityError> {
        caller.may(user)?;
        let rows = self.0.db.sessions(user, self.now()).await?;
        Ok(rows.into_iter().map(Session::from).collect())
    }

    /// Ends a session of the caller's own, or, for administrators, any. One that has ended already is well ended.
    ///
    /// # Errors
    /// There is none, or it is somebody else's: which of the two is not told.
    pub async fn end_session(&self, caller: &Caller, id: &str) -> Result<(), IdentityError> {
        let found = self.0.db.session(id).await?;
        match found {
            Some(session) if caller.may(&session.user_id).is_ok() => self.end(id).await,
            _ => Err(IdentityError::NotFound("session")),
        }
    }

    /// Ends all sessions of a user, and says how many that were.
    ///
    /// # Errors
    /// The caller is neither the user nor an administrator.
    pub async fn end_sessions(&self, caller: &Caller, user: &str) -> Result<usize, IdentityError> {
        caller.may(user)?;
        self.end_all(user, "").await
    }

    /// Ends the session of a token, refresh or access (RFC 7009 §2). Who has the token may; a token that is none of
    /// ours changes nothing and is no error (§2.2).
    ///
    /// # Errors
    /// The database is away.
    pub async fn revoke_token(&self, token: &Secret) -> Result<(), IdentityError> {
        if let Some(session) = self.0.db.session_of_token(&fingerprint(token.expose())).await? {
            return self.end(&session.id).await;
        }
        let checked = token::check(&self.0.keys.current(), &self.0.settings, token.expose(), self.now());
        match checked {
            Checked::Good(claims) | Checked::Expired(claims) => self.end(&claims.sid).await,
            Checked::UnknownKey | Checked::Bad(_) => Ok(()),
        }
    }

    /// The sessions that were ended while their access tokens may still be good: for a verifier that begins, or that
    /// may have missed some.
    ///
    /// # Errors
    /// The database is away.
    pub async fn revoked_sessions(&self) -> Result<Vec<Revoked>, IdentityError> {
        let (now, lifetime) = (self.now(), self.lifetime());
        let rows = self.0.db.revoked_since(now.saturating_sub(millis(lifetime))).await?;
        Ok(rows.iter().map(|row| Revoked::new(row, now, lifetime)).collect())
    }

    async fn end(&self, id: &str) -> Result<(), IdentityError> {
        let id = id.to_owned();
        let end = |identity: Self| async move {
            if let Some(ended) = identity.0.db.revoke_session(&id, identity.now()).await? {
                tracing::info!(user = ended.user_id, session = ended.id, "session ended");
                identity.tell(&ended).await;
            }
            Ok(())
        };
        self.whole(end).await
    }

    /// Ends all sessions of a user but one.
    pub(super) async fn end_all(&self, user: &str, except: &str) -> Result<usize, IdentityError> {
        let (user, except) = (user.to_owned(), except.to_owned());
        let end = |identity: Self| async move {
            let ended = identity.0.db.revoke_sessions(&user, &except, identity.now()).await?;
            tracing::info!(user, count = ended.len(), "sessions ended");
            for session in &ended {
                identity.tell(session).await;
            }
            Ok(ended.len())
        };
        self.whole(end).await
    }

    async fn tell(&self, session: &SessionRow) {
        let Some(sink) = &self.0.sink else { return };
        let revoked = Revoked::new(session, self.now(), self.lifetime());
        let told = tokio::time::timeout(*self.0.settings.database_timeout, sink.revoked(&revoked)).await;
        let failure = match told {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it takes too long".to_owned(),
        };
        tracing::error!(session = session.id, failure, "the end of a session could not be passed on");
    }
}
