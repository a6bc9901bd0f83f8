//! Accounts and the tokens they are given.

use super::Planner;
use super::auth::MethodPlan;
use super::chore::Chore;
use crate::accounts::Accounts;
use gateway_auth::{Assertions, JwtMethod, JwtSettings, OneOrMany};
use gateway_identity::IdentitySettings;
use gateway_store::Store;
use std::collections::BTreeMap;

/// What routes call the way to authenticate by the tokens of the gateway's own accounts.
pub(crate) const IDENTITY: &str = "identity";

impl Planner<'_> {
    /// The accounts, and the way to authenticate by their tokens. Those that were opened once stay as they are, also
    /// while no settings speak of them: they may come back.
    pub(super) fn identity(
        &mut self,
        store: &Store,
        methods: &mut BTreeMap<String, MethodPlan>,
    ) -> Option<IdentityPlan> {
        let opened = self.previous.map(|previous| previous.plan.identity.clone());
        let Some(settings) = &self.settings.identity else { return opened.flatten() };
        self.noted("identity", settings.check())?;
        let plan = match opened {
            Some(Some(plan)) => plan,
            Some(None) => {
                let message = "[identity] is new, and accounts are opened only when the gateway starts";
                let mistake = self.origin.mistake("identity", message);
                self.mistakes.push(mistake.with_help("restart the gateway, or hand over to a new process"));
                return None;
            }
            None => self.new_identity(settings, store)?,
        };
        methods.insert(IDENTITY.to_owned(), plan.method.clone());
        Some(plan)
    }

    fn new_identity(&mut self, settings: &IdentitySettings, store: &Store) -> Option<IdentityPlan> {
        let accounts = Accounts::new(settings.clone());
        let verifying = JwtSettings {
            issuer: Some(OneOrMany::One(settings.issuer.clone())),
            audience: settings.audience.clone().map(OneOrMany::One),
            max_lifetime: Some(settings.access_token_lifetime()),
            ..JwtSettings::default()
        };
        let keys = accounts.clone();
        let method = JwtMethod::with_keys(&verifying, store.clone(), move || keys.jwks());
        let method = MethodPlan::jwt(self.noted("identity", method)?);
        Some(IdentityPlan { accounts, method })
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

/// The gateway's own accounts.
#[derive(Clone)]
pub(crate) struct IdentityPlan {
    pub(crate) accounts: Accounts,
    /// The way to authenticate by their tokens.
    method: MethodPlan,
}

/// What signs tokens for services.
#[derive(Clone)]
pub(crate) struct AssertionPlan {
    pub(crate) assertions: Assertions,
    pub(crate) chore: Chore,
}
