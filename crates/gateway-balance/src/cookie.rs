use http::HeaderMap;
use http::header::COOKIE;

/// The value of the first cookie with this name (RFC 6265 §4.2), without quotes taken off.
pub(crate) fn find<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let fields = headers.get_all(COOKIE).into_iter();
    fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b';')).find_map(|pair| {
        let value = pair.trim_ascii().strip_prefix(name.as_bytes())?;
        value.strip_prefix(b"=")
    })
}

/// Whether a cookie may have this name: an RFC 9110 token.
pub(crate) fn is_name(text: &str) -> bool {
    let special = |byte: u8| b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || special(byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn a_cookie_is_found_by_its_whole_name_in_any_field() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("a=1;ab=2 ; c"));
        headers.append(COOKIE, HeaderValue::from_static("d=x=y"));
        for (name, value) in
            [("a", Some("1")), ("ab", Some("2")), ("c", None), ("d", Some("x=y")), ("b", None), ("A", None)]
        {
            assert_eq!(find(&headers, name), value.map(str::as_bytes), "{name}");
        }
    }
}
