//! What routes share by name, or all of them together.

use super::planner::Planner;
use crate::config::load::nearest;
use gateway_core::{Code, Override, Overrides, ProblemLayer};
use gateway_transform::{CorrelationIdLayer, CorrelationIdSettings};
use http::StatusCode;

impl Planner<'_> {
    pub(super) fn problems(&mut self) -> ProblemLayer {
        let mut overrides = Overrides::new();
        for (name, replaced) in &self.settings.errors.overrides {
            let key = format!("errors.overrides.{name}");
            let Some(code) = Code::from_name(name) else {
                let mistake = self.origin.mistake(&key, format!("there is no code `{name}`"));
                self.mistakes.push(match nearest(name, Code::all().map(Code::name)) {
                    Some(near) => mistake.with_help(format!("did you mean `{near}`?")),
                    None => mistake.with_help("`gateway codes` lists them"),
                });
                continue;
            };
            let status = replaced.status.map(|status| match StatusCode::from_u16(status) {
                Ok(valid) if (400..600).contains(&status) => Ok(valid),
                _ => Err(format!("{status} is not the status of an error; expected 400 to 599")),
            });
            let status = status.and_then(|status| self.noted(format_args!("{key}.status"), status));
            overrides.insert(code, Override { status, text: replaced.text.clone() });
        }
        let errors = &self.settings.errors;
        ProblemLayer::with_overrides(errors.format, overrides).with_proxy_status(errors.proxy_status)
    }

    pub(super) fn default_correlation_id(&mut self) -> Option<CorrelationIdLayer> {
        match &self.settings.defaults.correlation_id {
            Some(own) => self.switch("defaults.correlation_id", own, CorrelationIdLayer::new),
            None => CorrelationIdLayer::new(&CorrelationIdSettings::default()).ok(),
        }
    }
}
