use super::{Aimd, Algorithm, Bounds, Gradient2, Vegas};
use crate::settings::{OverloadError, within};
use gateway_core::Mode;
use gateway_core::units::{Scalar, ShortForm, Timespan};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A limit of the requests in progress that follows the latency of the service. Short form: `true`, or the name
/// of an algorithm.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdaptiveSettings {
    /// `gradient2` compares the latency of now with that of the long run; `vegas` with the shortest seen; `aimd`
    /// with the threshold `slow`. Default `gradient2`.
    pub algorithm: AlgorithmName,
    /// The limit never falls below. Default 10.
    pub min: u32,
    /// The limit never rises above. Default 1000, as Envoy's.
    pub max: u32,
    /// The limit at the start. Low is safe: it is soon outgrown, while a start in overload would be taken for
    /// the usual latency. Default 20, as Netflix's.
    pub initial: u32,
    /// How often the limit is adapted, once ten answers are there. Default `500ms`.
    pub window: Timespan,
    /// For `gradient2`: how many times the usual latency is still no sign of a queue, at least 1. Default 1.2.
    pub tolerance: f64,
    /// For `aimd`: the share of the limit that is kept after a bad window, 0.5 to 0.99. Default 0.9.
    pub backoff: f64,
    /// For `aimd`: a window whose mean latency is longer is bad. Default `5s`.
    pub slow: Timespan,
    /// `enforce`, or `report` to measure and count but refuse nobody. Default `enforce`.
    pub mode: Mode,
}

/// How the limit is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AlgorithmName {
    /// [`Gradient2`].
    #[default]
    Gradient2,
    /// [`Aimd`].
    Aimd,
    /// [`Vegas`].
    Vegas,
}

impl Default for AdaptiveSettings {
    fn default() -> Self {
        Self {
            algorithm: AlgorithmName::Gradient2,
            min: 10,
            max: 1000,
            initial: 20,
            window: Timespan::millis(500),
            tolerance: 1.2,
            backoff: 0.9,
            slow: Timespan::secs(5),
            mode: Mode::Enforce,
        }
    }
}

impl AdaptiveSettings {
    /// The algorithm with its bounds.
    ///
    /// # Errors
    /// Numbers out of range, and bounds that cross.
    pub fn algorithm(&self) -> Result<Algorithm, OverloadError> {
        within("min", self.min, 1.., "at least 1")?;
        for (low, low_found, high, high_found) in
            [("min", self.min, "initial", self.initial), ("initial", self.initial, "max", self.max)]
        {
            if low_found > high_found {
                return Err(OverloadError::Crossed { low, low_found, high, high_found });
            }
        }
        let tolerance = within("tolerance", self.tolerance, 1.0..=10.0, "1 to 10")?;
        let backoff = within("backoff", self.backoff, 0.5..=0.99, "0.5 to 0.99")?;
        within("window", self.window, Timespan::millis(10)..=Timespan::secs(60), "10ms to 1m")?;
        let bounds = Bounds { min: self.min, max: self.max };
        Ok(match self.algorithm {
            AlgorithmName::Gradient2 => Algorithm::Gradient2(Gradient2::new(bounds, self.initial, tolerance)),
            AlgorithmName::Aimd => Algorithm::Aimd(Aimd::new(bounds, self.initial, backoff, self.slow.0)),
            AlgorithmName::Vegas => Algorithm::Vegas(Vegas::new(bounds, self.initial)),
        })
    }
}

impl ShortForm for AdaptiveSettings {
    const EXPECTED: &'static str = "true, the name of an algorithm such as \"gradient2\", or a table";
    const TYPE: &'static str = "string";
    const ALSO: &'static [&'static str] = &["boolean"];
    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        let algorithm = match value {
            Scalar::Switch(true) | Scalar::Text("gradient2") => AlgorithmName::Gradient2,
            Scalar::Text("aimd") => AlgorithmName::Aimd,
            Scalar::Text("vegas") => AlgorithmName::Vegas,
            Scalar::Text(other) => {
                return Some(Err(format!(
                    "`{other}` is no algorithm; expected `gradient2`, `aimd` or `vegas`"
                )));
            }
            Scalar::Switch(false) | Scalar::Number(_) => return None,
        };
        Some(Ok(Self { algorithm, ..Self::default() }))
    }
}
