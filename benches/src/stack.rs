//! The whole stack of one worker, without a listener, before an upstream over loopback.

use bytes::Bytes;
use gateway_auth::{JwtSettings, mint};
use gateway_bin::bench::InProcess;
use gateway_core::{ClientAddr, clock};
use http::{HeaderValue, Request, header};
use http_body_util::{BodyExt, Full};
use tempfile::TempDir;

const SECRET: &str = "a secret for benchmarks, 32 bytes";

/// Which policies there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// None: routing, forwarding headers, balancing.
    Bare,
    /// A remembered token, a limit, correlation id, CORS, security headers, metrics and the access log.
    Policies,
}

impl Kind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Bare, Self::Policies];

    /// What it is called in tables: `bare`, `policies`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Policies => "policies",
        }
    }
}

/// A worker's stack and a runtime of its own.
pub struct Stack {
    edge: InProcess<Full<Bytes>>,
    runtime: tokio::runtime::Runtime,
    bearer: HeaderValue,
    _dir: TempDir,
}

impl std::fmt::Debug for Stack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stack").finish_non_exhaustive()
    }
}

impl Stack {
    /// Before the upstream with this URL.
    ///
    /// # Panics
    /// The configuration is not good, or no files can be written.
    #[must_use]
    pub fn new(kind: Kind, upstream: &str) -> Self {
        Self::with_flush(kind, upstream, "100ms")
    }

    /// The same for a few thousand requests that are counted: lines of the log are written together at the end, so
    /// that it does not matter how long it takes.
    ///
    /// # Panics
    /// The configuration is not good, or no files can be written.
    #[must_use]
    pub fn counted(kind: Kind, upstream: &str) -> Self {
        Self::with_flush(kind, upstream, "10m")
    }

    fn with_flush(kind: Kind, upstream: &str, flush: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let (head, route) = match kind {
            Kind::Bare => {
                ("access_log = false\nmetrics = false\n[defaults]\ncorrelation_id = false\n".to_owned(), "")
            }
            Kind::Policies => {
                let log = dir.path().join("access.log");
                (
                    format!(
                        "access_log = {{ path = {log:?}, flush = \"{flush}\" }}\n\
                         [defaults]\ncors = true\nsecurity_headers = true\n"
                    ),
                    "auth = \"a\"\nrate_limit = \"a\"\n",
                )
            }
        };
        let config = format!(
            "{head}[services.a]\nendpoints = [\"{upstream}\"]\n[auth.jwt.a]\nsecret = \"{SECRET}\"\n\
             [rate_limits]\na = \"100000000/s\"\n[[routes]]\npath = \"/api/*\"\nstrip = \"/api\"\nservice = \"a\"\n{route}"
        );
        let file = dir.path().join("gateway.toml");
        std::fs::write(&file, config).expect("a file");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .on_thread_unpark(clock::awoke)
            .build()
            .expect("a runtime");
        let settings = JwtSettings { secret: Some(SECRET.into()), ..JwtSettings::default() };
        let token = mint(&settings, serde_json::json!({ "sub": "ada", "exp": 4_102_444_800_u64 }));
        let bearer = format!("Bearer {}", token.expect("a token"));
        Self {
            edge: InProcess::new(&file).expect("a good configuration"),
            runtime,
            bearer: bearer.try_into().expect("a header"),
            _dir: dir,
        }
    }

    /// A request there and its answer back.
    ///
    /// # Panics
    /// The answer is not 200.
    pub fn request(&self) {
        self.requests(1);
    }

    /// So many, one after the other.
    ///
    /// # Panics
    /// An answer is not 200.
    pub fn requests(&self, count: usize) {
        let client = ClientAddr(([192, 0, 2, 7], 1).into());
        self.runtime.block_on(async {
            for _ in 0..count {
                let mut request = Request::new(Full::default());
                *request.uri_mut() = http::Uri::from_static("/api/x");
                let headers = request.headers_mut();
                headers.insert(header::HOST, HeaderValue::from_static("shop.example"));
                headers.insert(header::AUTHORIZATION, self.bearer.clone());
                let response = self.edge.call(request, client).await;
                assert_eq!(response.status(), 200, "the stack's answer");
                assert!(response.into_body().collect().await.is_ok(), "the body broke off");
            }
        });
    }
}
