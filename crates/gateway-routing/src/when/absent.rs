//! What stands for expressions in a build without them: there are none, and whoever writes one is told so.

use super::WhenMistake;
use crate::request::Head;
use std::convert::Infallible;

/// What an expression would be about.
pub(super) enum Scope {
    Request,
    Caller,
}

/// An expression; there is none.
#[derive(Clone)]
pub(super) struct Program(Infallible);

impl Program {
    pub(super) fn new(_: &str, _: Scope) -> Result<Self, Vec<WhenMistake>> {
        let message = "expressions are not in this build: the feature `cel` is missing".to_owned();
        Err(vec![WhenMistake { line: 1, column: 1, length: 1, message, help: None }])
    }

    pub(super) fn text(&self) -> &str {
        match self.0 {}
    }

    pub(super) fn variables(&self) -> &[&'static str] {
        match self.0 {}
    }

    pub(super) fn ask<R>(&self, _: &Head<'_>, _: impl FnOnce(Result<bool, &'static str>) -> R) -> R {
        match self.0 {}
    }
}

#[cfg(test)]
mod tests {
    use crate::{CallerWhen, MatchSettings, When};

    #[test]
    fn every_expression_is_told_which_feature_is_missing() {
        let mistakes = "true".parse::<When>().unwrap_err().to_string();
        assert!(mistakes.contains("the feature `cel` is missing"), "{mistakes}");
        assert_eq!("true".parse::<CallerWhen>().unwrap_err().to_string(), mistakes);
        let error = serde_json::from_str::<MatchSettings>(r#"{"when": "true"}"#).unwrap_err().to_string();
        assert!(error.contains("the feature `cel` is missing"), "{error}");
        assert_eq!(size_of::<Option<When>>(), 0, "routes pay for what cannot be there");
    }
}
