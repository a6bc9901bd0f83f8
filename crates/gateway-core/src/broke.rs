/// Why a request has no whole answer, although nobody could be told: what the log and the metrics have in the place of a
/// [`Code`](crate::Code).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// The client left before its answer, or before the end of it.
    ClientGone,
    /// The answer's body broke off: the service failed within it, or the gateway ended.
    AnswerCutOff,
}

impl Break {
    /// All there are.
    pub const ALL: [Self; 2] = [Self::ClientGone, Self::AnswerCutOff];

    /// Its stable name, which is that of no code.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ClientGone => "client-gone",
            Self::AnswerCutOff => "answer-cut-off",
        }
    }

    /// What it means, in a few words.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::ClientGone => "The client left before the end of its answer",
            Self::AnswerCutOff => "The answer broke off",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Code;

    #[test]
    fn what_stands_for_a_code_is_none() {
        for broke in Break::ALL {
            assert_eq!(Code::from_name(broke.name()), None, "{broke:?}");
        }
    }
}
