use std::error::Error;

/// Any error, for places where the cause is only shown.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// An error with its causes in one line. What a cause says that was said before is not said again.
///
/// ```
/// use gateway_core::with_causes;
///
/// #[derive(Debug, thiserror::Error)]
/// #[error("cannot reach the store")]
/// struct Away(#[source] std::io::Error);
///
/// let refused = std::io::Error::other("connection refused");
/// assert_eq!(with_causes(&Away(refused)), "cannot reach the store: connection refused");
/// ```
#[must_use]
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}
