use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether a policy is carried out, or is only tried on real traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// It is carried out.
    #[default]
    Enforce,
    /// It lets everything pass, and only says what it would have done.
    Report,
}
