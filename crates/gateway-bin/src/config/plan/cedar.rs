//! Policies in Cedar, by name, and the routes that ask them.

#[cfg(not(feature = "cedar"))]
mod absent;

#[cfg(not(feature = "cedar"))]
pub(crate) use absent::{Cedar, CedarLayer};
#[cfg(feature = "cedar")]
pub(crate) use gateway_auth::{Cedar, CedarLayer};

use super::planner::Planner;
use crate::config::load::join;
use crate::config::{Mistake, Origin};
use gateway_auth::{AuthorizeLayer, AuthorizeSettings, CedarMistake, CedarMistakes, CedarSettings};
use gateway_core::units::Switch;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The policies that a route asks.
#[derive(Clone)]
pub(crate) struct RouteCedar {
    /// What they are called in the settings.
    pub(crate) name: String,
    pub(crate) layer: CedarLayer,
    /// Whether they see parameters of the path.
    pub(super) shows_params: bool,
}

/// What must hold of a request beyond who calls.
#[derive(Default)]
pub(super) struct Authorization {
    pub(super) rules: Option<AuthorizeLayer>,
    pub(super) cedar: Option<RouteCedar>,
}

impl Planner<'_> {
    /// All policies. They are read again in any case; those that are as before live on.
    pub(super) fn cedar(&mut self) -> BTreeMap<String, Cedar> {
        let folder = self.origin.folder();
        let mut all = BTreeMap::new();
        for (name, settings) in &self.settings.cedar {
            let key = join("cedar", name);
            if self.origin.is_known_wrong(&key) {
                continue;
            }
            let settings = settings.within(&folder);
            let before = self.previous.and_then(|previous| previous.plan.cedar.get(name));
            let loaded = match before {
                Some(before) => before.reload(&settings),
                None => Cedar::load(&settings),
            };
            match loaded {
                Ok(cedar) => drop(all.insert(name.clone(), cedar)),
                Err(CedarMistakes(mistakes)) => {
                    let origin = self.origin;
                    self.mistakes.extend(mistakes.iter().map(|mistake| of_policies(origin, &key, mistake)));
                }
            }
        }
        all
    }

    /// The files that policies are read from.
    pub(super) fn cedar_files(&self) -> Vec<PathBuf> {
        let folder = self.origin.folder();
        let settings = self.settings.cedar.values().map(|settings: &CedarSettings| settings.within(&folder));
        settings.flat_map(|settings| settings.files().map(PathBuf::from).collect::<Vec<_>>()).collect()
    }

    /// What a route's `authorize` asks for.
    pub(super) fn authorization(
        &mut self,
        key: &str,
        written: Option<&Switch<AuthorizeSettings>>,
        route: (&str, &str),
        all: &BTreeMap<String, Cedar>,
    ) -> Authorization {
        let Some(settings) = written.and_then(Switch::on) else { return Authorization::default() };
        let (policies, rules) = settings.apart();
        let rules = rules.and_then(|rules| self.noted(key, AuthorizeLayer::new(&rules)));
        let key = format!("{key}.cedar");
        if policies == Some("none") {
            let mistake = self.origin.mistake(&key, "`none` names no policies");
            self.mistakes.push(mistake.with_help("take the key out, or write `authorize = false`"));
        }
        let name = self.reference(&key, policies, "[cedar]", "/cedar");
        // Missing only where they have mistakes themselves.
        let cedar = name.and_then(|name| {
            let layer = all.get(&name)?.layer(route.0, route.1);
            let layer = match settings.mode {
                Some(mode) => layer.with_mode(mode),
                None => layer,
            };
            let shows_params =
                self.settings.cedar.get(&name).is_some_and(|settings| !settings.params.is_empty());
            Some(RouteCedar { name, layer, shows_params })
        });
        Authorization { rules, cedar }
    }
}

/// What is wrong with policies, or likely not meant, where it stands: in a file of theirs, or in the configuration.
pub(crate) fn of_policies(origin: &Origin, key: &str, wrong: &CedarMistake) -> Mistake {
    let key = if wrong.key.is_empty() { key.to_owned() } else { format!("{key}.{}", wrong.key) };
    let mistake = match &wrong.place {
        None => origin.mistake(&key, format!("`{}`: {}", origin.original(&key), wrong.message)),
        Some(place) => {
            let mistake = origin.mistake(&key, wrong.message.clone());
            mistake.elsewhere(&place.path.display().to_string(), &place.text, place.span.clone())
        }
    };
    match &wrong.help {
        Some(help) => mistake.with_help(help.clone()),
        None => mistake,
    }
}
