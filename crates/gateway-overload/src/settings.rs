/// Why settings make no policy. Each names what was found and what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OverloadError {
    /// A number outside its range.
    #[error("`{key}` is {found}; expected {expected}")]
    Range {
        /// The setting.
        key: &'static str,
        /// Its value.
        found: String,
        /// What would be accepted.
        expected: &'static str,
    },
    /// Bounds that cross.
    #[error(
        "`{low}` is {low_found} and `{high}` is {high_found}; expected the first to be no more than the second"
    )]
    Crossed {
        /// The setting that should be lower.
        low: &'static str,
        /// Its value.
        low_found: u32,
        /// The setting that should be higher.
        high: &'static str,
        /// Its value.
        high_found: u32,
    },
    /// A name that no header can have.
    #[error("`{key}` is `{found}`, which cannot name a header; expected something like `{example}`")]
    Header {
        /// The setting.
        key: &'static str,
        /// Its value.
        found: String,
        /// What would be accepted.
        example: &'static str,
    },
    /// A header that everyone could set.
    #[error(
        "`priority_header` is `{0}` but `trusted` names no network whose word is believed; expected addresses such as \"10.0.0.0/8\""
    )]
    Untrusted(String),
    /// A fault layer without faults.
    #[error("it injects nothing: give `delay`, `abort` or `rate`")]
    NoFault,
}

/// An error unless the value is in the range.
pub(crate) fn within<T: PartialOrd + std::fmt::Display + Copy>(
    key: &'static str,
    found: T,
    range: impl std::ops::RangeBounds<T>,
    expected: &'static str,
) -> Result<T, OverloadError> {
    if range.contains(&found) {
        Ok(found)
    } else {
        Err(OverloadError::Range { key, found: found.to_string(), expected })
    }
}

/// A header's name from settings.
pub(crate) fn header_name(
    key: &'static str,
    found: &str,
    example: &'static str,
) -> Result<http::HeaderName, OverloadError> {
    found.parse().map_err(|_| OverloadError::Header { key, found: found.to_owned(), example })
}
