//! Which policies a request can meet at all.

use crate::cedar::load::Loaded;
use cedar_policy::{ActionConstraint, Entities, EntityUid, Policy, PolicySet, ResourceConstraint};
use serde_json::{Value, json};
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

/// Whether any policy may look at the `ip` in the context: to make one costs more than to judge by most policies.
pub(crate) fn look_at_ip(policies: &PolicySet) -> bool {
    policies.policies().any(|policy| policy.to_json().map_or(true, |json| looks_at_ip(&json)))
}

/// At `context.ip`, or at the context as a whole.
fn looks_at_ip(expression: &Value) -> bool {
    let context = json!({ "Var": "context" });
    match expression {
        Value::Array(parts) => parts.iter().any(looks_at_ip),
        Value::Object(operators) => operators.iter().any(|(operator, operand)| match operator.as_str() {
            "." | "has" if operand.get("left") == Some(&context) => {
                operand.get("attr").and_then(Value::as_str).is_none_or(|attribute| attribute == "ip")
            }
            _ => *expression == context || looks_at_ip(operand),
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whether_policies_look_at_the_address_is_known_beforehand() {
        for (condition, looks) in [
            ("context.ip.isLoopback()", true),
            ("context has ip && context.ip.isInRange(ip(\"10.0.0.0/8\"))", true),
            ("{ it: context } == { it: context }", true),
            ("[1, context[\"ip\"].isIpv4()] == [1, true]", true),
            ("context.time > 7 || context.headers has x_tenant", false),
            ("principal has ip && principal.ip == \"context\"", false),
            ("context.headers.ip == \"x\"", false),
        ] {
            let policies: PolicySet =
                format!("permit(principal, action, resource) when {{ {condition} }};").parse().unwrap();
            assert_eq!(look_at_ip(&policies), looks, "{condition}");
        }
    }
}
