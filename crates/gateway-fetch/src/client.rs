use crate::{FetchError, FetchSettings, tls};
use bytes::Bytes;
use gateway_core::with_causes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::de::DeserializeOwned;
use std::error::Error;
use std::time::Duration;

const IDLE: Duration = Duration::from_secs(60);

/// Asks over HTTP or HTTPS; see the [crate's page](crate). Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct Fetch {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    timeout: Duration,
    max_body: usize,
}

impl Fetch {
    /// A client with these settings.
    ///
    /// # Errors
    /// A file cannot be used, or certificate and key do not go together.
    pub fn new(settings: &FetchSettings) -> Result<Self, FetchError> {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls::config(settings)?)
            .https_or_http()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        let max_body = usize::try_from(settings.max_body.bytes()).unwrap_or(usize::MAX);
        Ok(Self { client, timeout: *settings.timeout, max_body })
    }

    /// Sends a request and reads the answer, whatever its status.
    ///
    /// # Errors
    /// There is no answer in time, or it is too large.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, FetchError> {
        let url = shown(request.uri());
        if !matches!(request.uri().scheme_str(), Some("http" | "https")) {
            return Err(FetchError::Url(url));
        }
        let limit = self.timeout;
        match tokio::time::timeout(limit, self.exchange(&url, request.map(Full::new))).await {
            Ok(answer) => answer,
            Err(_) => Err(FetchError::Timeout { url, limit }),
        }
    }

    async fn exchange(
        &self,
        url: &str,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, FetchError> {
        let failed = |error: &(dyn Error + 'static)| FetchError::Failed {
            url: url.to_owned(),
            why: with_causes(error),
        };
        let (head, body) = self.client.request(request).await.map_err(|error| failed(&error))?.into_parts();
        let body = Limited::new(body, self.max_body).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                return FetchError::TooLarge { url: url.to_owned(), limit: self.max_body as u64 };
            }
            failed(error.as_ref())
        })?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }

    /// The JSON that a URL answers a GET with.
    ///
    /// # Errors
    /// There is none in time, its status is not 2xx, or it is something else.
    pub async fn get_json<T: DeserializeOwned>(&self, url: &str) -> Result<T, FetchError> {
        let request = request(Method::GET, url, HeaderMap::new(), Bytes::new())?;
        self.json(request).await
    }

    /// Posts a form (`application/x-www-form-urlencoded`, already encoded) and reads JSON, as OAuth 2.0 has it.
    ///
    /// # Errors
    /// There is none in time, its status is not 2xx, or it is something else.
    pub async fn post_form<T: DeserializeOwned>(
        &self,
        url: &str,
        mut headers: HeaderMap,
        form: String,
    ) -> Result<T, FetchError> {
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(CONTENT_TYPE, kind);
        let request = request(Method::POST, url, headers, form.into())?;
        self.json(request).await
    }

    /// Sends a request and reads the JSON of its answer.
    ///
    /// # Errors
    /// There is none in time, its status is not 2xx, or it is something else.
    pub async fn json<T: DeserializeOwned>(&self, mut request: Request<Bytes>) -> Result<T, FetchError> {
        request.headers_mut().entry(ACCEPT).or_insert(HeaderValue::from_static("application/json"));
        let url = shown(request.uri());
        let answer = self.send(request).await?;
        if !answer.status().is_success() {
            return Err(FetchError::Status { url, status: answer.status() });
        }
        serde_json::from_slice(answer.body())
            .map_err(|error| FetchError::Json { url, why: error.to_string() })
    }
}

fn request(method: Method, url: &str, headers: HeaderMap, body: Bytes) -> Result<Request<Bytes>, FetchError> {
    let uri: Uri = url.parse().map_err(|_| FetchError::Url(url.to_owned()))?;
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    Ok(request)
}

/// Without user, password and query.
fn shown(uri: &Uri) -> String {
    let scheme = uri.scheme_str().map_or(String::new(), |scheme| format!("{scheme}://"));
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}{host}{}", uri.path())
}
