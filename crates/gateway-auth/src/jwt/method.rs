use crate::AuthError;
use crate::jwt::check::Shared;
use crate::jwt::settings::JwtSettings;
use crate::jwt::verify::bearer;
use crate::method::{Check, Head, Method, Verdict};
use crate::refusal::{Challenges, Refusal};
use crate::revocation::Revocations;
use gateway_store::Store;
use http::HeaderValue;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Recognises callers by a JSON Web Token in `Authorization: Bearer`; see the [crate's page](crate). Clones share
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
        Ok(Self { shared: Arc::new(Shared::new(settings)?), store })
    }

    /// The same over another connection to the store.
    #[must_use]
    pub fn on(&self, store: Store) -> Self {
        Self { shared: self.shared.clone(), store }
    }

    /// Whether both verify by the same key.
    #[must_use]
    pub fn has_keys_of(&self, other: &Self) -> bool {
        self.shared.namespace == other.shared.namespace
    }

    /// What revokes the tokens of this method.
    #[must_use]
    pub fn revocations(&self) -> Revocations {
        Revocations {
            known: self.shared.known.clone(),
            store: self.store.clone(),
            namespace: self.shared.namespace.clone(),
            leeway: self.shared.leeway,
        }
    }

    /// How many signatures were checked so far, on all clones.
    #[must_use]
    pub fn verifications(&self) -> u64 {
        self.shared.verifier.verifications.load(Ordering::Relaxed)
    }
}

impl Method for JwtMethod {
    fn check(&self, head: Head<'_>) -> Check {
        let token = match bearer(head.headers) {
            Ok(token) => token,
            Err(refusal) => return Check::Done(self.shared.challenges.verdict(refusal)),
        };
        if let Store::Memory(_) = self.store {
            let found = self.shared.recall(token).unwrap_or_else(|| self.shared.verify(token));
            return Check::Done(match found {
                Ok(verified) => Verdict::passed(verified.principal),
                Err(refusal) => self.shared.challenges.verdict(refusal),
            });
        }
        let (method, token) = (self.clone(), token.to_owned());
        Check::wait(async move {
            match method.shared.check(&method.store, &token).await {
                Ok(verified) => Verdict::passed(verified.principal),
                Err(refusal) => method.shared.challenges.verdict(refusal),
            }
        })
    }

    fn challenge(&self) -> Option<&HeaderValue> {
        Some(self.shared.challenges.bare())
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
            Refusal::Invalid(_) => Verdict::Foreign(self.problem(refusal).into()),
            Refusal::Expired | Refusal::Revoked | Refusal::StoreAway => {
                Verdict::Refused(self.problem(refusal).into())
            }
        }
    }
}
