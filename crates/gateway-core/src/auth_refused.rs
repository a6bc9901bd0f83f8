/// Response extension: the service that forward authentication asks refused the request, and the answer is that
/// service's own, passed on as it is.
///
/// Set by whoever asked it, read by whoever counts requests and writes the access log: they have its name in the place of
/// a [`Code`](crate::Code), which would stand in a body of the gateway's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthRefused;

impl AuthRefused {
    /// Its stable name, which is that of no code.
    pub const NAME: &str = "auth-refused";

    /// What it means, in a few words.
    pub const TITLE: &str = "Forward authentication refused, in its own words";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Code;

    #[test]
    fn what_stands_for_a_code_is_none() {
        assert_eq!(Code::from_name(AuthRefused::NAME), None);
    }
}
