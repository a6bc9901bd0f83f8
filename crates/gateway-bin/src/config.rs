//! The configuration: from text to settings, and from settings to a plan that can run.

pub(crate) mod load;
mod plan;
mod settings;

pub(crate) use load::{Mistake, Mistakes, Origin, Severity, join, nearest};
pub(crate) use plan::{Chore, Levels, LimitPlan, Plan, RouteLimit, RoutePlan, ServicePlan, of_policies};
pub(crate) use settings::{AuthSettings, LogLevel, Policies, ServerSettings, Settings, StartSettings};

use load::Loaded;
use std::path::Path;
use std::sync::Arc;

/// A configuration without mistakes.
pub(crate) struct Config {
    pub(crate) settings: Settings,
    pub(crate) plan: Arc<Plan>,
}

/// A configuration without mistakes, with all that can be said of it.
pub(crate) struct Checked {
    pub(crate) config: Config,
    /// What is likely not what was meant, in the order of the file.
    pub(crate) warnings: Mistakes,
    pub(crate) origin: Origin,
}

/// Reads and checks a configuration.
///
/// # Errors
/// Everything that is wrong with it.
pub(crate) fn load(path: Option<&Path>) -> Result<Config, Mistakes> {
    read(path, None).map(|checked| checked.config)
}

/// All that can be said of the configuration in force: what it was read from is read again, and nothing is made anew.
///
/// # Errors
/// A file or variable that it names has gone.
pub(crate) fn look_back(plan: &Arc<Plan>) -> Result<Checked, Mistakes> {
    let Loaded { settings, mistakes, origin } = load::parse::<Settings>(plan.source.clone())?;
    Mistakes::some(mistakes)?;
    match settings {
        Some(settings) => {
            let config = Config { settings, plan: plan.clone() };
            Ok(Checked { config, warnings: Mistakes::all(Vec::new()), origin })
        }
        // Not reached: without settings there are mistakes.
        None => Err(load::Mistake::new("the configuration cannot be read again".to_owned()).into()),
    }
}

/// Reads and checks a configuration, and keeps where everything stands. Of the one that it is to take the place
/// of, what both say alike lives on, with its counts, health and connections.
///
/// # Errors
/// Everything that is wrong with it. Warnings are looked for only where there are no mistakes: what was left out
/// for one would be missing elsewhere.
pub(crate) fn read(path: Option<&Path>, previous: Option<&Config>) -> Result<Checked, Mistakes> {
    let Loaded { settings, mut mistakes, origin } = load::load::<Settings>(path)?;
    let planned = settings.map(|settings| {
        let plan = Plan::new(&settings, &origin, previous, &mut mistakes);
        (settings, plan)
    });
    Mistakes::some(mistakes)?;
    match planned {
        Some((settings, Some(plan))) => {
            let warnings = Mistakes::all(crate::check::warnings(&settings, &plan, &origin));
            Ok(Checked { config: Config { settings, plan: Arc::new(plan) }, warnings, origin })
        }
        // Not reached: without a plan there are mistakes.
        _ => Err(load::Mistake::new("the configuration cannot be used".to_owned()).into()),
    }
}
