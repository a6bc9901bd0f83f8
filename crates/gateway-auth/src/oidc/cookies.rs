//! The cookies of a session and of logins: their names, attributes and parts.

use crate::credential::cookies;
use crate::oidc::settings::{SameSite, SessionCookie};
use crate::{AuthError, OidcSettings};
use gateway_core::cookie;
use http::header::{HeaderMap, HeaderValue};

/// Browsers keep 4096 bytes of a cookie, name and attributes included (RFC 6265 §6.1).
const MAX_PART: usize = 3600;
/// Servers behind us and others like us take some 16 KiB of headers.
const MAX_PARTS: usize = 4;
/// So many logins may be on their way in one browser, in as many tabs.
const MAX_LOGINS: usize = 5;

/// What one session may take, sealed.
pub(crate) const MAX_SESSION: usize = MAX_PART * MAX_PARTS;

pub(crate) struct Cookies {
    name: String,
    session: String,
    login: String,
}

impl Cookies {
    pub(crate) fn new(settings: &OidcSettings) -> Result<Self, AuthError> {
        let SessionCookie { name, domain, path, same_site, secure } = &settings.cookie;
        let wrong = |key, why: String| Err(AuthError::Oidc { key, why });
        let attribute =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';' && byte != b',');
        if !path.starts_with('/') || !attribute(path) {
            return wrong("cookie.path", format!("is `{path}`; expected a path, such as `/shop`"));
        }
        if !settings.logout_path.starts_with(path.as_str()) {
            return wrong("cookie.path", format!("is `{path}`; expected `logout_path` to lie below it"));
        }
        if let Some(domain) = domain.as_deref().filter(|domain| domain.is_empty() || !attribute(domain)) {
            return wrong(
                "cookie.domain",
                format!("is `{domain}`; expected a domain, such as `shop.example`"),
            );
        }
        if *same_site == SameSite::None && !secure {
            return wrong(
                "cookie.same_site",
                "is `none`; expected `secure` with it, or browsers refuse it".to_owned(),
            );
        }
        let for_host = *secure && domain.is_none() && path == "/";
        let name = match name {
            Some(name) => name.clone(),
            None if for_host => "__Host-gateway_session".to_owned(),
            None => "gateway_session".to_owned(),
        };
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        if name.is_empty() || !name.bytes().all(token) {
            return wrong("cookie.name", format!("is `{name}`; expected letters, digits, `_` and `-`"));
        }
        if (name.starts_with("__Host-") && !for_host) || (name.starts_with("__Secure-") && !secure) {
            return wrong(
                "cookie.name",
                format!("is `{name}`, which browsers refuse with these `cookie` settings"),
            );
        }
        let same_site = match same_site {
            SameSite::Lax => "Lax",
            SameSite::None => "None",
        };
        let secure = if *secure { "; Secure" } else { "" };
        let domain = domain.as_ref().map_or(String::new(), |domain| format!("; Domain={domain}"));
        let rest = format!("{domain}; HttpOnly; SameSite={same_site}{secure}");
        Ok(Self { name, session: format!("; Path={path}{rest}"), login: format!("; Path=/{rest}") })
    }

    /// The session of a request: what `open` makes of the parts together. Of several by one name, which other hosts
    /// of the domain may have set, the first that opens.
    pub(crate) fn session<T>(&self, headers: &HeaderMap, open: impl Fn(&str) -> Option<T>) -> Option<T> {
        cookies(headers, &self.name).find_map(|first| {
            let (count, first) = std::str::from_utf8(first).ok()?.split_once('.')?;
            let count: usize = count.parse().ok().filter(|count| (1..=MAX_PARTS).contains(count))?;
            if count == 1 {
                return open(first);
            }
            let mut whole = first.to_owned();
            for part in 1..count {
                whole.push_str(std::str::from_utf8(cookies(headers, &self.part(part)).next()?).ok()?);
            }
            open(&whole)
        })
    }

    /// Whether there is something by the session's name.
    pub(crate) fn has_session(&self, headers: &HeaderMap) -> bool {
        cookies(headers, &self.name).next().is_some()
    }

    /// What keeps a session, and takes away what a longer one left. `None` where it is too long.
    pub(crate) fn keep(&self, sealed: &str, seconds: u64, had: &HeaderMap) -> Option<Vec<HeaderValue>> {
        if sealed.len() > MAX_SESSION {
            return None;
        }
        let parts: Vec<&[u8]> = sealed.as_bytes().chunks(MAX_PART).collect();
        let mut set = Vec::with_capacity(parts.len());
        for (at, part) in parts.iter().enumerate() {
            let part = std::str::from_utf8(part).ok()?;
            let part = if at == 0 { format!("{}.{part}", parts.len()) } else { part.to_owned() };
            set.push(set_cookie(&self.part(at), &part, seconds, &self.session)?);
        }
        set.extend(self.forget_from(parts.len(), had));
        Some(set)
    }

    /// What takes the session away.
    pub(crate) fn forget(&self, had: &HeaderMap) -> Vec<HeaderValue> {
        self.forget_from(0, had).collect()
    }

    fn forget_from(&self, from: usize, had: &HeaderMap) -> impl Iterator<Item = HeaderValue> {
        let names = (from..MAX_PARTS).map(|at| self.part(at));
        let there = names.filter(|name| cookies(had, name).next().is_some());
        there.filter_map(|name| set_cookie(&name, "", 0, &self.session))
    }

    fn part(&self, at: usize) -> String {
        if at == 0 { self.name.clone() } else { format!("{}_{at}", self.name) }
    }

    /// Each login has its own, named by its state, so that several tabs do not get into each other's way.
    fn login_name(&self, state: &str) -> String {
        format!("{}_login_{}", self.name, state.get(..16).unwrap_or(state))
    }

    pub(crate) fn login<'a>(&self, headers: &'a HeaderMap, state: &str) -> impl Iterator<Item = &'a str> {
        let found: Vec<&[u8]> = cookies(headers, &self.login_name(state)).collect();
        found.into_iter().filter_map(|value| std::str::from_utf8(value).ok())
    }

    /// What keeps a login, and takes away those that were left where there are many.
    pub(crate) fn keep_login(
        &self,
        state: &str,
        sealed: &str,
        seconds: u64,
        had: &HeaderMap,
    ) -> Vec<HeaderValue> {
        let prefix = self.login_name("");
        let others: Vec<&str> = names(had).filter(|name| name.starts_with(&prefix)).collect();
        let many = others.len() >= MAX_LOGINS;
        let gone =
            others.into_iter().filter(|_| many).filter_map(|name| set_cookie(name, "", 0, &self.login));
        gone.chain(set_cookie(&self.login_name(state), sealed, seconds, &self.login)).collect()
    }

    pub(crate) fn forget_login(&self, state: &str) -> Option<HeaderValue> {
        set_cookie(&self.login_name(state), "", 0, &self.login)
    }

    /// Takes ours out of a request: they are nobody else's business.
    pub(crate) fn strip(&self, headers: &mut HeaderMap) {
        let login = self.login_name("");
        let is_ours = |name: &str| {
            name == self.name || name.starts_with(&login) || (1..MAX_PARTS).any(|at| name == self.part(at))
        };
        cookie::remove(headers, |pair| name_of(pair).is_some_and(is_ours));
    }
}

fn names(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    cookie::pairs(headers).filter_map(name_of)
}

fn name_of(pair: &[u8]) -> Option<&str> {
    let name = pair.split(|byte| *byte == b'=').next()?;
    std::str::from_utf8(name.trim_ascii()).ok()
}

fn set_cookie(name: &str, value: &str, seconds: u64, attributes: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("{name}={value}; Max-Age={seconds}{attributes}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::COOKIE;
    use proptest::prelude::*;

    fn made(toml: &str) -> Result<Cookies, AuthError> {
        Cookies::new(&toml_edit::de::from_str(toml).unwrap())
    }

    /// What a browser sends back of it.
    fn sent(set: &[HeaderValue]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in set {
            let text = value.to_str().unwrap();
            assert!(text.len() <= 4096, "browsers do not keep {} bytes", text.len());
            let (pair, attributes) = text.split_once(';').unwrap();
            if !attributes.contains("Max-Age=0") {
                headers.append(COOKIE, pair.parse().unwrap());
            }
        }
        headers
    }

    #[test]
    fn a_session_has_the_attributes_that_protect_it() {
        for (toml, expected) in [
            ("", "__Host-gateway_session=1.x; Max-Age=9; Path=/; HttpOnly; SameSite=Lax; Secure"),
            ("cookie.secure = false", "gateway_session=1.x; Max-Age=9; Path=/; HttpOnly; SameSite=Lax"),
            (
                "cookie = { name = 'sid', domain = 'shop.example', same_site = 'none' }",
                "sid=1.x; Max-Age=9; Path=/; Domain=shop.example; HttpOnly; SameSite=None; Secure",
            ),
        ] {
            let set = made(toml).unwrap().keep("x", 9, &HeaderMap::new()).unwrap();
            assert_eq!(set, [expected], "{toml}");
        }
        for (toml, expected) in [
            ("cookie.name = 'a b'", "`cookie.name` is `a b`"),
            ("cookie.name = ''", "`cookie.name` is ``"),
            ("cookie = { name = '__Host-x', domain = 'a.example' }", "which browsers refuse"),
            ("cookie = { name = '__Secure-x', secure = false }", "which browsers refuse"),
            ("cookie.domain = 'a; Secure'", "`cookie.domain`"),
            ("cookie.path = 'x'", "`cookie.path`"),
            ("cookie.path = '/shop'", "expected `logout_path` to lie below it"),
            ("cookie = { same_site = 'none', secure = false }", "`cookie.same_site` is `none`"),
        ] {
            let error = made(toml).err().unwrap().to_string();
            assert!(error.contains(expected), "{toml}: {error}");
        }
    }

    #[test]
    fn a_session_that_got_shorter_leaves_no_parts_and_ours_do_not_reach_the_service() {
        let cookies = made("").unwrap();
        let long = "a".repeat(MAX_PART * 2 + 1);
        let mut browser = sent(&cookies.keep(&long, 9, &HeaderMap::new()).unwrap());
        assert_eq!(names(&browser).count(), 3);
        let short = cookies.keep("b", 9, &browser).unwrap();
        assert_eq!(short.len(), 3, "one is set, two are taken away");
        assert_eq!(names(&sent(&short)).count(), 1);
        assert_eq!(cookies.forget(&browser).len(), 3);
        let login = sent(&cookies.keep_login("0123456789abcdefgh", "x", 9, &browser));
        browser.append(COOKIE, login[COOKIE].clone());
        browser.append(COOKIE, HeaderValue::from_static("theme=dark; __Host-gateway_sessions=1; a"));
        cookies.strip(&mut browser);
        assert_eq!(browser[COOKIE], "theme=dark; __Host-gateway_sessions=1; a");
    }

    #[test]
    fn logins_that_nobody_ended_do_not_pile_up() {
        let (cookies, mut browser) = (made("").unwrap(), HeaderMap::new());
        for login in 0..MAX_LOGINS {
            let set = cookies.keep_login(&format!("{login:016}"), "x", 9, &browser);
            assert_eq!(set.len(), 1);
            browser.append(COOKIE, sent(&set)[COOKIE].clone());
        }
        assert_eq!(cookies.keep_login("one more", "x", 9, &browser).len(), MAX_LOGINS + 1);
    }

    proptest! {
        #[test]
        fn a_session_of_any_length_comes_back_or_is_refused(length in 1..MAX_SESSION + 3) {
            let cookies = made("").unwrap();
            let sealed: String = (0..length).map(|at| char::from(b'a' + (at % 26) as u8)).collect();
            match cookies.keep(&sealed, 9, &HeaderMap::new()) {
                None => prop_assert!(length > MAX_SESSION),
                Some(set) => {
                    let back = cookies.session(&sent(&set), |whole| Some(whole.to_owned()));
                    prop_assert_eq!(back, Some(sealed));
                }
            }
        }
    }
}
