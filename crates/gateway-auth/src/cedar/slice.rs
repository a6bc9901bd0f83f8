//! Which policies a request can meet at all.

use crate::cedar::load::Loaded;
use cedar_policy::{ActionConstraint, Entities, EntityUid, Policy, PolicySet, ResourceConstraint};
use std::collections::HashMap;

/// The policies that may apply on one route, by action. What a policy's head says of `action` and `resource` is decided
/// here, so that a request is judged by few policies however many there are.
#[derive(Debug)]
pub(crate) struct Slices {
    by_action: HashMap<EntityUid, PolicySet>,
    /// For actions that the schema does not know.
    others: PolicySet,
}

impl Slices {
    pub(crate) fn of(loaded: &Loaded, route: &EntityUid) -> Self {
        let here = loaded.policies.policies().filter(|policy| {
            let is_in = |group: &EntityUid| is_in(&loaded.entities, route, group);
            match policy.resource_constraint() {
                ResourceConstraint::Any => true,
                ResourceConstraint::Eq(other) => other == *route,
                ResourceConstraint::In(group) => is_in(&group),
                ResourceConstraint::Is(kind) => kind == *route.type_name(),
                ResourceConstraint::IsIn(kind, group) => kind == *route.type_name() && is_in(&group),
            }
        });
        let here: Vec<&Policy> = here.collect();
        let of_action = |action: &EntityUid| {
            select(&here, |constraint| match constraint {
                ActionConstraint::Any => true,
                ActionConstraint::Eq(other) => other == *action,
                ActionConstraint::In(groups) => {
                    groups.iter().any(|group| is_in(&loaded.entities, action, group))
                }
            })
        };
        Self {
            by_action: loaded.schema.actions().map(|action| (action.clone(), of_action(action))).collect(),
            others: select(&here, |constraint| constraint == ActionConstraint::Any),
        }
    }

    pub(crate) fn of_action(&self, action: &EntityUid) -> &PolicySet {
        self.by_action.get(action).unwrap_or(&self.others)
    }
}

fn is_in(entities: &Entities, one: &EntityUid, group: &EntityUid) -> bool {
    one == group || entities.ancestors(one).is_some_and(|mut all| all.any(|other| other == group))
}

fn select(policies: &[&Policy], may_apply: impl Fn(ActionConstraint) -> bool) -> PolicySet {
    let mut selected = PolicySet::new();
    for policy in policies.iter().filter(|policy| may_apply(policy.action_constraint())) {
        // Their names differ, as in the set that they come from.
        let _ = selected.add((*policy).clone());
    }
    selected
}
