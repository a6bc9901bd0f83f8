use super::*;

/// How an [`Identity`] is opened.
pub struct Builder {
    settings: IdentitySettings,
    clock: Clock,
    sink: Option<Arc<dyn RevocationSink>>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Builder {
    /// Has somebody told of ended sessions.
    #[must_use]
    pub fn revocations(mut self, sink: Arc<dyn RevocationSink>) -> Self {
        self.sink = Some(sink);
        self
    }

    /// Goes by another clock than the system's.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Opens the database, brings its schema up to date, makes the first signing key and the first administrator
    /// where there are none.
    ///
    /// # Errors
    /// The settings make no sense, the database does not answer, or a key cannot be read.
    pub async fn open(self) -> Result<(Identity, Upkeep), OpenError> {
        let Self { settings, clock, sink } = self;
        settings.check().map_err(OpenError::Settings)?;
        let db =
            Database::open(&settings.database, settings.database_connections, *settings.database_timeout)
                .await?;
        let passwords = settings.password.clone();
        // It computes a hash.
        let hasher = tokio::task::spawn_blocking(move || Hasher::new(&passwords))
            .await
            .map_err(|error| OpenError::Settings(error.to_string()))?
            .map_err(OpenError::Settings)?;
        let lifetime = *settings.access_token_lifetime();
        let keys = KeyRing::open(db.clone(), clock.clone(), settings.keys.clone(), lifetime).await?;
        let identity = Identity(Arc::new(Inner { settings, db, clock, hasher, keys, sink }));
        identity.make_first_admin().await.map_err(OpenError::FirstAdmin)?;
        Ok((identity.clone(), Upkeep::new(identity)))
    }
}

impl Identity {
    /// Opens it with these settings.
    #[must_use]
    pub fn builder(settings: IdentitySettings) -> Builder {
        Builder { settings, clock: Clock::system(), sink: None }
    }

    async fn make_first_admin(&self) -> Result<(), IdentityError> {
        let Some(admin) = &self.0.settings.first_admin else { return Ok(()) };
        if self.0.db.user_by_login(&admin.email).await?.is_some() {
            return Ok(());
        }
        let mut roles = self.0.settings.default_roles.clone();
        roles.push(self.0.settings.admin_role.clone());
        let new = NewUser {
            email: admin.email.clone(),
            password: Some(admin.password.clone()),
            roles: Some(roles),
            ..NewUser::default()
        };
        match self.insert_admin(new).await {
            // Another instance was faster.
            Ok(_) | Err(IdentityError::Taken { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
