use crate::Code;
use http::StatusCode;

/// Response extension: this request would have been refused, but for `mode = "report"`.
///
/// Set by whoever asks who calls and what they may, read by whoever counts requests and writes the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unenforced {
    /// What it would have been answered with.
    pub status: StatusCode,
    /// Why; `None` where the answer would have been another's, such as that of a forward-auth service.
    pub code: Option<Code>,
}
