use std::sync::Arc;

/// Request extension: what stood in the place of a route's parameters, by their names.
///
/// Set by whoever finds the route, where the route asks for it: the parameters of its path (`{id}` in
/// `/users/{id}`), the rest below a prefix (`*`), and the named groups of expressions for its path and host. Path
/// values are as they came, percent-encoded; those of hosts are in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captures(Vec<(Arc<str>, String)>);

impl Captures {
    /// What stood in the place of this parameter. Of several of one name it is the first.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// Whether a parameter may be called this: a plain name of letters, digits, `_`, `-` and `.`.
    #[must_use]
    pub fn is_name(name: &str) -> bool {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, value.as_str()))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(Arc<str>, String)> for Captures {
    fn from_iter<I: IntoIterator<Item = (Arc<str>, String)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}
