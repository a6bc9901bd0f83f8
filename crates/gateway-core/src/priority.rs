use crate::units::{Scalar, ShortForm};
use schemars::JsonSchema;
use serde::de::value::{Error as ValueError, StrDeserializer};
use serde::{Deserialize, Serialize};

/// Request extension and setting: how much a request matters when not all can be served. The least is shed first.
///
/// A layer further out, such as authentication that knows who pays, may set it; it counts more than a header.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Can wait or be missed: prefetching, batches, callers on trial. Shed first.
    Sheddable,
    /// Everything that is not told apart.
    #[default]
    Default,
    /// What must work when nothing else does: health, payment. Shed last.
    Critical,
}

/// Only so that it may stand in a [`Switch`](crate::units::Switch): it has no table.
impl ShortForm for Priority {
    const EXPECTED: &'static str = "`critical`, `default` or `sheddable`";
    const TYPE: &'static str = "string";
    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        let Scalar::Text(name) = value else { return None };
        Some(Self::deserialize(StrDeserializer::<ValueError>::new(name)).map_err(|error| error.to_string()))
    }
}

impl Priority {
    /// All, in the order in which they are shed.
    pub const ALL: [Self; 3] = [Self::Sheddable, Self::Default, Self::Critical];

    /// The class with this name, in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name().eq_ignore_ascii_case(name))
    }

    /// Its name in settings and headers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sheddable => "sheddable",
            Self::Default => "default",
            Self::Critical => "critical",
        }
    }

    /// How much of a limit it may use: the last tenth is kept for the critical, the last quarter from the sheddable.
    #[must_use]
    pub fn room(self, limit: u32) -> u32 {
        match self {
            Self::Sheddable => limit - limit / 4,
            Self::Default => limit - limit / 10,
            Self::Critical => limit,
        }
    }

    /// Its place in [`Priority::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}
