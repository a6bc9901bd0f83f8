mod encoded;

pub use encoded::EncodedSet;

use gateway_core::percent;
use schemars::JsonSchema;
use serde::Deserialize;
use std::borrow::Cow;

/// One path for matching, policies and upstreams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NormalizeSettings {
    /// Whether `//` becomes `/`. Default true.
    pub merge_slashes: bool,
    /// Whether `%2F` and `%5C`, which some servers take for slashes and others do not, pass. Default false: 400.
    pub allow_encoded_slashes: bool,
    /// Encoded characters that are answered 400, such as `%3B`, `%3F` and `%23`, which some servers read as `;`, `?` and
    /// `#` and others do not, or `%25`, by which a path could be encoded twice. None of those that pass is ever decoded but
    /// letters, digits, `-`, `.`, `_` and `~`. Default: none. Those of control characters, such as `%00`, never pass.
    #[schemars(with = "Vec<String>")]
    pub reject_encoded: EncodedSet,
    /// Whether segments may have parameters, as in `/cart;id=1`, which some servers take off before they look a path up and
    /// others do not. Default true. `..;` and `.;`, which are dot segments to the former, are answered 400 in any case.
    pub allow_parameters: bool,
    /// What becomes of a slash at the end of a path, as in `/cart/`: `keep`, `strip` or `redirect`. Default `keep`.
    pub trailing_slash: TrailingSlash,
}

/// What becomes of a slash at the end of a path. `/` stays in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TrailingSlash {
    /// It stays: `/cart/` and `/cart` are two paths, as they are to HTTP (RFC 3986 §6.2.3).
    #[default]
    Keep,
    /// It goes: `/cart/` is read as `/cart`, as with tower-http's `NormalizePath`.
    Strip,
    /// It goes, and where a route takes what is left the client is sent there: 308, so that method and body stay.
    Redirect,
}

impl NormalizeSettings {
    /// Where a client that asked for `path` is to be sent, which is `normal` in its one form: nowhere, but for a slash
    /// at its end. The query goes along.
    #[must_use]
    pub fn redirect(&self, path: &str, normal: &str, query: Option<&str>) -> Option<String> {
        let last = path.rsplit('/').next()?;
        // What ends in a dot segment is a folder, too.
        let had_slash = last.is_empty() || is_dot_segment(last);
        if self.trailing_slash != TrailingSlash::Redirect || !had_slash || normal == "/" || normal == "*" {
            return None;
        }
        // What begins with two slashes would be another host (RFC 3986 §4.2).
        let guard = if normal.starts_with("//") { "/." } else { "" };
        let (mark, query) = query.map_or(("", ""), |query| ("?", query));
        Some([guard, normal, mark, query].concat())
    }
}

impl Default for NormalizeSettings {
    fn default() -> Self {
        Self {
            merge_slashes: true,
            allow_encoded_slashes: false,
            reject_encoded: EncodedSet::default(),
            allow_parameters: true,
            trailing_slash: TrailingSlash::default(),
        }
    }
}

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// `%2F` or `%5C`.
    #[error("the path holds an encoded slash or backslash")]
    EncodedSlash,
    /// One of [`NormalizeSettings::reject_encoded`].
    #[error("the path holds %{0:02X}, which is refused")]
    Rejected(u8),
    /// `\`.
    #[error("the path holds a backslash")]
    Backslash,
    /// `%00` or another control character, encoded or not.
    #[error("the path holds an encoded control character")]
    Control,
    /// A `%` without two hexadecimal digits.
    #[error("the path holds a percent sign without two hexadecimal digits")]
    BadEncoding,
    /// Neither `/…` nor `*`.
    #[error("the path does not begin with a slash")]
    NotRooted,
    /// `.` or `..` between slashes, in a path that was made and not sent; or with parameters, as in `..;`.
    #[error("the path holds a dot segment")]
    DotSegment,
    /// `;`, against [`NormalizeSettings::allow_parameters`].
    #[error("the path holds parameters, which are refused")]
    Parameters,
    /// `?` or `#`, where the path was to end.
    #[error("the path holds a question mark or a number sign")]
    Delimiter,
}

/// The one form of a path by which everything is decided: without dot segments (RFC 3986 §5.2.4) and doubled slashes;
/// with letters, digits, `-`, `.`, `_` and `~` as themselves (§6.2.2.2), for `/%61dmin` is `/admin` to any service; with
/// the digits of what is encoded in capitals (§6.2.2.1), for `%c3` is `%C3`; with all encoded that no path has as it is,
/// for `/ä` is `/%C3%A4` to many services; and without a slash at its end, unless [`TrailingSlash::Keep`]. What cannot be
/// understood in one way only is refused.
///
/// Borrows the path when there is nothing to do, after one look at each byte. Never leads above the root. `*`,
/// the target of `OPTIONS *`, stays.
///
/// # Errors
/// Says what makes the path ambiguous.
pub fn normalize_path<'p>(path: &'p str, settings: &NormalizeSettings) -> Result<Cow<'p, str>, PathError> {
    if path == "*" {
        return Ok(Cow::Borrowed(path));
    }
    if !path.starts_with('/') {
        return Err(PathError::NotRooted);
    }
    let bytes = path.as_bytes();
    if bytes.contains(&b';') {
        check_parameters(path, settings)?;
    }
    let mut plain = settings.trailing_slash == TrailingSlash::Keep || path.len() == 1 || !path.ends_with('/');
    for (i, byte) in bytes.iter().enumerate() {
        if percent::is_plain(*byte) {
            continue;
        }
        match byte {
            b'\\' => return Err(PathError::Backslash),
            b'%' => plain &= !check_encoded(&bytes[i + 1..], settings)?,
            b'/' => plain &= !matches!(bytes.get(i + 1), Some(b'/' | b'.')),
            0x00..=0x1f | 0x7f => return Err(PathError::Control),
            // It would be encoded.
            byte if settings.reject_encoded.contains(*byte) => return Err(PathError::Rejected(*byte)),
            _ => plain = false,
        }
    }
    if plain { Ok(Cow::Borrowed(path)) } else { Ok(Cow::Owned(rebuild(path, settings))) }
}

#[cold]
fn check_parameters(path: &str, settings: &NormalizeSettings) -> Result<(), PathError> {
    let named = |segment: &str| segment.split_once(';').is_some_and(|(name, _)| is_dot_segment(name));
    if path.split('/').any(named) {
        return Err(PathError::DotSegment);
    }
    if settings.allow_parameters { Ok(()) } else { Err(PathError::Parameters) }
}

/// Whether the byte need not be encoded, or would be in capitals.
fn check_encoded(after: &[u8], settings: &NormalizeSettings) -> Result<bool, PathError> {
    match percent::triplet(after).ok_or(PathError::BadEncoding)? {
        0x2f | 0x5c if !settings.allow_encoded_slashes => Err(PathError::EncodedSlash),
        0x00..=0x1f | 0x7f => Err(PathError::Control),
        byte if settings.reject_encoded.contains(byte) => Err(PathError::Rejected(byte)),
        byte => Ok(percent::is_unreserved(byte) || after[..2].iter().any(u8::is_ascii_lowercase)),
    }
}

fn rebuild(path: &str, settings: &NormalizeSettings) -> String {
    let mut kept: Vec<Cow<'_, str>> = Vec::new();
    let mut segments = path[1..].split('/').map(percent::encoded_as_needed).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match &*segment {
            // A dot segment at the end leaves the slash before it.
            "." if last => kept.push("".into()),
            "." => {}
            ".." => {
                kept.pop();
                if last {
                    kept.push("".into());
                }
            }
            "" if settings.merge_slashes && !last => {}
            _ => kept.push(segment),
        }
    }
    if settings.trailing_slash != TrailingSlash::Keep {
        while kept.last().is_some_and(|segment| segment.is_empty()) {
            kept.pop();
        }
    }
    // "/a//" is "/a/" and not "/a" followed by two ends.
    let mut result = String::with_capacity(path.len());
    for segment in kept {
        result.push('/');
        result.push_str(&segment);
    }
    if result.is_empty() { "/".to_owned() } else { result }
}

/// `.` or `..`, encoded or not.
pub(crate) fn is_dot_segment(segment: &str) -> bool {
    matches!(&*percent::encoded_as_needed(segment), "." | "..")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn normal(path: &str) -> Result<String, PathError> {
        normalize_path(path, &NormalizeSettings::default()).map(Cow::into_owned)
    }

    #[test]
    fn s0_06_paths_have_one_form_or_are_refused() {
        let ok = |text: &str| Ok(text.to_owned());
        for (path, expected) in [
            ("/", ok("/")),
            ("/a/b", ok("/a/b")),
            ("/a/", ok("/a/")),
            ("/a//b", ok("/a/b")),
            ("//a", ok("/a")),
            ("/a//", ok("/a/")),
            ("/a/./b", ok("/a/b")),
            ("/a/../b", ok("/b")),
            ("/a/b/..", ok("/a/")),
            ("/a/.", ok("/a/")),
            ("/..", ok("/")),
            ("/../../etc/passwd", ok("/etc/passwd")),
            ("/a/%2e%2E/b", ok("/b")),
            ("/a/.%2e/b", ok("/b")),
            ("/a%2eb", ok("/a.b")),
            ("/%61%44%6din/%2D%5f%7e", ok("/aDmin/-_~")),
            ("/%2561", ok("/%2561")),
            ("/.well-known/x", ok("/.well-known/x")),
            ("/a/...", ok("/a/...")),
            ("/a%20b", ok("/a%20b")),
            ("/%C3%A9", ok("/%C3%A9")),
            ("/%c3%A9/%3a%41b%2a", ok("/%C3%A9/%3AAb%2A")),
            ("/é/a|b/../\"[x]", ok("/%C3%A9/%22%5Bx%5D")),
            ("/a!$&'()*+,;=:@-._~", ok("/a!$&'()*+,;=:@-._~")),
            ("/a;b/..;c/...;", Err(PathError::DotSegment)),
            ("/a/%2e%2E;b", Err(PathError::DotSegment)),
            ("/.;", Err(PathError::DotSegment)),
            ("/;a/b;/...;c", ok("/;a/b;/...;c")),
            ("*", ok("*")),
            ("", Err(PathError::NotRooted)),
            ("a", Err(PathError::NotRooted)),
            ("/a%2Fb", Err(PathError::EncodedSlash)),
            ("/a%5cb", Err(PathError::EncodedSlash)),
            ("/a\\b", Err(PathError::Backslash)),
            ("/a%00", Err(PathError::Control)),
            ("/a%0d%0a", Err(PathError::Control)),
            ("/a%7F", Err(PathError::Control)),
            ("/a\0", Err(PathError::Control)),
            ("/a%", Err(PathError::BadEncoding)),
            ("/a%2", Err(PathError::BadEncoding)),
            ("/a%zz", Err(PathError::BadEncoding)),
        ] {
            assert_eq!(normal(path), expected, "{path}");
        }
        let lax =
            NormalizeSettings { merge_slashes: false, allow_encoded_slashes: true, ..Default::default() };
        assert_eq!(normalize_path("/a//b%2Fc/../d", &lax), Ok("/a//d".into()));
        let strict = NormalizeSettings { allow_parameters: false, ..Default::default() };
        assert_eq!(normalize_path("/a;b", &strict), Err(PathError::Parameters));
        assert_eq!(normalize_path("/a%3Bb", &strict), Ok("/a%3Bb".into()));
    }

    #[test]
    fn encoded_characters_pass_as_they_are_unless_they_are_refused() {
        let open = "/a%3Bb/%2561/%3f/%23";
        assert_eq!(normal(open).as_deref(), Ok("/a%3Bb/%2561/%3F/%23"));
        for (path, rejected, expected) in [
            (open, &b""[..], None),
            (open, b":", None),
            (open, b";", Some(b';')),
            ("/a%3bb", b";", Some(b';')),
            ("/a;b", b";", None),
            (open, b"%", Some(b'%')),
            (open, b"?", Some(b'?')),
            (open, b"#", Some(b'#')),
            ("/%61", b"a", Some(b'a')),
            ("/a|b", b"|", Some(b'|')),
            ("/a%2Fb", b"\\", None),
            ("/a%5Cb", b"\\", Some(b'\\')),
        ] {
            let settings = NormalizeSettings {
                reject_encoded: EncodedSet::of(rejected),
                allow_encoded_slashes: true,
                ..NormalizeSettings::default()
            };
            let seen = normalize_path(path, &settings);
            assert_eq!(seen.err(), expected.map(PathError::Rejected), "{path} without {rejected:?}");
        }
        assert_eq!(PathError::Rejected(b';').to_string(), "the path holds %3B, which is refused");
    }

    #[test]
    fn s0_06_a_slash_at_the_end_stays_goes_or_is_told_to_go() {
        let rules = |trailing_slash, merge_slashes| NormalizeSettings {
            trailing_slash,
            merge_slashes,
            ..NormalizeSettings::default()
        };
        for (path, merge, stripped, location) in [
            ("/", true, "/", None),
            ("//", true, "/", None),
            ("//", false, "/", None),
            ("*", true, "*", None),
            ("/a", true, "/a", None),
            ("//a", true, "/a", None),
            ("/a/", true, "/a", Some("/a?x=/")),
            ("/a//", true, "/a", Some("/a?x=/")),
            ("/a//", false, "/a", Some("/a?x=/")),
            ("/a/b/.", true, "/a/b", Some("/a/b?x=/")),
            ("/a/b/%2e.", true, "/a", Some("/a?x=/")),
            ("/a/..", true, "/", None),
            ("/%61/", true, "/a", Some("/a?x=/")),
            ("/a%20b/", true, "/a%20b", Some("/a%20b?x=/")),
            ("//evil.example/", true, "/evil.example", Some("/evil.example?x=/")),
            ("//evil.example/", false, "//evil.example", Some("/.//evil.example?x=/")),
        ] {
            for rule in [TrailingSlash::Strip, TrailingSlash::Redirect] {
                let settings = rules(rule, merge);
                let normal = normalize_path(path, &settings).unwrap();
                assert_eq!(normal, stripped, "{path}");
                let expected = location.filter(|_| rule == TrailingSlash::Redirect);
                assert_eq!(settings.redirect(path, &normal, Some("x=/")).as_deref(), expected, "{path}");
            }
            let kept = rules(TrailingSlash::Keep, merge);
            let normal = normalize_path(path, &kept).unwrap();
            assert_eq!(kept.redirect(path, &normal, None), None, "{path}");
        }
        let settings = rules(TrailingSlash::Redirect, true);
        assert_eq!(settings.redirect("/a/", "/a", None).as_deref(), Some("/a"));
    }

    proptest! {
        #[test]
        fn normal_paths_stay_and_hold_nothing_ambiguous(parts in prop::collection::vec(
            prop_oneof![Just("a"), Just(""), Just("."), Just(".."), Just("%2e"), Just("%2E."), Just(".b"), Just("%20")], 0..8,
        )) {
            let path = format!("/{}", parts.join("/"));
            let once = normal(&path).unwrap();
            prop_assert_eq!(normal(&once).unwrap(), once.clone());
            prop_assert!(once.starts_with('/'));
            prop_assert!(!once.contains("//"), "{}", once);
            prop_assert!(once.split('/').all(|s| s != "." && s != ".."), "{}", once);
        }

        #[test]
        fn no_text_makes_it_panic(path in "[/.%2e5c]{0,12}|.{0,60}", merge: bool, allow: bool, rule in 0..3) {
            let trailing_slash =
                [TrailingSlash::Keep, TrailingSlash::Strip, TrailingSlash::Redirect][rule as usize];
            let settings = NormalizeSettings {
                merge_slashes: merge,
                allow_encoded_slashes: allow,
                trailing_slash,
                ..NormalizeSettings::default()
            };
            if let Ok(once) = normalize_path(&path, &settings) {
                prop_assert!(once == "*" || once.starts_with('/'));
                prop_assert!(rule == 0 || once == "/" || !once.ends_with('/'), "{}", once);
                let twice = normalize_path(&once, &settings);
                prop_assert_eq!(twice.as_deref(), Ok(&*once));
                // Whoever follows a redirect is not sent on, nor to another host.
                if let Some(location) = settings.redirect(&path, &once, None) {
                    prop_assert!(!location.starts_with("//"), "{}", location);
                    let next = normalize_path(&location, &settings).unwrap();
                    prop_assert_eq!(settings.redirect(&location, &next, None), None);
                }
            }
        }
    }
}
