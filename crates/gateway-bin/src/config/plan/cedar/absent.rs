//! What stands for Cedar in a build without it: there are no policies, and whoever asks for some is told so.

use gateway_auth::{CedarMistake, CedarMistakes, CedarSettings, Head, Mode};
use gateway_core::{PolicyDecision, Principal};
use std::convert::Infallible;
use tower::Layer;

/// Policies; there are none.
#[derive(Clone)]
pub(crate) struct Cedar(Infallible);

/// The layer of a route with policies; there is none.
#[derive(Clone)]
pub(crate) struct CedarLayer(Infallible);

impl Cedar {
    pub(crate) fn load(_: &CedarSettings) -> Result<Self, CedarMistakes> {
        let message = "this gateway was built without Cedar: the feature `cedar` is missing";
        let help = "build it with `cargo build --release -p gateway-bin --features cedar`";
        Err(CedarMistakes(vec![CedarMistake {
            key: String::new(),
            place: None,
            policy: None,
            message: message.to_owned(),
            help: Some(help.to_owned()),
        }]))
    }

    pub(crate) fn reload(&self, _: &CedarSettings) -> Result<Self, CedarMistakes> {
        match self.0 {}
    }

    pub(crate) fn layer(&self, _: &str, _: &str) -> CedarLayer {
        match self.0 {}
    }

    pub(crate) fn warnings(&self) -> &[CedarMistake] {
        match self.0 {}
    }
}

impl CedarLayer {
    pub(crate) fn with_mode(self, _: Mode) -> Self {
        self
    }

    pub(crate) fn asks_about_anonymous(&self) -> bool {
        match self.0 {}
    }

    pub(crate) fn decide(&self, _: Option<&Principal>, _: Head<'_>) -> PolicyDecision {
        match self.0 {}
    }
}

impl<S> Layer<S> for CedarLayer {
    type Service = S;

    fn layer(&self, _: S) -> S {
        match self.0 {}
    }
}
