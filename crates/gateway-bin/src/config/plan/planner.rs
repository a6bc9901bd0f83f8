//! What every part of the plan is made with: values or mistakes, what is kept from before, and references by name.

use super::RoutePlan;
use crate::config::Config;
use crate::config::load::{Mistake, Origin, nearest};
use crate::config::settings::Settings;
use gateway_core::units::Switch;
use gateway_server::ListenAddress;
use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::net::IpAddr;

pub(super) struct Planner<'a> {
    pub(super) settings: &'a Settings,
    pub(super) origin: &'a Origin,
    pub(super) previous: Option<&'a Config>,
    pub(super) mistakes: &'a mut Vec<Mistake>,
    /// Those of the configuration before, by name where only one has it; made when first asked for.
    previous_routes: OnceCell<HashMap<&'a str, Option<&'a RoutePlan>>>,
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

    /// The configuration before, if its state stands where that of this one does.
    pub(super) fn previous_on_this_store(&self) -> Option<&'a Config> {
        self.previous.filter(|previous| previous.settings.store == self.settings.store)
    }

    /// The one route of this name in the configuration before.
    pub(super) fn previous_route(&self, name: &str) -> Option<&'a RoutePlan> {
        let routes = self.previous_routes.get_or_init(|| {
            let mut routes = HashMap::new();
            for route in self.previous.iter().flat_map(|previous| &previous.plan.routes) {
                routes.entry(route.name.as_str()).and_modify(|one| *one = None).or_insert(Some(route));
            }
            routes
        });
        routes.get(name).copied().flatten()
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
            self.mistakes.push(self.origin.mistake(&meant, message));
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
            None if defined.is_empty() => format!("no {what} is defined"),
            None => format!("defined are {}", defined.join(", ")),
        };
        self.mistakes.push(mistake.with_help(help));
        None
    }
}
