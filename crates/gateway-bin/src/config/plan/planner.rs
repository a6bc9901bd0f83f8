//! What every part of the plan is made with: values or mistakes, what is kept from before, and references by name.

use super::RoutePlan;
use crate::config::Config;
use crate::config::load::{Mistake, Origin, nearest};
use crate::config::settings::{RouteSettings, Settings};
use gateway_core::units::Switch;
use gateway_routing::{HostPattern, RouteMatch};
use gateway_server::ListenAddress;
use gateway_store::Store;
use http::Method;
use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Display;
use std::net::IpAddr;

pub(super) struct Planner<'a> {
    pub(super) settings: &'a Settings,
    pub(super) origin: &'a Origin,
    pub(super) previous: Option<&'a Config>,
    pub(super) mistakes: &'a mut Vec<Mistake>,
    /// Made when first asked for.
    previous_routes: OnceCell<PreviousRoutes<'a>>,
}

/// The routes of the configuration before.
struct PreviousRoutes<'a> {
    /// `None` where several have the name, now or then: which of them it would be nobody knows.
    by_name: HashMap<&'a str, Option<&'a RoutePlan>>,
    by_requests: HashMap<Requests<'a>, Vec<&'a RoutePlan>>,
}

/// What mostly tells a route from others of the same name.
#[derive(PartialEq, Eq, Hash)]
struct Requests<'a> {
    name: &'a str,
    hosts: &'a [HostPattern],
    methods: &'a [Method],
}

impl<'a> Requests<'a> {
    fn of(name: &'a str, matches: &'a RouteMatch) -> Self {
        Self { name, hosts: &matches.hosts, methods: &matches.methods }
    }
}

impl<'a> PreviousRoutes<'a> {
    fn of(routes: &'a [RoutePlan], settings: &'a Settings) -> Self {
        let (mut by_name, mut by_requests) = (HashMap::new(), HashMap::<_, Vec<_>>::new());
        for route in routes {
            let name = route.name.as_str();
            by_name.entry(name).and_modify(|one| *one = None).or_insert(Some(route));
            by_requests.entry(Requests::of(name, &route.matches)).or_default().push(route);
        }
        let mut seen = HashSet::new();
        for name in settings.routes.iter().map(RouteSettings::name) {
            if !seen.insert(name) {
                by_name.insert(name, None);
            }
        }
        Self { by_name, by_requests }
    }
}

/// Whether both take the same requests; what is told of them does not matter.
fn is_same(one: &RouteMatch, other: &RouteMatch) -> bool {
    one.path == other.path
        && one.ignore_case == other.ignore_case
        && one.headers == other.headers
        && one.query == other.query
        && one.cookies == other.cookies
        && one.clients == other.clients
        && one.not_clients == other.not_clients
        && one.when == other.when
}

impl<'a> Planner<'a> {
    pub(super) fn new(
        settings: &'a Settings,
        origin: &'a Origin,
        previous: Option<&'a Config>,
        mistakes: &'a mut Vec<Mistake>,
    ) -> Self {
        Self { settings, origin, previous, mistakes, previous_routes: OnceCell::new() }
    }

    /// Where state stands. That of a running process stays whatever the settings say by now: workers have their
    /// connections to it, and what was counted and revoked is there.
    pub(super) fn store(&mut self) -> Option<Store> {
        let settings = &self.settings.store;
        let Some(previous) = self.previous else { return self.noted("store.redis", Store::open(settings)) };
        if previous.settings.store != *settings {
            self.noted("store.redis", Store::open(settings))?;
        }
        Some(previous.plan.store.clone())
    }

    /// What a route was in the configuration before: that of the same name and match, or, where it alone has the name
    /// now as then, the one of this name.
    pub(super) fn previous_route(&self, name: &str, matches: &RouteMatch) -> Option<&'a RoutePlan> {
        let previous = self.previous?;
        let known =
            self.previous_routes.get_or_init(|| PreviousRoutes::of(&previous.plan.routes, self.settings));
        let same = known.by_requests.get(&Requests::of(name, matches)).into_iter().flatten();
        same.copied()
            .find(|route| is_same(&route.matches, matches))
            .or_else(|| known.by_name.get(name).copied().flatten())
    }

    /// Sees to it that both listeners find a place.
    pub(super) fn listeners(&mut self) {
        let (Some(admin), ListenAddress::Tcp(server)) = (&self.settings.admin, &self.settings.server.listen)
        else {
            return;
        };
        let (admin, is_any) = (admin.listen, |ip: IpAddr| ip.is_unspecified());
        let meet = admin.ip() == server.ip() || is_any(admin.ip()) || is_any(server.ip());
        if meet && admin.port() == server.port() && admin.port() != 0 {
            let message =
                format!("`admin.listen` is {admin}, and `server.listen` is {server}; expected another port");
            self.mistakes.push(self.origin.mistake("admin.listen", message));
        }
    }

    /// The value, or its error as a mistake in a key, which is made into a text only then.
    pub(super) fn noted<T, E: Display>(&mut self, key: impl Display, result: Result<T, E>) -> Option<T> {
        let error = match result {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        let key = key.to_string();
        if !self.origin.is_known_wrong(&key) {
            // As it is written: the text of a variable may be a secret, and tells nothing of its place.
            let error = self.origin.concealed(&self.origin.original(&key), error.to_string());
            let below = self.origin.meant_below(&key, &error).unwrap_or_default();
            let meant = format!("{key}{below}");
            // What begins with a key's name and a colon need not say it twice.
            let rest = below.strip_prefix('.').and_then(|name| error.strip_prefix(&format!("`{name}`: ")));
            let shown = if rest.is_some() { &meant } else { &key };
            let message = format!("`{}`: {}", self.origin.original(shown), rest.unwrap_or(&error));
            let mistake = self.origin.mistake(&meant, message);
            // Else what is empty, or of the wrong kind, is looked for in the configuration.
            self.mistakes.push(match self.origin.source_of(&meant) {
                Some(source) => mistake.with_help(source),
                None => mistake,
            });
        }
        None
    }

    /// What the previous configuration made of the same settings, or, if they were others, of the same name.
    pub(super) fn kept<T: PartialEq, P: Clone>(
        &self,
        name: &str,
        now: &T,
        of: impl Fn(&'_ Config) -> (&BTreeMap<String, T>, &BTreeMap<String, P>),
    ) -> (Option<P>, Option<P>) {
        let Some(previous) = self.previous else { return (None, None) };
        let (settings, made) = of(previous);
        let made = made.get(name).cloned();
        if settings.get(name) == Some(now) { (made, None) } else { (None, made) }
    }

    /// The layer of a policy that is switched on.
    pub(super) fn switch<T, L, E: Display>(
        &mut self,
        key: &str,
        switch: &Switch<T>,
        make: impl Fn(&T) -> Result<L, E>,
    ) -> Option<L> {
        switch.on().and_then(|on| self.noted(key, make(on)))
    }

    /// A name that must be one of those defined in a table; `none` turns the policy off.
    pub(super) fn reference(
        &mut self,
        key: impl Display,
        name: Option<&str>,
        what: &str,
        pointer: &str,
    ) -> Option<String> {
        let name = name.filter(|name| *name != "none")?;
        if self.origin.defines(pointer, name) {
            return Some(name.to_owned());
        }
        let defined = self.origin.names(pointer);
        let mistake = self.origin.mistake(&key.to_string(), format!("there is no {what} `{name}`"));
        let help = match nearest(name, defined.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if name.parse::<gateway_ratelimit::Limit>().is_ok() => {
                format!("a limit has a name: `NAME = \"{name}\"` in [rate_limits]")
            }
            None if defined.is_empty() => format!("no {what} is defined"),
            None => format!("defined are {}", defined.join(", ")),
        };
        self.mistakes.push(mistake.with_help(help));
        None
    }
}
