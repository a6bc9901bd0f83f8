use crate::AuthError;
use crate::jwt;
use crate::jwt::check::Shared;
use crate::jwt::settings::JwtSettings;
use crate::revocation::{Revocations, listen};
use crate::service::Jwt;
use gateway_store::Store;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tower::Layer;

/// Lets requests with a good token pass; see the [crate's page](crate). Clones share keys, verified tokens and
/// revocations.
#[derive(Clone)]
pub struct JwtLayer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) store: Store,
}

/// Without keys.
impl std::fmt::Debug for JwtLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JwtLayer").field("namespace", &self.shared.namespace).finish_non_exhaustive()
    }
}

impl JwtLayer {
    /// A layer with these settings, which remembers in this store.
    ///
    /// # Errors
    /// The settings hold no usable key, or algorithms that do not go with it.
    pub fn new(settings: &JwtSettings, store: Store) -> Result<Self, AuthError> {
        Ok(Self { shared: Arc::new(Shared::new(settings)?), store })
    }

    /// The same layer over another connection to the store, such as that of a thread with its own runtime
    /// ([`Store::per_worker`]).
    #[must_use]
    pub fn with_store(&self, store: Store) -> Self {
        Self { shared: self.shared.clone(), store }
    }

    /// Whether both verify by the same key.
    #[must_use]
    pub fn has_keys_of(&self, other: &Self) -> bool {
        self.shared.namespace == other.shared.namespace
    }

    /// What revokes the tokens of this layer.
    #[must_use]
    pub fn revocations(&self) -> Revocations {
        Revocations { shared: self.shared.clone(), store: self.store.clone() }
    }

    /// Reads the issuer's keys again and again: a task to be spawned once per process, which ends with the last clone
    /// of this layer. Until it runs, a layer with `jwks_url` or `discovery` has no keys, and answers 503. For layers
    /// with keys of their own it ends at once.
    pub fn refresh(&self) -> impl Future<Output = ()> + Send + use<> {
        let remote = self.shared.verifier.keys.remote.as_ref().map(Arc::downgrade);
        async move {
            if let Some(remote) = remote {
                jwt::remote::refresh(remote).await;
            }
        }
    }

    /// Hears what other instances revoke: a task to be spawned once per process, which ends with the last clone of
    /// this layer, and at once where the store is not shared. What `revocation = "push"` needs, and what makes
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

impl<S> Layer<S> for JwtLayer {
    type Service = Jwt<S>;
    fn layer(&self, inner: S) -> Jwt<S> {
        Jwt { inner, layer: self.clone() }
    }
}
