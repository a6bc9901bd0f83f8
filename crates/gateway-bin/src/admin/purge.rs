//! What the cache keeps, taken out before its time.

use super::{Admin, Answer, body, json, refused};
use gateway_cache::{Purge, PurgeMode};
use gateway_core::Code;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::json;

/// What to take out: exactly one of the first four.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    url: Option<String>,
    prefix: Option<String>,
    tag: Option<String>,
    #[serde(default)]
    all: bool,
    /// Whether it is only marked stale.
    #[serde(default)]
    soft: bool,
}

impl Admin {
    /// `POST /purge`.
    pub(super) async fn purge(&self, request: Request<Incoming>) -> Answer {
        let asked: Asked = match body(request).await {
            Ok(asked) => asked,
            Err(problem) => return problem.into_response(),
        };
        let whole = |name: &str, found: &str| {
            let detail = format!(
                "`{name}` is `{found}`; expected scheme and host too, such as `http://shop.example/products/7`"
            );
            refused(Code::BadRequest, &detail)
        };
        let what = match (asked.url, asked.prefix, asked.tag, asked.all) {
            (Some(url), None, None, false) => match Purge::of_url(&url) {
                Some(what) => what,
                None => return whole("url", &url),
            },
            (None, Some(start), None, false) => match Purge::of_prefix(&start) {
                Some(what) => what,
                None => return whole("prefix", &start),
            },
            (None, None, Some(tag), false) => Purge::Tag(tag),
            (None, None, None, true) => Purge::All,
            _ => {
                return refused(
                    Code::BadRequest,
                    "expected one of `url`, `prefix`, `tag` and `\"all\": true`",
                );
            }
        };
        let view = self.view.load();
        let Some(cache) = &view.plan.cache else {
            return refused(Code::NotFound, "no route has a cache");
        };
        let mode = if asked.soft { PurgeMode::MarkStale } else { PurgeMode::Remove };
        json(StatusCode::OK, &json!({ "purged": cache.store.purge(&what, mode) }))
    }
}
