//! What policies look at.

use cedar_policy::PolicySet;
use serde_json::{Value, json};
use std::collections::HashSet;

/// The names of all attributes that policies look at: to show them more costs more than to judge by most policies.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attributes {
    names: HashSet<String>,
    /// Whether it may be any, as the context is used as a whole or a policy cannot be read.
    any: bool,
}

impl Attributes {
    pub(crate) fn of(policies: &PolicySet) -> Self {
        let mut all = Self::default();
        for policy in policies.policies() {
            match policy.to_json() {
                Ok(json) => all.note(&json, &json!({ "Var": "context" })),
                Err(_) => all.any = true,
            }
        }
        all
    }

    /// All that there may be.
    pub(crate) fn any() -> Self {
        Self { any: true, ..Self::default() }
    }

    pub(crate) fn have(&self, name: &str) -> bool {
        self.any || self.names.contains(name)
    }

    fn note(&mut self, expression: &Value, context: &Value) {
        match expression {
            Value::Array(parts) => parts.iter().for_each(|part| self.note(part, context)),
            Value::Object(operators) => {
                self.any |= expression == context;
                for (operator, operand) in operators {
                    let (left, attribute) = (operand.get("left"), operand.get("attr"));
                    match (operator.as_str(), attribute.and_then(Value::as_str)) {
                        ("." | "has", Some(name)) => {
                            self.names.insert(name.to_owned());
                            left.filter(|left| *left != context)
                                .into_iter()
                                .for_each(|left| self.note(left, context));
                        }
                        ("." | "has", None) if attribute.is_some() => self.any = true,
                        _ => self.note(operand, context),
                    }
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_policies_look_at_is_known_beforehand() {
        for (condition, expected) in [
            ("context.ip.isLoopback()", &["ip"][..]),
            ("context has ip && context.ip.isInRange(ip(\"10.0.0.0/8\"))", &["ip"]),
            ("[1, context[\"ip\"].isIpv4()] == [principal.level, true]", &["ip", "level"]),
            ("context.time > 7 || context.headers has x_tenant", &["time", "headers", "x_tenant"]),
            ("context.headers.x_tenant == \"ip\"", &["headers", "x_tenant"]),
            (
                "principal has \"a b\" && principal.claims.id == resource.owner.id",
                &["a b", "claims", "id", "owner"],
            ),
            ("{ it: context } == { it: context }", &["ip", "time", "roles"]),
            ("if principal == User::\"ada\" then true else 7 == 8", &[]),
        ] {
            let policies: PolicySet =
                format!("permit(principal, action, resource) when {{ {condition} }};").parse().unwrap();
            let seen = Attributes::of(&policies);
            assert_eq!(seen.any, condition.starts_with('{'), "{condition}");
            assert!(expected.iter().all(|name| seen.have(name)), "{condition}: {seen:?}");
            assert!(seen.any || seen.names.len() == expected.len(), "{condition}: {seen:?}");
        }
    }
}
