use crate::resolve::Resolve;
use crate::{FetchError, FetchSettings, tls};
use bytes::Bytes;
use gateway_core::with_causes;
use gateway_lookup::Lookup;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::de::DeserializeOwned;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

const IDLE: Duration = Duration::from_secs(60);

/// Asks over HTTP or HTTPS; see the [crate's page](crate). Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct Fetch {
    client: Client<HttpsConnector<HttpConnector<Resolve>>, Full<Bytes>>,
    lookup: Lookup,
    /// Over HTTP/1.1 each request has a connection of its own.
    connections: Arc<Semaphore>,
    timeout: Duration,
    max_body: usize,
}

impl Fetch {
    /// A client with these settings.
    ///
    /// # Errors
    /// A file cannot be used, or certificate and key do not go together.
    pub fn new(settings: &FetchSettings) -> Result<Self, FetchError> {
        Self::by(Lookup::default(), settings)
    }

    fn by(lookup: Lookup, settings: &FetchSettings) -> Result<Self, FetchError> {
        let mut tcp = HttpConnector::new_with_resolver(Resolve(lookup.clone()));
        tcp.enforce_http(false);
        // Shared among the addresses of a name, so that one that is silent leaves time for the others.
        tcp.set_connect_timeout(Some(*settings.timeout));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls::config(settings)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        let max_body = usize::try_from(settings.max_body.bytes()).unwrap_or(usize::MAX);
        let connections =
            Arc::new(Semaphore::new(settings.max_connections.get().min(Semaphore::MAX_PERMITS)));
        Ok(Self { client, lookup, connections, timeout: *settings.timeout, max_body })
    }

    /// Sends a request and reads the answer, whatever its status.
    ///
    /// # Errors
    /// There is no answer in time, or it is too large.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, FetchError> {
        let uri = request.uri().clone();
        let url = shown(&uri);
        let (Some("http" | "https"), Some(host)) = (uri.scheme_str(), uri.host()) else {
            return Err(FetchError::Url(url));
        };
        let limit = self.timeout;
        match tokio::time::timeout(limit, self.exchange(&url, request.map(Full::new))).await {
            Ok(answer) => answer,
            Err(_) if self.lookup.asks_for(host) => Err(FetchError::Unresolved { url, limit }),
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
        // Never closed.
        let _connection = self.connections.acquire().await;
        let answer = self.client.request(request).await;
        // The client's own words say less than those of what caused them.
        let answer = answer.map_err(|error| failed(error.source().unwrap_or(&error)));
        let (head, body) = answer?.into_parts();
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use gateway_core::units::Timespan;
    use std::net::IpAddr;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    async fn get(fetch: &Fetch, url: &str) -> Result<Response<Bytes>, FetchError> {
        fetch.send(request(Method::GET, url, HeaderMap::new(), Bytes::new())?).await
    }

    #[tokio::test]
    async fn there_are_no_more_connections_than_there_may_be_and_the_others_wait() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let seen = most.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (open, most) = (open.clone(), most.clone());
                most.fetch_max(open.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                tokio::spawn(async move {
                    let _ = stream.read(&mut [0; 1024]).await;
                    // Time for others to come.
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    open.fetch_sub(1, Ordering::Relaxed);
                    let answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";
                    stream.write_all(answer).await.unwrap();
                });
            }
        });
        let settings = FetchSettings {
            timeout: Timespan::secs(60),
            max_connections: 2.try_into().unwrap(),
            ..FetchSettings::default()
        };
        let fetch = Fetch::new(&settings).unwrap();
        let answers = futures_util::future::join_all((0..20).map(|_| get(&fetch, &url))).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        assert_eq!(seen.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn a_name_that_nobody_resolves_is_asked_for_once_and_in_nobodys_way() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = asked.clone();
        let lookup = Lookup::by(move |host| {
            let counter = counter.clone();
            async move {
                if host == "silent.test" {
                    counter.fetch_add(1, Ordering::Relaxed);
                    std::future::pending::<()>().await;
                }
                Ok(vec![IpAddr::from([127, 0, 0, 1])])
            }
        });
        let settings = FetchSettings { timeout: Timespan::millis(100), ..FetchSettings::default() };
        let hurried = Fetch::by(lookup.clone(), &settings).unwrap();
        let patient = Fetch::by(lookup, &FetchSettings::default()).unwrap();
        let silent = async |path: usize| {
            get(&hurried, &format!("http://silent.test/{path}?code=secret")).await.unwrap_err().to_string()
        };
        for (path, error) in futures_util::future::join_all((0..50).map(silent)).await.iter().enumerate() {
            let expected = format!("http://silent.test/{path}: its name was not resolved within 100ms");
            assert_eq!(*error, expected);
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 1024]).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await.unwrap();
        });
        let answer = get(&patient, &format!("http://other.test:{port}/")).await.unwrap();
        assert_eq!(&answer.body()[..], b"{}");
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }
}
