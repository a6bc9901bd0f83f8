use crate::AuthError;
use crate::jwt::check::{Shared, Step};
use crate::jwt::keyring::Keyring;
use crate::jwt::remote;
use crate::jwt::settings::JwtSettings;
use crate::method::{Check, Head, Method, Verdict};
use crate::refusal::{Challenges, Refusal};
use crate::revocation::{Revocations, listen};
use gateway_store::Store;
use http::{HeaderName, HeaderValue, request};
use serde_json::Value;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Recognises callers by a JSON Web Token, in `Authorization: Bearer` or where the settings say; see the [crate's page](crate). Clones share
/// keys, verified tokens and revocations.
#[derive(Clone)]
pub struct JwtMethod {
    shared: Arc<Shared>,
    store: Store,
}

/// Without keys.
impl std::fmt::Debug for JwtMethod {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JwtMethod").field("namespace", &self.shared.namespace).finish_non_exhaustive()
    }
}

impl JwtMethod {
    /// A method with these settings, which remembers in this store.
    ///
    /// # Errors
    /// The settings hold no usable key, or algorithms that do not go with it.
    pub fn new(settings: &JwtSettings, store: Store) -> Result<Self, AuthError> {
        Ok(Self { shared: Arc::new(Shared::new(Keyring::new(settings)?, settings)?), store })
    }

    /// A method with other settings in the place of this one, after a reload say. It knows of all revocations that this
    /// one knows of, and has its issuer's keys until it has read them itself, if it reads the same.
    ///
    /// # Errors
    /// As of [`JwtMethod::new`].
    pub fn succeed(&self, settings: &JwtSettings, store: Store) -> Result<Self, AuthError> {
        let mut shared = Shared::new(Keyring::new(settings)?, settings)?;
        shared.succeed(&self.shared);
        Ok(Self { shared: Arc::new(shared), store })
    }

    /// A method for the tokens of an issuer in this process: in place of keys in the settings, a JSON Web Key Set that
    /// is asked for at the first token, when a token names an unknown key, and every `jwks.refresh`. It is answered
    /// `None` while there is none yet. Needs [`refresh`](Self::refresh) to run.
    ///
    /// # Errors
    /// The settings make no sense.
    pub fn with_keys(
        settings: &JwtSettings,
        store: Store,
        keys: impl Fn() -> Option<Value> + Send + Sync + 'static,
    ) -> Result<Self, AuthError> {
        let keys = Keyring::given(Arc::new(keys), settings)?;
        Ok(Self { shared: Arc::new(Shared::new(keys, settings)?), store })
    }

    /// The same over another connection to the store.
    #[must_use]
    pub fn on(&self, store: Store) -> Self {
        Self { shared: self.shared.clone(), store }
    }

    /// What revokes the tokens of this method.
    #[must_use]
    pub fn revocations(&self) -> Revocations {
        Revocations { shared: self.shared.clone(), store: self.store.clone() }
    }

    /// Reads the issuer's keys again and again: a task to be spawned once per process, which ends with the last clone
    /// of this method. Until it runs, one with `jwks_url` or `discovery` has no keys, and answers 503. For one with
    /// keys of its own it ends at once.
    pub fn refresh(&self) -> impl Future<Output = ()> + Send + use<> {
        let remote = self.shared.verifier.keys.remote.as_ref().map(Arc::downgrade);
        async move {
            if let Some(remote) = remote {
                remote::refresh(remote).await;
            }
        }
    }

    /// Hears what other instances revoke: a task to be spawned once per process, which ends with the last clone of
    /// this method, and at once where the store is not shared. What `revocation = "push"` needs, and what makes
    /// `strict` go on with other instances' revocations while the store is away.
    pub fn listen(&self) -> impl Future<Output = ()> + Send + use<> {
        listen::run(Arc::downgrade(&self.shared), self.store.per_worker())
    }

    /// How many signatures were checked so far, on all clones.
    #[must_use]
    pub fn verifications(&self) -> u64 {
        self.shared.verifier.verifications.load(Ordering::Relaxed)
    }
}

impl Method for JwtMethod {
    fn check(&self, head: Head<'_>) -> Check {
        match self.shared.start(&self.store, head.headers, head.uri) {
            Step::Done(Ok(verified)) => Check::Done(Verdict::passed(verified.principal)),
            Step::Done(Err(refusal)) => Check::Done(self.shared.challenges.verdict(refusal)),
            Step::Wait(checking) => {
                let shared = self.shared.clone();
                Check::wait(async move {
                    match checking.await {
                        Ok(verified) => Verdict::passed(verified.principal),
                        Err(refusal) => shared.challenges.verdict(refusal),
                    }
                })
            }
        }
    }

    fn answered(&self) -> Option<bool> {
        self.shared.verifier.keys.remote.as_ref()?.answered()
    }

    fn challenge(&self) -> Option<&HeaderValue> {
        Some(self.shared.challenges.bare())
    }

    fn reads(&self) -> Vec<HeaderName> {
        self.shared.places.headers().cloned().collect()
    }

    fn reads_queries(&self) -> Vec<&str> {
        self.shared.places.queries().collect()
    }

    fn strips(&self) -> bool {
        self.shared.hide
    }

    fn strip(&self, request: &mut request::Parts) {
        if self.shared.hide {
            self.shared.places.strip(request);
        }
    }

    fn with_store(&self, store: &Store) -> Option<Arc<dyn Method>> {
        Some(Arc::new(self.on(store.clone())))
    }
}

impl Challenges {
    /// A token that we cannot make sense of may be meant for another method; one that was good once is ours.
    fn verdict(&self, refusal: Refusal) -> Verdict {
        match refusal {
            Refusal::Missing => Verdict::Absent,
            Refusal::Invalid(_) | Refusal::Foreign(_) => Verdict::Foreign(self.problem(refusal).into()),
            Refusal::Expired | Refusal::Revoked | Refusal::StoreAway | Refusal::KeysAway => {
                Verdict::Refused(self.problem(refusal).into())
            }
        }
    }
}
