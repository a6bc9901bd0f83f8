use http::HeaderValue;

/// A value that is not to be expected again, such as one that counts or names a single request: HTTP/2 does not keep it in
/// its table of fields (RFC 7541 §6.2.3), where it would take the place of those that come again, and where a value is
/// compared with all that are kept of its name.
#[must_use]
pub fn once(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}
