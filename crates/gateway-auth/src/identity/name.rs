//! Header names as services may read them.

use gateway_core::{ClientAddr, Network, PeerAddr};
use http::{Extensions, HeaderMap, HeaderName};

/// Headers that tell a service who calls, which an edge takes out of every request, whatever its route: names, how
/// further names begin, and names that only some peers may send. A name stands for all that a service may take for
/// it, in any case and with any sign for a dash.
///
/// ```
/// # use gateway_auth::HeaderNames;
/// # use http::{Extensions, HeaderName};
/// let names = HeaderNames::of([HeaderName::from_static("x-user-id")]).with_prefix("x-auth-");
/// for (name, contained) in [("x-user-id", true), ("x_user_id", true), ("x-auth-role", true), ("x-user", false)] {
///     assert_eq!(names.contains(&HeaderName::from_static(name), &Extensions::new()), contained, "{name}");
/// }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderNames {
    names: Vec<HeaderName>,
    prefixes: Vec<Box<str>>,
    /// What begins with a prefix and is none of them all the same.
    except: Vec<HeaderName>,
    /// Those that these peers may send.
    from: Vec<(HeaderName, Vec<Network>)>,
}

impl HeaderNames {
    /// These names.
    pub fn of(names: impl IntoIterator<Item = HeaderName>) -> Self {
        let mut all = Self::default();
        all.extend(Self { names: names.into_iter().collect(), ..Self::default() });
        all
    }

    /// All names that begin so, too.
    #[must_use]
    pub fn with_prefix(mut self, prefix: &str) -> Self {
        self.prefixes.push(prefix.to_ascii_lowercase().into());
        self
    }

    /// A name, too, unless the connection is held by one of these peers.
    #[must_use]
    pub fn unless_from(mut self, name: HeaderName, peers: &[Network]) -> Self {
        self.from.push((name, peers.to_vec()));
        self
    }

    /// All but these, exactly so written: those in which clients show their credentials.
    #[must_use]
    pub fn without(mut self, names: &[HeaderName]) -> Self {
        self.names.retain(|name| !names.contains(name));
        self.except.extend_from_slice(names);
        self
    }

    /// Adds those of another: what either excepts from its prefixes is excepted.
    pub fn extend(&mut self, other: Self) {
        for name in other.names {
            if !self.names.contains(&name) {
                self.names.push(name);
            }
        }
        self.prefixes.extend(other.prefixes);
        self.except.extend(other.except);
        for (name, peers) in other.from {
            match self.from.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => known.extend(peers),
                None => self.from.push((name, peers)),
            }
        }
    }

    /// Whether a header of this name is one of them, in a request with these extensions ([`PeerAddr`] or
    /// [`ClientAddr`] say who holds the connection).
    #[must_use]
    pub fn contains(&self, name: &HeaderName, facts: &Extensions) -> bool {
        let text = name.as_str();
        self.names.iter().any(|known| is_same_to_a_service(text, known.as_str()))
            || (!self.prefixes.is_empty()
                && self.prefixes.iter().any(|prefix| begins_to_a_service(text, prefix))
                && !self.except.contains(name))
            || self
                .from
                .iter()
                .any(|(known, peers)| is_same_to_a_service(text, known.as_str()) && !is_held_by(facts, peers))
    }

    /// Whether it is decided here who may send a header of this name: clients, their credentials in it, or some peers.
    #[must_use]
    pub fn decides(&self, name: &HeaderName) -> bool {
        let known = |(known, _): &(HeaderName, _)| is_same_to_a_service(name.as_str(), known.as_str());
        self.except.contains(name) || self.from.iter().any(known)
    }
}

/// Whether one of these holds the connection.
pub(crate) fn is_held_by(facts: &Extensions, peers: &[Network]) -> bool {
    let peer = facts.get::<PeerAddr>().map(PeerAddr::ip);
    let peer = peer.or_else(|| facts.get::<ClientAddr>().map(ClientAddr::ip));
    peer.is_some_and(|ip| peers.iter().any(|network| network.contains(ip)))
}

fn begins_to_a_service(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len()).is_some_and(|begin| is_same_to_a_service(begin, prefix))
}

/// Whether some service takes two names for the same: CGI and its heirs (WSGI, Rack, PHP) turn every character that
/// is no letter or digit into an underscore. Names are in lower case.
fn is_same_to_a_service(a: &str, b: &str) -> bool {
    let other = |byte: u8| if byte.is_ascii_alphanumeric() { byte } else { b'_' };
    a.len() == b.len() && a.bytes().zip(b.bytes()).all(|(a, b)| other(a) == other(b))
}

/// Takes headers away that a service might take for one of these. Allocates only where there are any.
pub(crate) fn strip(headers: &mut HeaderMap, names: &[HeaderName]) {
    let is_ours =
        |name: &HeaderName| names.iter().any(|ours| is_same_to_a_service(name.as_str(), ours.as_str()));
    let spoofed: Vec<HeaderName> = headers.keys().filter(|name| is_ours(name)).cloned().collect();
    for name in spoofed {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    #[test]
    fn names_are_taken_but_those_of_credentials_and_of_trusted_peers() {
        let name = HeaderName::from_static;
        let mut all = HeaderNames::of([name("x-user"), name("x-api-key")])
            .with_prefix("X-Auth-")
            .without(&[name("x-api-key"), name("x-auth-token")]);
        all.extend(
            HeaderNames::of([name("x-user")]).unless_from(name("x-cert"), &["10.0.0.0/8".parse().unwrap()]),
        );
        let mut facts = Extensions::new();
        facts.insert(PeerAddr("192.0.2.1:1".parse::<SocketAddr>().unwrap()));
        for (text, contained) in [
            ("x-user", true),
            ("x_user", true),
            ("x-api-key", false),
            ("x-auth-role", true),
            ("x_auth_role", true),
            ("x-auth-token", false),
            ("x-auth", false),
            ("x-cert", true),
            ("accept", false),
        ] {
            assert_eq!(all.contains(&name(text), &facts), contained, "{text}");
        }
        for (text, decided) in
            [("x-cert", true), ("x_cert", true), ("x-api-key", true), ("x-auth-role", false)]
        {
            assert_eq!(all.decides(&name(text)), decided, "{text}");
        }
        facts.insert(PeerAddr("10.1.2.3:1".parse::<SocketAddr>().unwrap()));
        assert!(!all.contains(&name("x-cert"), &facts), "a trusted proxy says so");
    }

    #[test]
    fn names_are_the_same_in_any_case_and_with_any_separator() {
        for (a, b, same) in [
            ("x-user-id", "x-user-id", true),
            ("x_user-id", "x-user-id", true),
            ("user-id", "user_id", true),
            ("user.id", "user_id", true),
            ("x-user-ids", "x-user-id", false),
            ("xuser-id", "x-user-id", false),
        ] {
            assert_eq!(is_same_to_a_service(a, b), same, "{a} {b}");
        }
    }
}
