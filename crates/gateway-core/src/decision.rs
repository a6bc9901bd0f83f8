/// Response extension: what written policies said of a request, so that an access log further out can name them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyDecision {
    /// Whether it may pass.
    pub allowed: bool,
    /// The ids of the policies that decided. Empty where none applies, which is a no.
    pub policies: Vec<String>,
    /// Policies that could not be evaluated, and why. One is enough for a no: it might have forbidden the request.
    pub errors: Vec<String>,
}

impl PolicyDecision {
    /// The no of policies that could not be asked.
    #[must_use]
    pub fn failed(why: String) -> Self {
        Self { allowed: false, policies: Vec::new(), errors: vec![why] }
    }

    /// Its stable name: `allow`, `deny`, or `error` for the no of a policy that could not be evaluated.
    #[must_use]
    pub fn outcome(&self) -> &'static str {
        match (self.errors.is_empty(), self.allowed) {
            (false, _) => "error",
            (true, true) => "allow",
            (true, false) => "deny",
        }
    }
}
