//! What a route takes over from its group and the defaults.

use crate::config::load::join;
use crate::config::settings::{Policies, RouteSettings, Settings};

/// What a route, its group and the defaults say, in this order, and where.
pub(crate) struct Levels<'a>(Vec<(String, Policies<'a>)>);

impl<'a> Levels<'a> {
    /// Those of a route, from the most special to the most general.
    pub(crate) fn of(settings: &'a Settings, index: usize, route: &'a RouteSettings) -> Self {
        let mut levels = vec![(format!("routes[{index}]"), route.policies())];
        let group = route.group.as_ref().filter(|name| *name != "none");
        if let Some((name, group)) = group.and_then(|name| settings.groups.get_key_value(name)) {
            levels.push((join("groups", name), group.policies()));
        }
        levels.push(("defaults".to_owned(), settings.defaults.policies()));
        Self(levels)
    }

    /// The first that says something of a policy, and the key it stands in.
    pub(crate) fn first<T>(
        &self,
        name: &str,
        of: impl Fn(&Policies<'a>) -> Option<T>,
    ) -> (String, Option<T>) {
        let found = self.0.iter().find_map(|(place, policies)| Some((place, of(policies)?)));
        match found {
            Some((place, value)) => (format!("{place}.{name}"), Some(value)),
            None => (name.to_owned(), None),
        }
    }

    /// Where each stands and what it says, the most general first.
    pub(crate) fn outside_in(&self) -> impl Iterator<Item = (&str, &Policies<'a>)> {
        self.0.iter().rev().map(|(place, policies)| (place.as_str(), policies))
    }
}
