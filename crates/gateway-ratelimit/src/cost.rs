//! What a request takes, and what of answers is looked at.

use crate::RateLimitError;
use crate::facts::Facts;
use crate::settings::{CostSettings, CountWhat, RateLimitSettings};
use http::header::HeaderName;
use http::{HeaderMap, StatusCode};

/// The cost of requests.
#[derive(Debug)]
pub(crate) struct Cost {
    settings: CostSettings,
}

impl Cost {
    pub(crate) fn new(settings: &CostSettings) -> Result<Self, RateLimitError> {
        if let Some(name) = &settings.header {
            header(name)?;
        }
        if settings.min > settings.max {
            return Err(RateLimitError::Bounds(settings.min, settings.max));
        }
        Ok(Self { settings: settings.clone() })
    }

    /// What every request costs, if they all cost the same.
    pub(crate) fn of_all(settings: &CostSettings) -> Option<u32> {
        settings.header.is_none().then_some(settings.default)
    }

    pub(crate) fn of(&self, facts: &Facts<'_>) -> u32 {
        let CostSettings { header, default, min, max } = &self.settings;
        let Some(name) = header else { return *default };
        let said =
            facts.header(name).and_then(|value| str::from_utf8(value).ok()?.trim().parse::<u32>().ok());
        said.map_or(*default, |cost| cost.max(*min).min(*max))
    }
}

/// What an answer changes.
#[derive(Clone, Debug)]
pub(crate) enum Settle {
    /// Nothing.
    Never,
    /// A header says what was taken.
    Header(HeaderName),
    /// The body does.
    Body(Pointer),
    /// Only these statuses count.
    Failures(Vec<StatusCode>),
}

/// Where in a body it stands.
#[derive(Clone, Debug)]
pub(crate) struct Pointer {
    pub(crate) path: String,
    pub(crate) max: usize,
}

impl Settle {
    /// Whether answers say what requests took.
    pub(crate) fn is_by_answer(&self) -> bool {
        matches!(self, Self::Header(_) | Self::Body(_))
    }

    pub(crate) fn new(settings: &RateLimitSettings) -> Result<Self, RateLimitError> {
        if settings.count == CountWhat::Failures {
            if settings.settle.is_some() {
                return Err(RateLimitError::SettledFailures);
            }
            if settings.statuses.is_empty() {
                return Err(RateLimitError::NoStatuses);
            }
            let statuses = settings.statuses.iter().map(|status| {
                StatusCode::from_u16(*status)
                    .ok()
                    .filter(|status| status.as_u16() < 600)
                    .ok_or(RateLimitError::Status(*status))
            });
            return Ok(Self::Failures(statuses.collect::<Result<_, _>>()?));
        }
        let Some(settle) = &settings.settle else { return Ok(Self::Never) };
        match (&settle.header, &settle.json) {
            (Some(name), None) => Ok(Self::Header(header(name)?)),
            (None, Some(path)) if path.len() > 1 && path.starts_with('/') => {
                let max = usize::try_from(settle.max_body.bytes()).unwrap_or(usize::MAX);
                Ok(Self::Body(Pointer { path: path.clone(), max }))
            }
            (None, Some(path)) => Err(RateLimitError::Pointer(path.clone())),
            (Some(_), Some(_)) => Err(RateLimitError::Settle("both")),
            (None, None) => Err(RateLimitError::Settle("neither")),
        }
    }

    /// What there is to take beyond `cost` by the head of an answer.
    pub(crate) fn difference(&self, status: StatusCode, headers: &HeaderMap, cost: u32) -> Option<i64> {
        match self {
            Self::Never | Self::Body(_) => None,
            Self::Header(name) => {
                let actual: u32 = headers.get(name)?.to_str().ok()?.trim().parse().ok()?;
                Some(i64::from(actual) - i64::from(cost))
            }
            Self::Failures(statuses) => statuses.contains(&status).then(|| i64::from(cost.max(1))),
        }
    }
}

pub(crate) fn header(name: &str) -> Result<HeaderName, RateLimitError> {
    name.parse().map_err(|_| RateLimitError::Header(name.to_owned()))
}
