//! What every part of the plan is made with: values or mistakes, what is kept from before, and references by name.

use crate::config::Config;
use crate::config::load::{Mistake, Origin, nearest};
use crate::config::settings::Settings;
use gateway_core::units::Switch;
use std::collections::BTreeMap;
use std::fmt::Display;

pub(super) struct Planner<'a> {
    pub(super) settings: &'a Settings,
    pub(super) origin: &'a Origin,
    pub(super) previous: Option<&'a Config>,
    pub(super) mistakes: &'a mut Vec<Mistake>,
}

impl Planner<'_> {
    /// The value, or its error as a mistake in a key.
    pub(super) fn noted<T, E: Display>(&mut self, key: &str, result: Result<T, E>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(_) if self.origin.is_unresolved(key) => None,
            Err(error) => {
                let message = format!("`{}`: {error}", self.origin.original(key));
                self.mistakes.push(self.origin.mistake(key, message));
                None
            }
        }
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
        key: &str,
        name: Option<&str>,
        what: &str,
        pointer: &str,
    ) -> Option<String> {
        let name = name.filter(|name| *name != "none")?;
        let defined = self.origin.names(pointer);
        if defined.contains(&name) {
            return Some(name.to_owned());
        }
        let mistake = self.origin.mistake(key, format!("there is no {what} `{name}`"));
        let help = match nearest(name, defined.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if defined.is_empty() => format!("no {what} is defined"),
            None => format!("defined are {}", defined.join(", ")),
        };
        self.mistakes.push(mistake.with_help(help));
        None
    }
}
