use crate::RateLimitLayer;
use crate::algorithm::Decision;
use crate::facts::Facts;
use crate::headers::policies;
use crate::key::{Key, readable};
use crate::limiter::{Case, Later, Limiter, Note, Place, Standing, Verdict, would};
use crate::plan::{Chosen, Outcome, Plan, is_tighter};
use crate::settings::Shared;
use futures_util::future::join_all;
use gateway_core::Limited;
use http::{Extensions, HeaderMap, Request, Response};
use std::sync::Arc;
use std::time::Duration;

/// What each limit has to do with one request.
#[derive(Debug)]
pub(crate) struct Parts(Vec<Part>);

/// What one limit has to do with it.
#[derive(Debug)]
struct Part {
    layer: RateLimitLayer,
    plan: Arc<Plan>,
    key: Key,
    cost: u32,
    /// Where others may have to be told of it, whose request it is.
    caller: String,
    /// Whether its store has to be asked about this request.
    is_on_a_server: bool,
    /// `None` as long as it has not been asked.
    standing: Option<Standing>,
}

/// Response extension: how tight the limits are of which the fields tell, for a layer around this one.
#[derive(Clone, Copy, Debug)]
struct Tightest {
    decision: Decision,
    enforced: bool,
}

impl Tightest {
    /// What a layer within has told of.
    fn within(extensions: &Extensions) -> Option<Self> {
        let refused = || match extensions.get() {
            Some(Limited::By(_)) => Some(Self { decision: *extensions.get()?, enforced: true }),
            _ => None,
        };
        extensions.get().copied().or_else(refused)
    }

    /// Who refuses goes before who would.
    fn is_tighter(&self, other: &Self) -> bool {
        match (self.enforced, other.enforced) {
            (true, false) => true,
            (false, true) => false,
            _ => is_tighter(&self.decision, &other.decision),
        }
    }
}

impl Part {
    fn limiter(&self) -> &Arc<Limiter> {
        &self.layer.limiter
    }

    /// Decides in this process, from its counts or its share.
    fn here(&mut self, taking: bool) {
        let limiter = self.limiter();
        let taking = taking && limiter.takes_at_once();
        let case = Case { plan: Chosen::Own(&self.plan), key: self.key, cost: self.cost };
        self.standing = Some(match self.layer.store {
            None => limiter.decide(&case, taking),
            Some(_) => match limiter.lease(&case, || self.caller.clone(), taking) {
                Some(standing) => standing,
                None if self.standing.is_none() => {
                    self.is_on_a_server = true;
                    return;
                }
                // Others have come since it was looked at.
                None => Standing::Found(Outcome::soon(), Place::Server),
            },
        });
    }

    fn found(&self) -> Option<(&Outcome, Place)> {
        match &self.standing {
            Some(Standing::Found(outcome, place)) => Some((outcome, *place)),
            _ => None,
        }
    }

    fn refuses(&self) -> bool {
        match &self.standing {
            Some(Standing::Found(outcome, _)) => outcome.decision.is_refusal() && self.limiter().enforces(),
            Some(Standing::Away) => self.limiter().enforces(),
            Some(Standing::Passed) | None => false,
        }
    }

    /// Where it has been taken from.
    fn taken(&self) -> Option<Place> {
        let (outcome, place) = self.found()?;
        (self.limiter().takes_at_once() && self.cost > 0 && !outcome.decision.is_refusal()).then_some(place)
    }

    /// Gives back what was taken in this process.
    fn give_back(&self) {
        let (limiter, now) = (self.limiter(), self.limiter().clock.now());
        let back = -i64::from(self.cost);
        match self.taken() {
            Some(Place::Here) => limiter.counts.take(self.key, now, back, &self.plan.rules),
            Some(Place::Share) => limiter.counts.take(self.key, now, back, &self.plan.shares),
            Some(Place::Server) if !self.is_on_a_server => {
                limiter.shared.settle_share(self.key, back);
            }
            Some(Place::Server) | None => {}
        }
    }

    /// What is to be done when the answer comes.
    fn note(self) -> Option<Note> {
        let (outcome, place) = self.found().map(|(outcome, place)| (*outcome, place))?;
        let Self { layer, plan, key, cost, caller, .. } = self;
        let limiter = layer.limiter;
        let caller = (!caller.is_empty()).then(|| caller.into_boxed_str());
        let unsettled = limiter.settle.is_by_answer().then(|| layer.scope.tally.clone());
        Some(Note { limiter, plan, key, cost, outcome, caller, place, unsettled })
    }

    fn tightness(&self) -> Option<Tightest> {
        let (outcome, _) = self.found()?;
        Some(Tightest { decision: outcome.decision, enforced: self.limiter().enforces() })
    }
}

impl Parts {
    pub(crate) fn of<B>(layers: &[RateLimitLayer], request: &Request<B>) -> Self {
        let parts = layers.iter().filter_map(|layer| {
            let facts = Facts::of(request, &layer.scope);
            let Case { plan, key, cost } = layer.limiter.case(&facts)?;
            let told = layer.store.is_some() || plan.has_quota();
            let caller = if told { readable(&layer.limiter.by, &facts) } else { String::new() };
            let is_on_a_server = layer.store.is_some() && layer.limiter.shared.mode() != Shared::Leased;
            let (layer, plan) = (layer.clone(), plan.clone());
            Some(Part { layer, plan, key, cost, caller, is_on_a_server, standing: None })
        });
        Self(parts.collect())
    }

    /// Asks for an answer that all of them can read.
    pub(crate) fn want_plain(&self, headers: &mut HeaderMap) {
        self.0.iter().for_each(|part| part.limiter().wants_plain(headers));
    }

    /// Asks whoever can be asked in this process, and takes nothing.
    pub(crate) fn look(&mut self) {
        for part in self.0.iter_mut().filter(|part| !part.is_on_a_server) {
            part.here(false);
        }
    }

    pub(crate) fn is_refused(&self) -> bool {
        self.0.iter().any(Part::refuses)
    }

    pub(crate) fn ask_a_server(&self) -> bool {
        self.0.iter().any(|part| part.is_on_a_server)
    }

    /// Takes from all in this process; from none if one of them has come to its end since they were looked at.
    pub(crate) fn take_here(&mut self) {
        for i in 0..self.0.len() {
            if self.0[i].is_on_a_server {
                continue;
            }
            self.0[i].here(true);
            if self.0[i].refuses() {
                // Those after it still stand as they were looked at.
                let before = self.0[..i].iter().filter(|part| !part.is_on_a_server);
                return before.for_each(Part::give_back);
            }
        }
    }

    /// Asks the servers in a task that ends by itself, whether the request is still there or not: otherwise who hangs
    /// up would keep what one limit gave and another one refuses.
    pub(crate) async fn asked(self) -> Verdict {
        match tokio::spawn(self.ask()).await {
            Ok(verdict) => verdict,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime ends, and the request with it.
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// Asks the servers, all at once, and takes in this process if they have room.
    async fn ask(mut self) -> Verdict {
        let asking = self.0.iter_mut().filter(|part| part.is_on_a_server).map(async |part| {
            if let Some(store) = &part.layer.store {
                let (limiter, plan) = (&part.layer.limiter, &part.plan);
                part.standing = Some(limiter.reach(store, plan, (part.key, part.cost), &part.caller).await);
            }
        });
        join_all(asking).await;
        if !self.is_refused() {
            self.take_here();
        }
        let refused = self.is_refused();
        let after = self.0.iter().filter(|part| part.is_on_a_server).map(async |part| {
            let (Some(store), Some((outcome, place))) = (&part.layer.store, part.found()) else { return };
            let limiter = part.limiter();
            if !refused && place == Place::Server && part.plan.has_quota() {
                let remote = crate::limiter::remote_key(&part.plan, &part.caller);
                limiter.mark(store, &part.plan, &remote, outcome).await;
            } else if refused && part.taken() == Some(Place::Server) {
                limiter.return_to(store, &part.plan, part.cost, &part.caller).await;
            } else if refused {
                part.give_back();
            }
        });
        join_all(after).await;
        self.verdict()
    }

    pub(crate) fn verdict(self) -> Verdict {
        if self.is_refused() {
            return self.refused();
        }
        let mut longest = Duration::ZERO;
        for part in &self.0 {
            let Some(standing) = &part.standing else { continue };
            part.limiter().count(standing, &part.layer.scope.tally);
            let Standing::Found(outcome, place) = standing else { continue };
            let marks = part.limiter().marks(&part.plan, outcome, *place, part.cost);
            part.limiter().say(&part.plan, &marks, &part.caller);
            if let Decision::Delay { delay, .. } = outcome.decision
                && part.limiter().enforces()
            {
                longest = longest.max(delay);
            }
        }
        if self.0.is_empty() {
            return Verdict::Pass(None);
        }
        let later = Some(Later::Several(self));
        if longest.is_zero() { Verdict::Pass(later) } else { Verdict::Wait(longest, later) }
    }

    fn refused(self) -> Verdict {
        let refusing = || self.0.iter().filter(|part| part.refuses());
        for part in refusing() {
            if let Some(standing) = &part.standing {
                part.limiter().count(standing, &part.layer.scope.tally);
            }
        }
        let mut headers = HeaderMap::new();
        self.tell(&mut headers, None);
        let speaks = tightest(refusing());
        let refusal = match speaks.and_then(|part| Some((part, part.found()?.0))) {
            Some((part, outcome)) => Some(part.limiter().refusal(&part.plan, outcome, headers)),
            None => refusing().next().map(|part| part.limiter().unavailable()),
        };
        match refusal {
            Some(refusal) => Verdict::Refuse(Box::new(refusal)),
            // Not reached: it is only called if one refuses.
            None => Verdict::Pass(None),
        }
    }

    /// Writes the fields of the tightest limit, unless those of a layer within are tighter, and the policies of all.
    fn tell(&self, headers: &mut HeaderMap, within: Option<Tightest>) -> Option<Tightest> {
        let speaks = |part: &Part| match (part.tightness(), within) {
            (Some(own), Some(within)) => own.is_tighter(&within),
            (own, _) => own.is_some(),
        };
        if let Some(part) = tightest(self.0.iter().filter(|part| part.limiter().standard))
            && speaks(part)
            && let Some((outcome, _)) = part.found()
        {
            part.plan.names.left(outcome, headers);
        }
        if let Some(part) = tightest(self.0.iter().filter(|part| part.limiter().legacy))
            && speaks(part)
            && let Some((outcome, _)) = part.found()
        {
            part.plan.names.legacy(outcome, headers);
        }
        let told = self.0.iter().filter(|part| part.limiter().standard);
        policies(told.map(|part| part.plan.names.policy()), within.is_some(), headers);
        let own = tightest(self.0.iter()).and_then(Part::tightness);
        match (own, within) {
            (Some(own), Some(within)) => Some(if own.is_tighter(&within) { own } else { within }),
            (own, within) => own.or(within),
        }
    }

    /// Tells the client, and settles what the answer's head says.
    pub(crate) fn answered<R>(self, response: &mut Response<R>) {
        let within = Tightest::within(response.extensions());
        if let Some(tightest) = self.tell(response.headers_mut(), within) {
            response.extensions_mut().insert(tightest);
        }
        for part in self.0 {
            if let Some(Standing::Away) = part.standing {
                would(&part.layer.limiter.name, response);
            }
            if let Some(note) = part.note() {
                note.settled(response);
            }
        }
    }

    /// The request was sent, and whoever asked has gone before its answer.
    pub(crate) fn broke_off(self) {
        self.0.into_iter().filter_map(Part::note).for_each(|note| note.missing());
    }
}

/// Of limits that enforce, or else of those that report, the tightest; of equals the first.
fn tightest<'a>(parts: impl Iterator<Item = &'a Part>) -> Option<&'a Part> {
    let mut found: Option<(&Part, Tightest)> = None;
    for part in parts {
        let Some(own) = part.tightness() else { continue };
        if found.as_ref().is_none_or(|(_, other)| own.is_tighter(other)) {
            found = Some((part, own));
        }
    }
    found.map(|(part, _)| part)
}
