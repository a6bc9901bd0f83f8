//! A request whose answer tells whether an endpoint is healthy.

use super::Flaw;
use super::settings::HealthSettings;
use bytes::Bytes;
use gateway_core::{BoxError, Endpoint, Upstream};
use http::header::{HOST, HeaderName, HeaderValue, USER_AGENT};
use http::{Method, Request, Response, Uri};
use http_body::Body;
use http_body_util::{BodyExt, Collected, Full, Limited};
use std::pin::pin;

/// How much of an answer is looked at.
pub(super) const MOST: usize = 64 * 1024;

/// A request to this path; the settings were checked when they were read, but for the path.
pub(super) fn request(
    endpoint: &Endpoint,
    settings: &HealthSettings,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, String> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = path.parse::<Uri>().map_err(|_| format!("`{path}` is no path"))?;
    let headers = request.headers_mut();
    let host = settings.host.as_deref().unwrap_or(endpoint.authority().as_str());
    if let Ok(host) = HeaderValue::from_str(host) {
        headers.insert(HOST, host);
    }
    headers.insert(USER_AGENT, HeaderValue::from_static("gateway-health"));
    for (name, value) in &settings.headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            headers.insert(name, value);
        }
    }
    Ok(request)
}

pub(super) async fn check<U>(upstream: &U, endpoint: &Endpoint, settings: &HealthSettings) -> Result<(), Flaw>
where
    U: Upstream<Full<Bytes>>,
    U::Body: Body<Data = Bytes, Error: Into<BoxError>>,
{
    let method = settings.method.parse().map_err(|_| format!("`{}` is no method", settings.method))?;
    let (path, expected) = (&settings.path, &settings.status);
    let (head, body) = request(endpoint, settings, method, path, Bytes::new())?.into_parts();
    let response = upstream.send(&head, body).await?;
    if !settings.status.contains(response.status().as_u16()) {
        return Err(format!("{path} answered {}, expected {expected}", response.status()).into());
    }
    let Some(text) = &settings.body else { return Ok(()) };
    let body = beginning(response.into_body()).await.map_err(|why| format!("{path}: {why}"))?;
    let found = body.windows(text.len().max(1)).any(|part| part == text.as_bytes()) || text.is_empty();
    if found { Ok(()) } else { Err(format!("{path} answered without `{text}` in its body").into()) }
}

/// As much of a body as is looked at.
async fn beginning<B>(body: B) -> Result<Vec<u8>, String>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    let (mut body, mut seen) = (pin!(body), Vec::new());
    while seen.len() < MOST
        && let Some(frame) = body.frame().await
    {
        if let Ok(data) = frame.map_err(|error| error.into().to_string())?.into_data() {
            seen.extend_from_slice(&data[..data.len().min(MOST - seen.len())]);
        }
    }
    Ok(seen)
}

/// The whole answer, with its trailers; none that is larger than what is looked at.
pub(super) async fn collect<B>(response: Response<B>) -> Result<Collected<Bytes>, String>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    Limited::new(response.into_body(), MOST).collect().await.map_err(|error| error.to_string())
}
