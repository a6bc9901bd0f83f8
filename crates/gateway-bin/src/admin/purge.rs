//! What the cache keeps, taken out before its time.

use super::{Admin, Answer, body, json, refused};
use gateway_cache::{Purge, PurgeMode};
use gateway_core::Code;
use gateway_transform::{NormalizeSettings, PathError, TrailingSlash, normalize_path};
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
        let view = self.view.load();
        let normalize = view.plan.normalize;
        // The beginning of a path may well end in a slash, where a whole one may not.
        let of_start = NormalizeSettings { trailing_slash: TrailingSlash::Keep, ..normalize };
        let refuse = |error: PathError| refused(Code::BadRequest, &error.to_string());
        let what = match (asked.url, asked.prefix, asked.tag, asked.all) {
            (Some(url), None, None, false) => match normal(&url, &normalize).map(|url| Purge::of_url(&url)) {
                Ok(Some(what)) => what,
                Ok(None) => return whole("url", &url),
                Err(error) => return refuse(error),
            },
            (None, Some(start), None, false) => {
                match normal(&start, &of_start).map(|start| Purge::of_prefix(&start)) {
                    Ok(Some(what)) => what,
                    Ok(None) => return whole("prefix", &start),
                    Err(error) => return refuse(error),
                }
            }
            (None, None, Some(tag), false) => Purge::Tag(tag),
            (None, None, None, true) => Purge::All,
            _ => {
                return refused(
                    Code::BadRequest,
                    "expected one of `url`, `prefix`, `tag` and `\"all\": true`",
                );
            }
        };
        let Some(cache) = &view.plan.cache else {
            return refused(Code::NotFound, "no route has a cache");
        };
        let mode = if asked.soft { PurgeMode::MarkStale } else { PurgeMode::Remove };
        json(StatusCode::OK, &json!({ "purged": cache.store.purge(&what, mode) }))
    }
}

/// A URL, or the beginning of one, with its path as requests come to the cache with it.
fn normal(url: &str, settings: &NormalizeSettings) -> Result<String, PathError> {
    let authority = url.find("://").map_or(url.len(), |at| at + 3);
    let end = |from: usize, of: &[char]| url[from..].find(of).map_or(url.len(), |at| from + at);
    let path = end(authority, &['/', '?', '#']);
    let rest = end(path, &['?', '#']);
    if path == rest {
        return Ok(url.to_owned());
    }
    Ok([&url[..path], &normalize_path(&url[path..rest], settings)?, &url[rest..]].concat())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_path_of_a_url_is_that_of_requests_and_the_rest_stays() {
        let settings = NormalizeSettings::default();
        for (url, expected) in [
            ("http://shop.example/%7Eme/../a%2db?q=%7E/..#x", "http://shop.example/a-b?q=%7E/..#x"),
            ("https://shop.example//a/%c3%a4", "https://shop.example/a/%C3%A4"),
            ("http://shop.example", "http://shop.example"),
            ("http://shop.example?q=/..", "http://shop.example?q=/.."),
            ("/a/../b", "/a/../b"),
        ] {
            assert_eq!(normal(url, &settings).unwrap(), expected, "{url}");
        }
        assert!(normal("http://shop.example/a%2", &settings).is_err());
        let stripped = NormalizeSettings { trailing_slash: TrailingSlash::Strip, ..settings };
        assert_eq!(normal("http://shop.example/a/", &stripped).unwrap(), "http://shop.example/a");
    }
}
