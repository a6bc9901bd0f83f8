use crate::AuthError;
use crate::identity::name::strip;
use crate::identity::settings::{AuthorizationHeader, HeaderSource, IdentityHeadersSettings};
use crate::identity::value::Source;
use gateway_core::Principal;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, Request};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::{Layer, Service};

/// Tells the service who calls, in headers: claims of the [`Principal`] under names of the operator's choice.
///
/// | header in the settings | the service gets |
/// |---|---|
/// | the claim is a text, a number or a boolean | its text |
/// | a list | its texts, numbers and booleans with the `separator` between; one that has a separator in it has it percent-encoded |
/// | nothing, `null`, a table, or nobody is recognised | no such header |
/// | text with control characters, or more than 8192 bytes | no such header, and a line in the log |
///
/// Characters beyond ASCII, and the percent sign, are percent-encoded as UTF-8: who decodes gets the claim back.
///
/// What clients send under these names never arrives, whoever calls and on every path: in any case, however often, and
/// with an underscore, a dot or another sign for a dash or the other way round, for there are services to which
/// `User-Id` and `user_id` are the same.
///
/// ```
/// use gateway_auth::{IdentityHeadersLayer, IdentityHeadersSettings};
/// let settings: IdentityHeadersSettings = serde_json::from_value(serde_json::json!({
///     "headers": { "X-User-ID": "sub", "X-User-Roles": { "claim": "@roles", "separator": "," } },
///     "authorization": "remove",
/// }))?;
/// let layer = IdentityHeadersLayer::new(&settings)?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct IdentityHeadersLayer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    sets: Vec<(HeaderName, Source, Box<str>)>,
    /// Those that are set, and further ones.
    strips: Vec<HeaderName>,
    authorization: AuthorizationHeader,
}

/// Headers that a claim must not decide about: they delimit the message or say where it goes.
const NEVER: [HeaderName; 6] = [HOST, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION, UPGRADE, AUTHORIZATION];

impl IdentityHeadersLayer {
    /// A layer with these settings.
    ///
    /// # Errors
    /// A header or a claim cannot be one.
    pub fn new(settings: &IdentityHeadersSettings) -> Result<Self, AuthError> {
        let preset = settings.preset.map_or(&[][..], |preset| preset.headers()).iter();
        let preset = preset.map(|(name, claim)| ((*name).to_owned(), HeaderSource::claim(*claim)));
        let mut headers: BTreeMap<String, HeaderSource> = preset.collect();
        headers.extend(
            settings.headers.iter().map(|(name, source)| (name.to_ascii_lowercase(), source.clone())),
        );
        let mut sets = Vec::new();
        for (name, source) in headers {
            let key = || format!("headers.{name}");
            let header = name.parse().map_err(|_| AuthError::Header(name.clone()))?;
            if NEVER.contains(&header) {
                return Err(AuthError::setting(
                    key(),
                    "it is not a claim's to set; expected a header of your own",
                ));
            }
            if source.separator.is_empty() || !source.separator.bytes().all(|b| (0x20..0x7f).contains(&b)) {
                return Err(AuthError::setting(
                    key(),
                    "`separator` is not printable ASCII; expected one like `,`",
                ));
            }
            let claim = Source::new(&source.claim).map_err(|why| AuthError::setting(key(), why))?;
            sets.push((header, claim, source.separator.into()));
        }
        let mut strips: Vec<HeaderName> = sets.iter().map(|(name, ..)| name.clone()).collect();
        for name in &settings.strip {
            strips.push(name.parse().map_err(|_| AuthError::Header(name.clone()))?);
        }
        Ok(Self(Arc::new(Shared { sets, strips, authorization: settings.authorization })))
    }

    /// The headers that only this layer may set: for an edge that strips them on every route, those without this layer
    /// too.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.0.strips.iter()
    }

    /// Does to the headers of a request what the layer does.
    pub fn apply(&self, caller: Option<&Principal>, headers: &mut HeaderMap) {
        strip(headers, &self.0.strips);
        if self.0.authorization == AuthorizationHeader::Remove {
            headers.remove(AUTHORIZATION);
        }
        let Some(caller) = caller else { return };
        for (name, source, separator) in &self.0.sets {
            match source.value(caller, separator) {
                Ok(Some(value)) => drop(headers.insert(name, value)),
                Ok(None) => {}
                Err(why) => {
                    tracing::warn!(header = name.as_str(), %why, "a claim is left out of the request")
                }
            }
        }
    }
}

impl<S> Layer<S> for IdentityHeadersLayer {
    type Service = IdentityHeaders<S>;
    fn layer(&self, inner: S) -> IdentityHeaders<S> {
        IdentityHeaders { inner, layer: self.clone() }
    }
}

/// The service of [`IdentityHeadersLayer`].
#[derive(Clone, Debug)]
pub struct IdentityHeaders<S> {
    inner: S,
    layer: IdentityHeadersLayer,
}

impl<S, B> Service<Request<B>> for IdentityHeaders<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        // Cheap: a reference count. The extensions and the headers cannot be borrowed at once.
        let caller = request.extensions().get::<Principal>().cloned();
        self.layer.apply(caller.as_ref(), request.headers_mut());
        self.inner.call(request)
    }
}
