//! The date of answers.

use http::HeaderValue;
use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

thread_local! {
    /// The second that was asked for last, as text.
    static NOW: RefCell<(u64, HeaderValue)> =
        const { RefCell::new((0, HeaderValue::from_static(""))) };
}

/// Looks at the current second as the `Date` header has it.
pub(crate) fn now<T>(look: impl FnOnce(&HeaderValue) -> T) -> T {
    let now = SystemTime::now();
    let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    NOW.with_borrow_mut(|(at, text)| {
        if *at != second {
            *at = second;
            // A date is always a valid header value.
            *text = HeaderValue::try_from(httpdate::fmt_http_date(now))
                .unwrap_or_else(|_| HeaderValue::from_static(""));
        }
        look(text)
    })
}
