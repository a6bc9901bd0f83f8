//! Rules, compiled: what a request must be like, and what it is told if it is not.

use crate::authorize::claim::ClaimCheck;
use crate::authorize::settings::{AuthorizeSettings, Matching};
use crate::{AuthError, Head, OneOrMany};
use gateway_core::{ClientAddr, Network, Principal};
use http::Method;
use http::header::USER_AGENT;
use std::net::IpAddr;

/// Why a request does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lack<'a> {
    /// Nobody is recognised, and it matters who calls.
    Caller,
    /// These scopes, in words.
    Scopes(&'a str),
    /// Something else; clients are told this much.
    Other(&'static str),
}

/// All must hold, in this order: what costs least first, scopes last. So whoever is told that a scope is missing
/// would pass with it.
#[derive(Debug, Default)]
pub(crate) struct Rule {
    networks: Option<Networks>,
    agents: Option<Agents>,
    authenticated: bool,
    principals: Vec<Box<str>>,
    roles: Option<Words>,
    claims: Vec<ClaimCheck>,
    all: Vec<Rule>,
    any: Vec<Rule>,
    not: Option<Box<Rule>>,
    methods: Vec<(Method, Rule)>,
    /// For methods that are not named.
    others: Option<Box<Rule>>,
    scopes: Option<Words>,
}

#[derive(Debug)]
struct Words {
    claim: Option<Box<str>>,
    matching: Matching,
    words: Vec<Box<str>>,
    /// As they stand in `WWW-Authenticate`.
    text: Box<str>,
}

impl Words {
    /// By a claim of the caller if one is named, else by what the caller is known to have.
    fn hold(&self, caller: &Principal, known: fn(&Principal, &str) -> bool) -> bool {
        let mut words = self.words.iter().map(|word| &**word);
        let has = |word: &str| match &self.claim {
            Some(claim) => caller.texts(claim).any(|has| has == word),
            None => known(caller, word),
        };
        match self.matching {
            Matching::All => words.all(has),
            Matching::Any => words.any(has),
        }
    }
}

#[derive(Debug)]
struct Networks {
    allow: Vec<Network>,
    deny: Vec<Network>,
}

impl Networks {
    /// An address that is not known is on no list of those who may, and may be on any of those who may not.
    fn hold(&self, address: Option<IpAddr>) -> bool {
        let Some(address) = address else { return false };
        let within = |networks: &[Network]| networks.iter().any(|network| network.contains(address));
        (self.allow.is_empty() || within(&self.allow)) && !within(&self.deny)
    }
}

#[derive(Debug)]
struct Agents {
    allow: Vec<Box<str>>,
    deny: Vec<Box<str>>,
}

impl Agents {
    fn hold(&self, agent: &[u8]) -> bool {
        let has = |parts: &[Box<str>]| {
            let mut parts = parts.iter().map(|part| part.as_bytes());
            parts.any(|part| agent.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part)))
        };
        (self.allow.is_empty() || has(&self.allow)) && !has(&self.deny)
    }
}

impl Rule {
    /// Whether a request passes.
    pub(crate) fn check<'a>(&'a self, caller: Option<&Principal>, head: Head<'_>) -> Result<(), Lack<'a>> {
        if let Some(networks) = &self.networks
            && !networks.hold(head.extensions.get::<ClientAddr>().map(ClientAddr::ip))
        {
            return Err(Lack::Other("not from this address"));
        }
        if let Some(agents) = &self.agents
            && !agents.hold(head.headers.get(USER_AGENT).map_or(b"", |agent| agent.as_bytes()))
        {
            return Err(Lack::Other("not with this user agent"));
        }
        let caller = match (self.is_about_callers(), caller) {
            (true, None) => return Err(Lack::Caller),
            (_, caller) => caller,
        };
        if let Some(caller) = caller {
            self.check_caller(caller)?;
        }
        for rule in &self.all {
            rule.check(caller, head)?;
        }
        if !self.any.is_empty() {
            check_any(&self.any, caller, head)?;
        }
        if let Some(rule) = &self.not {
            match rule.check(caller, head) {
                Ok(()) => return Err(Lack::Other("what the caller is rules it out")),
                Err(Lack::Caller) => return Err(Lack::Caller),
                Err(_) => {}
            }
        }
        if let Some(rule) = self.for_method(head.method) {
            rule.check(caller, head)?;
        }
        match (&self.scopes, caller) {
            (Some(scopes), Some(caller)) if !scopes.hold(caller, Principal::has_scope) => {
                Err(Lack::Scopes(&scopes.text))
            }
            _ => Ok(()),
        }
    }

    fn is_about_callers(&self) -> bool {
        self.authenticated
            || self.scopes.is_some()
            || self.roles.is_some()
            || !self.claims.is_empty()
            || !self.principals.is_empty()
    }

    fn check_caller(&self, caller: &Principal) -> Result<(), Lack<'_>> {
        if !self.principals.is_empty() && !self.principals.iter().any(|id| **id == *caller.id()) {
            return Err(Lack::Other("not for this caller"));
        }
        if self.roles.as_ref().is_some_and(|roles| !roles.hold(caller, Principal::has_role)) {
            return Err(Lack::Other("a role is missing"));
        }
        match self.claims.iter().all(|check| check.holds(caller.claim_at(check.path()))) {
            true => Ok(()),
            false => Err(Lack::Other("a claim is not what it must be")),
        }
    }

    fn for_method(&self, method: &Method) -> Option<&Rule> {
        let named =
            |method: &Method| self.methods.iter().find(|(known, _)| known == method).map(|(_, rule)| rule);
        // A HEAD tells of a resource what a GET would.
        let same = || if *method == Method::HEAD { named(&Method::GET) } else { None };
        named(method).or_else(same).or(self.others.as_deref())
    }
}

/// One of them must hold. If none does, credentials would help most, then scopes.
fn check_any<'a>(rules: &'a [Rule], caller: Option<&Principal>, head: Head<'_>) -> Result<(), Lack<'a>> {
    let mut worst = None;
    for rule in rules {
        match (rule.check(caller, head), worst) {
            (Ok(()), _) => return Ok(()),
            (Err(Lack::Caller), _) => worst = Some(Lack::Caller),
            (Err(lack), None | Some(Lack::Other(_))) => worst = Some(lack),
            (Err(_), Some(_)) => {}
        }
    }
    worst.map_or(Ok(()), Err)
}

impl Rule {
    /// The rules of a group; `key` is where it stands.
    pub(crate) fn new(settings: &AuthorizeSettings, key: &str) -> Result<Self, AuthError> {
        let at = |name: &str| if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") };
        if !key.is_empty() && (settings.mode.is_some() || settings.realm.is_some()) {
            let name = if settings.mode.is_some() { "mode" } else { "realm" };
            return Err(AuthError::setting(at(name), "it stands in a group; expected it at the top only"));
        }
        if settings.cedar.is_some() {
            let why = match key.is_empty() {
                true => "policies stand beside the rules, in a layer of their own; expected rules only",
                false => "it stands in a group; expected it at the top only",
            };
            return Err(AuthError::setting(at("cedar"), why));
        }
        let group = |name: &str, groups: &[AuthorizeSettings]| {
            let rule =
                |(i, group): (usize, &AuthorizeSettings)| Self::said(group, &format!("{}[{i}]", at(name)));
            groups.iter().enumerate().map(rule).collect::<Result<Vec<_>, _>>()
        };
        let claims = settings.claims.iter();
        let claims = claims.map(|(path, rule)| ClaimCheck::new(&at("claims"), path, rule));
        let some = !settings.networks.is_empty() || !settings.deny_networks.is_empty();
        let networks =
            some.then(|| Networks { allow: settings.networks.clone(), deny: settings.deny_networks.clone() });
        let (methods, others) = methods(settings, &at("methods"))?;
        let words = |name: &str, words: &Option<OneOrMany>, claim: &Option<String>, matching| {
            let words = words.as_ref().map(|words| list(words, claim.as_deref(), matching));
            let empty = words.as_ref().is_some_and(|words| words.words.is_empty());
            match empty {
                true => {
                    Err(AuthError::setting(at(name), "there is nothing in it; expected at least one name"))
                }
                false => Ok(words),
            }
        };
        Ok(Self {
            networks,
            agents: agents(settings, &at("user_agents"))?,
            authenticated: settings.authenticated,
            principals: settings.principals.iter().map(|id| id.as_str().into()).collect(),
            roles: words(
                "roles",
                &settings.roles,
                &settings.roles_claim,
                settings.roles_match.unwrap_or(Matching::Any),
            )?,
            claims: claims.collect::<Result<_, _>>()?,
            all: group("all", &settings.all)?,
            any: group("any", &settings.any)?,
            not: match &settings.not {
                Some(group) => Some(Box::new(Self::said(group, &at("not"))?)),
                None => None,
            },
            methods,
            others,
            scopes: words(
                "scopes",
                &settings.scopes,
                &settings.scopes_claim,
                settings.scopes_match.unwrap_or(Matching::All),
            )?,
        })
    }

    /// The same of a group that must say something.
    pub(crate) fn said(settings: &AuthorizeSettings, key: &str) -> Result<Self, AuthError> {
        let rule = Self::new(settings, key)?;
        let says_nothing = rule.networks.is_none()
            && rule.agents.is_none()
            && !rule.is_about_callers()
            && rule.all.is_empty()
            && rule.any.is_empty()
            && rule.not.is_none()
            && rule.methods.is_empty()
            && rule.others.is_none();
        match says_nothing {
            true => Err(AuthError::setting(
                if key.is_empty() { "authorize" } else { key },
                "it says nothing; expected a rule such as `roles = [\"admin\"]` or `authenticated = true`",
            )),
            false => Ok(rule),
        }
    }
}

fn list(words: &OneOrMany, claim: Option<&str>, matching: Matching) -> Words {
    let words: Vec<Box<str>> = match words {
        OneOrMany::One(text) => text.split_ascii_whitespace().map(Box::from).collect(),
        OneOrMany::Many(list) => list.iter().map(|word| word.as_str().into()).collect(),
    };
    Words { claim: claim.map(Box::from), matching, text: words.join(" ").into(), words }
}

fn agents(settings: &AuthorizeSettings, key: &str) -> Result<Option<Agents>, AuthError> {
    let (allow, deny) = (&settings.user_agents, &settings.deny_user_agents);
    if allow.iter().chain(deny).any(String::is_empty) {
        return Err(AuthError::setting(key, "a part is empty, and so in every name; expected some text"));
    }
    let parts = |parts: &[String]| parts.iter().map(|part| part.as_str().into()).collect();
    let some = !allow.is_empty() || !deny.is_empty();
    Ok(some.then(|| Agents { allow: parts(allow), deny: parts(deny) }))
}

type Methods = (Vec<(Method, Rule)>, Option<Box<Rule>>);

fn methods(settings: &AuthorizeSettings, key: &str) -> Result<Methods, AuthError> {
    let (mut named, mut others) = (Vec::<(Method, Rule)>::new(), None);
    for (names, group) in &settings.methods {
        for name in names.split(',').map(str::trim) {
            let rule = Rule::new(group, &format!("{key}.{name}"))?;
            if name == "*" {
                others = Some(Box::new(rule));
                continue;
            }
            let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-');
            let method = name.to_ascii_uppercase().parse::<Method>().ok().filter(|_| is_name);
            let method = method.ok_or_else(|| {
                AuthError::setting(key, format!("`{name}` is no method; expected `GET`, `POST,PUT` or `*`"))
            })?;
            if named.iter().any(|(known, _)| *known == method) {
                return Err(AuthError::setting(key, format!("`{method}` is named twice; expected it once")));
            }
            named.push((method, rule));
        }
    }
    Ok((named, others))
}
