use crate::host::bare;
use gateway_core::ClientAddr;
use http::header::HOST;
use http::{Extensions, HeaderMap, Method, Request, Uri};
use std::net::IpAddr;

/// What of a request is matched.
#[derive(Clone, Copy)]
pub(crate) struct Head<'r> {
    pub(crate) method: &'r Method,
    /// Without port and trailing dot, in whatever case.
    pub(crate) host: &'r str,
    pub(crate) path: &'r str,
    pub(crate) query: Option<&'r str>,
    pub(crate) headers: &'r HeaderMap,
    /// Where the client's address is, which few routes ask for.
    pub(crate) extensions: Option<&'r Extensions>,
}

impl<'r> Head<'r> {
    pub(crate) fn of<B>(request: &'r Request<B>) -> Self {
        Self::of_parts(request.method(), request.uri(), request.headers(), request.extensions())
    }

    pub(crate) fn of_parts(
        method: &'r Method,
        uri: &'r Uri,
        headers: &'r HeaderMap,
        extensions: &'r Extensions,
    ) -> Self {
        let host = uri.authority().map_or_else(
            || headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default(),
            |authority| authority.host(),
        );
        Self {
            method,
            host: bare(host),
            path: uri.path(),
            query: uri.query(),
            headers,
            extensions: Some(extensions),
        }
    }

    pub(crate) fn client(&self) -> Option<IpAddr> {
        self.extensions?.get::<ClientAddr>().map(ClientAddr::ip)
    }
}
