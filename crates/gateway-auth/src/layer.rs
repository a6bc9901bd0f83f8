use crate::jwt::method::JwtMethod;
use crate::method::{Check, Head, Login, Method, Passed, Refusal, Verdict};
use crate::service::Auth;
use crate::{AuthError, AuthPolicy, HeaderNames, JwtSettings, Mode, PublicPath, Require, Revocations};
use gateway_core::{Code, Principal, Problem};
use gateway_store::Store;
use http::header::{HeaderName, WWW_AUTHENTICATE};
use http::request;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use tower::Layer;

/// Lets requests pass whose caller one of several methods recognises; see the [crate's page](crate).
///
/// | the methods, in their order, find | the request |
/// |---|---|
/// | no credential | 401 `missing-credentials` with the challenges of all, or a redirect to a login; passes as anonymous where `optional` |
/// | a good one | passes, whatever else it carries |
/// | a bad one that is surely meant for this method | is refused with this method's answer |
/// | something that may be meant for another method | is left to the next; if none knows it, the first one's answer |
///
/// With `require = "all"` every method must find a good one; the principal is that of the first.
#[derive(Clone, Debug)]
pub struct AuthLayer(Arc<Shared>);

#[derive(Clone, Debug)]
struct Shared {
    methods: Vec<Arc<dyn Method>>,
    /// Those whose `strip` does something.
    strippers: Vec<Arc<dyn Method>>,
    missing: Problem,
    require: Require,
    optional: bool,
    mode: Mode,
    public: Vec<PublicPath>,
}

impl AuthLayer {
    /// A layer that asks these methods in this order.
    #[must_use]
    pub fn new(methods: Vec<Arc<dyn Method>>, policy: &AuthPolicy) -> Self {
        let challenges = methods.iter().filter_map(|method| method.challenge());
        let missing = challenges.fold(Problem::new(Code::MissingCredentials), |problem, challenge| {
            problem.with_header(WWW_AUTHENTICATE, challenge.clone())
        });
        let hints = methods.iter().filter_map(|method| method.hint());
        let missing = hints.fold(missing, |problem, (name, value)| problem.with_header(name, value));
        Self(Arc::new(Shared {
            strippers: strippers(&methods),
            methods,
            missing,
            require: policy.require,
            optional: policy.optional,
            mode: policy.mode,
            public: policy.public.clone(),
        }))
    }

    /// The same layer over another connection to the store, such as that of a thread with its own runtime
    /// ([`Store::per_worker`]).
    #[must_use]
    pub fn with_store(&self, store: &Store) -> Self {
        let same = |method: &Arc<dyn Method>| method.with_store(store).unwrap_or_else(|| method.clone());
        let methods: Vec<_> = self.0.methods.iter().map(same).collect();
        Self(Arc::new(Shared { strippers: strippers(&methods), methods, ..(*self.0).clone() }))
    }

    /// The same layer with nobody asked: every request passes as this caller, or as nobody, and loses what it would
    /// lose to the methods. For whoever wants to know what a service gets, before there is a request.
    #[must_use]
    pub fn unasked(&self, caller: Option<&Principal>) -> Self {
        let stand_in = |of: &Arc<dyn Method>| -> Arc<dyn Method> {
            Arc::new(Unasked { of: of.clone(), caller: caller.cloned() })
        };
        let methods: Vec<_> = self.0.methods.iter().map(stand_in).collect();
        let (require, mode, optional) = (Require::Any, Mode::Enforce, true);
        let strippers = strippers(&methods);
        Self(Arc::new(Shared { strippers, methods, require, mode, optional, ..(*self.0).clone() }))
    }

    /// Whether one of the methods may have to see a body, for which there must be a
    /// [`SignedBodyLayer`](crate::SignedBodyLayer).
    #[must_use]
    pub fn reads_bodies(&self) -> bool {
        self.0.methods.iter().any(|method| method.max_body().is_some())
    }

    /// How much of this request's body a method has to see, at most.
    pub(crate) fn wants_body(&self, head: Head<'_>) -> Option<u64> {
        let wanting = self.0.methods.iter().filter(|method| method.wants_body(head));
        let most = wanting.filter_map(|method| method.max_body()).max()?;
        (!self.0.public.iter().any(|path| path.matches(head))).then_some(most)
    }

    /// The methods that say what must not reach the service.
    pub(crate) fn strippers(&self) -> &[Arc<dyn Method>] {
        &self.0.strippers
    }

    pub(crate) fn mode(&self) -> Mode {
        self.0.mode
    }

    /// Asks the methods until one decides, or has to ask somebody itself.
    pub(crate) fn ask(&self, head: Head<'_>) -> Step {
        if self.0.public.iter().any(|path| path.matches(head)) {
            return Step::Done(Ok(Passed::default()));
        }
        self.ask_from(Asked::default(), head)
    }

    /// Takes what the method that had to ask says, and asks the rest.
    pub(crate) fn resume(&self, mut asked: Asked, verdict: Verdict, head: Head<'_>) -> Step {
        match asked.settle(verdict, self.0.require) {
            Some(decision) => Step::Done(decision),
            None => self.ask_from(asked, head),
        }
    }

    fn ask_from(&self, mut asked: Asked, head: Head<'_>) -> Step {
        while let Some(method) = self.0.methods.get(asked.methods) {
            asked.methods += 1;
            match method.check(head) {
                Check::Wait(verdict) => return Step::Wait(asked, verdict),
                Check::Done(verdict) => {
                    if let Some(decision) = asked.settle(verdict, self.0.require) {
                        return Step::Done(decision);
                    }
                }
            }
        }
        let login = asked.login.take();
        Step::Done(match asked {
            Asked { foreign: Some(refusal), .. } => Err(refusal),
            Asked { passed: Some(passed), absent: false, .. } => Ok(passed),
            Asked { passed: None, .. } if self.0.optional => Ok(Passed::default()),
            _ => match login {
                Some(login) => {
                    let verdict = async move { Verdict::Refused(login.answer().await) };
                    return Step::Wait(asked, Box::pin(verdict));
                }
                None => Err(self.0.missing.clone().into()),
            },
        })
    }
}

fn strippers(methods: &[Arc<dyn Method>]) -> Vec<Arc<dyn Method>> {
    methods.iter().filter(|method| method.strips()).cloned().collect()
}

/// What stands in for a method: it recognises who it is told to, and takes from requests what the method takes.
#[derive(Debug)]
struct Unasked {
    of: Arc<dyn Method>,
    caller: Option<Principal>,
}

impl Method for Unasked {
    fn check(&self, _: Head<'_>) -> Check {
        Check::Done(self.caller.clone().map_or(Verdict::Absent, Verdict::passed))
    }

    fn strips(&self) -> bool {
        self.of.strips()
    }

    fn strip(&self, request: &mut request::Parts) {
        self.of.strip(request);
    }

    fn sets(&self) -> HeaderNames {
        self.of.sets()
    }

    fn reads(&self) -> Vec<HeaderName> {
        self.of.reads()
    }
}

/// How far the methods were asked.
pub(crate) enum Step {
    /// To the end.
    Done(Result<Passed, Refusal>),
    /// To one that asks somebody itself.
    Wait(Asked, Pin<Box<dyn Future<Output = Verdict> + Send>>),
}

/// What was asked so far.
#[derive(Default)]
pub(crate) struct Asked {
    /// How many methods.
    methods: usize,
    /// Whether one found nothing.
    absent: bool,
    /// The answer of the first that found something it did not know.
    foreign: Option<Refusal>,
    /// The answer of the first that found nothing and knows how to come by it.
    login: Option<Login>,
    /// What those that recognised the caller say, where all must.
    passed: Option<Passed>,
}

impl Asked {
    /// The decision, if this verdict is one.
    fn settle(&mut self, verdict: Verdict, require: Require) -> Option<Result<Passed, Refusal>> {
        match (verdict, require) {
            (Verdict::Absent, _) => self.absent = true,
            (Verdict::Login(login), _) => {
                self.absent = true;
                self.login.get_or_insert(login);
            }
            (Verdict::Foreign(refusal), Require::Any) => {
                self.foreign.get_or_insert(refusal);
            }
            (Verdict::Passed(passed), Require::Any) => return Some(Ok(passed)),
            (Verdict::Passed(passed), Require::All) => match &mut self.passed {
                None => self.passed = Some(passed),
                Some(first) => first.extend(passed),
            },
            (Verdict::Refused(refusal), _) | (Verdict::Foreign(refusal), Require::All) => {
                return Some(Err(refusal));
            }
        }
        None
    }
}

impl<S> Layer<S> for AuthLayer {
    type Service = Auth<S>;
    fn layer(&self, inner: S) -> Auth<S> {
        Auth { inner, layer: self.clone() }
    }
}

/// Lets requests with a good JSON Web Token pass, and no others: [`AuthLayer`] with a [`JwtMethod`] alone. Clones
/// share keys, verified tokens and revocations.
#[derive(Clone, Debug)]
pub struct JwtLayer {
    method: JwtMethod,
    layer: AuthLayer,
}

impl JwtLayer {
    /// A layer with these settings, which remembers in this store.
    ///
    /// # Errors
    /// The settings hold no usable key, or algorithms that do not go with it.
    pub fn new(settings: &JwtSettings, store: Store) -> Result<Self, AuthError> {
        Ok(Self::of(JwtMethod::new(settings, store)?))
    }

    fn of(method: JwtMethod) -> Self {
        let layer = AuthLayer::new(vec![Arc::new(method.clone())], &AuthPolicy::default());
        Self { method, layer }
    }

    /// The method, for an [`AuthLayer`] with others.
    #[must_use]
    pub fn method(&self) -> &JwtMethod {
        &self.method
    }

    /// The same layer over another connection to the store, such as that of a thread with its own runtime
    /// ([`Store::per_worker`]).
    #[must_use]
    pub fn with_store(&self, store: Store) -> Self {
        Self::of(self.method.on(store))
    }

    /// What revokes the tokens of this layer.
    #[must_use]
    pub fn revocations(&self) -> Revocations {
        self.method.revocations()
    }

    /// See [`JwtMethod::refresh`].
    pub fn refresh(&self) -> impl Future<Output = ()> + Send + use<> {
        self.method.refresh()
    }

    /// See [`JwtMethod::listen`].
    pub fn listen(&self) -> impl Future<Output = ()> + Send + use<> {
        self.method.listen()
    }

    /// How many signatures were checked so far, on all clones.
    #[must_use]
    pub fn verifications(&self) -> u64 {
        self.method.verifications()
    }
}

impl<S> Layer<S> for JwtLayer {
    type Service = Auth<S>;
    fn layer(&self, inner: S) -> Auth<S> {
        self.layer.layer(inner)
    }
}
