//! Accounts and the tokens they are given.

use super::Planner;
use super::auth::MethodPlan;
use super::chore::Chore;
use crate::accounts::Accounts;
use gateway_auth::{Assertions, JwtMethod, JwtSettings, OneOrMany};
use gateway_store::Store;
use std::collections::BTreeMap;

/// What routes call the way to authenticate by the tokens of the gateway's own accounts.
pub(crate) const IDENTITY: &str = "identity";

impl Planner<'_> {
    /// The accounts, and the way to authenticate by their tokens. Those that were opened once stay as they are.
    pub(super) fn identity(
        &mut self,
        store: &Store,
        methods: &mut BTreeMap<String, MethodPlan>,
    ) -> Option<Accounts> {
        let settings = self.settings.identity.as_ref()?;
        self.noted("identity", settings.check())?;
        let before = self.previous.and_then(|previous| Some((previous, previous.plan.identity.clone()?)));
        if let Some((previous, accounts)) = before {
            let method = previous.plan.auth.methods.get(IDENTITY).cloned();
            methods.extend(method.map(|method| (IDENTITY.to_owned(), method)));
            return Some(accounts);
        }
        let accounts = Accounts::new(settings.clone());
        let verifying = JwtSettings {
            issuer: Some(OneOrMany::One(settings.issuer.clone())),
            audience: settings.audience.clone().map(OneOrMany::One),
            max_lifetime: Some(settings.access_token_lifetime()),
            ..JwtSettings::default()
        };
        let keys = accounts.clone();
        let method = JwtMethod::with_keys(&verifying, store.clone(), move || keys.jwks());
        let method = self.noted("identity", method)?;
        methods.insert(IDENTITY.to_owned(), MethodPlan::jwt(method));
        Some(accounts)
    }

    /// What signs tokens for services. Keys that were published stay so.
    pub(super) fn assertions(&mut self, store: &Store) -> Option<AssertionPlan> {
        let settings = self.settings.assertion.on()?;
        let earlier = self.previous.and_then(|previous| Some((previous, previous.plan.assertions.clone()?)));
        if let Some((previous, same)) = &earlier
            && previous.settings.assertion == self.settings.assertion
        {
            return Some(same.clone());
        }
        let made = match &earlier {
            Some((_, earlier)) => earlier.assertions.succeed(settings),
            None => Assertions::new(settings),
        };
        let assertions = self.noted("assertion", made)?;
        let (keeping, store) = (assertions.clone(), store.clone());
        let chore = Chore::endless(move || keeping.clone().keep(store.clone()));
        Some(AssertionPlan { assertions, chore })
    }
}

/// What signs tokens for services.
#[derive(Clone)]
pub(crate) struct AssertionPlan {
    pub(crate) assertions: Assertions,
    pub(crate) chore: Chore,
}
