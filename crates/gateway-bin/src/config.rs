//! The configuration: from text to settings, and from settings to a plan that can run.

pub(crate) mod load;
mod plan;
mod settings;

pub(crate) use load::{Mistakes, nearest};
pub(crate) use plan::{Plan, RoutePlan};
pub(crate) use settings::{LogLevel, ServerSettings, Settings};

use load::Loaded;
use std::path::Path;

/// A configuration without mistakes.
pub(crate) struct Config {
    pub(crate) settings: Settings,
    pub(crate) plan: Plan,
}

/// Reads and checks a configuration.
///
/// # Errors
/// Everything that is wrong with it.
pub(crate) fn load(path: Option<&Path>) -> Result<Config, Mistakes> {
    load_after(path, None)
}

/// Reads and checks a configuration that is to take the place of another: what both say alike lives on, with its
/// counts, health and connections.
///
/// # Errors
/// Everything that is wrong with it.
pub(crate) fn load_after(path: Option<&Path>, previous: Option<&Config>) -> Result<Config, Mistakes> {
    let Loaded { settings, mut mistakes, origin } = load::load::<Settings>(path)?;
    let planned = settings.map(|settings| {
        let plan = Plan::new(&settings, &origin, previous, &mut mistakes);
        (settings, plan)
    });
    Mistakes::some(mistakes)?;
    match planned {
        Some((settings, Some(plan))) => Ok(Config { settings, plan }),
        // Not reached: without a plan there are mistakes.
        _ => Err(load::Mistake::new("the configuration cannot be used".to_owned()).into()),
    }
}
