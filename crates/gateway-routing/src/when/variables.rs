//! What expressions see of a request.

use super::claims::{Claims, Shape};
use super::fields::{Fields, Source};
use super::map::Map;
use crate::host::normal;
use crate::request::Head;
use cel::common::types::{CelBool, CelString};
use cel::common::value::CowVal;
use cel::context::VariableResolver;
use gateway_core::{Principal, Scheme};
use std::sync::OnceLock;

/// The variables of one request. What costs more than a pointer is made when it is asked for.
pub(super) struct Variables<'r> {
    head: Head<'r>,
    method: CelString<'r>,
    path: CelString<'r>,
    scheme: CelString<'r>,
    host: OnceLock<CelString<'r>>,
    client: OnceLock<Option<CelString<'r>>>,
    headers: Map<Fields<'r>>,
    query: Map<Fields<'r>>,
    cookies: Map<Fields<'r>>,
}

impl<'r> Variables<'r> {
    pub(super) fn of(head: &Head<'r>) -> Self {
        let scheme = head.extensions.and_then(|extensions| extensions.get()).copied().unwrap_or_default();
        Self {
            method: CelString::from(head.method.as_str()),
            path: CelString::from(head.path),
            scheme: CelString::from(Scheme::as_str(scheme)),
            host: OnceLock::new(),
            client: OnceLock::new(),
            headers: Fields::new(Source::Headers(head.headers)),
            query: Fields::new(Source::Query(head.query)),
            cookies: Fields::new(Source::Cookies(head.headers)),
            head: *head,
        }
    }

    fn host(&self) -> &CelString<'r> {
        self.host.get_or_init(|| {
            let (host, mut buffer) = (self.head.host, [0; 256]);
            let normal = normal(host, &mut buffer);
            if *normal == *host { host.into() } else { normal.into_owned().into() }
        })
    }

    fn principal(&self) -> Option<&'r Principal> {
        self.head.extensions?.get()
    }

    fn client(&self) -> Option<&CelString<'r>> {
        self.client.get_or_init(|| Some(self.head.client()?.to_string().into())).as_ref()
    }
}

impl VariableResolver for Variables<'_> {
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        Some(CowVal::Borrowed(match name {
            "request.method" => &self.method,
            "request.path" => &self.path,
            "request.host" => self.host(),
            "request.scheme" => &self.scheme,
            "request.headers" => &self.headers,
            "request.query" => &self.query,
            "request.cookies" => &self.cookies,
            "client.ip" => self.client()?,
            "principal.authenticated" => {
                return Some(CowVal::owned(CelBool::from(self.principal().is_some())));
            }
            "principal.id" => return Some(CowVal::owned(CelString::from(self.principal()?.id()))),
            "principal.method" => {
                return Some(CowVal::owned(CelString::from(self.principal()?.method().name())));
            }
            "principal.claims" => return Some(CowVal::owned(Claims::new(self.principal(), Shape::Text))),
            "principal.lists" => return Some(CowVal::owned(Claims::new(self.principal(), Shape::List))),
            _ => return None,
        }))
    }
}
