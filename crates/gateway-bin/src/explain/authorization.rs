//! Whether a caller with given claims may: what `authorize` says, asked as live requests ask it.

use crate::config::RoutePlan;
use gateway_auth::Head;
use gateway_core::Principal;
use http::Request;
use serde::Serialize;

/// What rules or policies say of a request.
#[derive(Debug, Serialize)]
pub(super) struct Authorization {
    /// `rules`, or `cedar`.
    pub(super) by: &'static str,
    /// What the policies are called in the configuration.
    pub(super) name: Option<String>,
    /// `allow`, `deny`, or `error` where a policy could not be evaluated, which is a no.
    pub(super) decision: &'static str,
    /// Why not, where rules say no.
    pub(super) reason: Option<String>,
    /// The policies that decided.
    pub(super) policies: Vec<String>,
    /// Why policies could not be evaluated.
    pub(super) errors: Vec<String>,
}

/// What a route's rules and policies say, in the order in which they are asked. Without a caller only policies that are
/// asked about nobody say something.
pub(super) fn authorization<B>(
    route: &RoutePlan,
    caller: Option<&Principal>,
    request: &Request<B>,
) -> Vec<Authorization> {
    let head = Head::of(request);
    let rules = route.authorize.as_ref().filter(|_| caller.is_some()).map(|rules| {
        let refusal = rules.check(caller, head).err();
        let reason = refusal.map(|problem| match problem.detail() {
            Some(detail) => format!("{}: {detail}", problem.code().name()),
            None => problem.code().name().to_owned(),
        });
        let decision = if reason.is_none() { "allow" } else { "deny" };
        let (policies, errors) = Default::default();
        Authorization { by: "rules", name: None, decision, reason, policies, errors }
    });
    let asked = route.cedar.as_ref().filter(|cedar| caller.is_some() || cedar.layer.asks_about_anonymous());
    let cedar = asked.map(|cedar| {
        let decision = cedar.layer.decide(caller, head);
        Authorization {
            by: "cedar",
            name: Some(cedar.name.clone()),
            decision: decision.outcome(),
            reason: None,
            policies: decision.policies,
            errors: decision.errors,
        }
    });
    rules.into_iter().chain(cedar).collect()
}

impl Authorization {
    /// Who says it, what, and why.
    pub(super) fn row(&self) -> [String; 3] {
        let name = self.name.as_ref().map_or(String::new(), |name| format!(" \"{name}\""));
        let by = match self.policies.as_slice() {
            [] if self.by == "cedar" && self.errors.is_empty() => "no policy permits it".to_owned(),
            [] => String::new(),
            [one] => format!("by the policy `{one}`"),
            many => format!("by the policies `{}`", many.join("`, `")),
        };
        let why: Vec<String> =
            [by].into_iter().chain(self.reason.clone()).chain(self.errors.clone()).collect();
        let why: Vec<&str> = why.iter().map(String::as_str).filter(|why| !why.is_empty()).collect();
        [format!("{}{name}", self.by), self.decision.to_owned(), why.join("; ")]
    }
}
