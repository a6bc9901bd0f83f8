//! Whatever is written and whatever comes.

use super::said;
use gateway_core::{AuthMethod, ClientAddr, Principal};
use gateway_routing::{CallerWhen, When, WhenMistakes};
use http::{HeaderName, HeaderValue, Request};
use proptest::prelude::*;

/// Pieces of expressions, of which most strings are none.
fn piece() -> impl Strategy<Value = String> {
    let known = [
        "request",
        ".method",
        ".headers",
        ".query",
        ".cookies",
        ".path",
        "client.ip",
        "principal",
        ".claims",
        ".lists",
        "principal.id",
        "['x-plan']",
        "'a'",
        "\"b\"",
        "1",
        "2u",
        "1.5",
        "-",
        "!",
        "&&",
        "||",
        "==",
        "!=",
        "<",
        ">=",
        "in",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        "?",
        "+",
        "*",
        "/",
        "%",
        ".",
        "has(",
        ".exists(x,",
        ".all(x,",
        ".map(x,",
        ".filter(x,",
        ".matches('a.*')",
        "size(",
        "int(",
        "true",
        "false",
        "null",
        "x",
        "b'a'",
        "r'\\'",
        "'''",
        "\\",
        "`",
        "@",
        "$",
        "#",
        "//",
        "\n",
        "é",
        "0x",
        "1e",
        "_",
        ".?",
        "[?",
    ];
    let known = prop::sample::select(known.to_vec()).prop_map(str::to_owned);
    prop_oneof![8 => known, 1 => any::<String>(), 1 => any::<char>().prop_map(String::from)]
}

/// Expressions that hold something together.
fn sound() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "request.headers['x-plan'] == 'gold' && request.method in ['GET', 'HEAD']",
        "request.query.exists(n, n.startsWith('p') && int(request.query[n]) > 1)",
        "has(request.cookies.id) ? request.cookies.id.matches('^[0-9]+$') : client.ip != '10.0.0.1'",
        "principal.claims.org.plan == 'gold' && 'a' in principal.lists.roles || !principal.authenticated",
        "principal.lists.roles.exists(r, r.startsWith('a')) ? has(principal.claims.org.plan) : principal.id == 'b'",
        "[1, 2, 3].map(x, x * size(request.path)).exists_one(y, y % 2 == 0) || !(1.5 < 2.0)",
        "request.headers.filter(h, h.endsWith('-plan')).all(h, request.headers[h].upperAscii() == 'GOLD')",
    ])
    .prop_map(str::to_owned)
}

/// Of a text that is cut, has something put in, or a part twice.
fn mutated() -> impl Strategy<Value = String> {
    (sound(), any::<prop::sample::Index>(), any::<prop::sample::Index>(), piece(), 0..4u8).prop_map(
        |(text, one, other, piece, how)| {
            let chars: Vec<char> = text.chars().collect();
            let (one, other) = (one.index(chars.len()), other.index(chars.len()));
            let (from, to) = (one.min(other), one.max(other));
            let part = |range: std::ops::Range<usize>| chars[range].iter().collect::<String>();
            match how {
                0 => part(0..from) + &part(to..chars.len()),
                1 => part(0..from) + &piece + &part(from..chars.len()),
                2 => part(0..to) + &part(from..chars.len()),
                _ => part(0..from) + &piece + &part(to..chars.len()),
            }
        },
    )
}

fn any_request() -> impl Strategy<Value = Request<()>> {
    let field = (
        prop::sample::select(vec!["x-plan", "cookie", "host", "x-a"]),
        prop::collection::vec(32..=255u8, 0..12),
    );
    let fields = prop::collection::vec(field, 0..6);
    let query = prop::option::of("[a-z0-9=&%+?/;]{0,24}");
    (fields, query, any::<bool>()).prop_map(|(fields, query, known)| {
        let uri = query.map_or_else(|| "/a".to_owned(), |query| format!("/a?{query}"));
        let mut request = Request::get(uri).body(()).unwrap();
        for (name, value) in fields {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                request.headers_mut().append(HeaderName::from_static(name), value);
            }
        }
        if known {
            request.extensions_mut().insert(ClientAddr("10.0.0.1:9".parse().unwrap()));
            let claims = serde_json::json!({ "org": { "plan": "gold" }, "roles": ["a", 1, null], "n": 1.5, "x": "a b" });
            let claims = claims.as_object().cloned().unwrap();
            request.extensions_mut().insert(Principal::new("b", AuthMethod::Jwt, claims));
        }
        request
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_text_panics_when_it_is_read_nor_a_request_when_it_is_matched(
        text in prop_oneof![
            1 => any::<String>(),
            2 => prop::collection::vec(piece(), 0..16).prop_map(|pieces| pieces.concat()),
            4 => mutated(),
            1 => sound(),
        ],
        request in any_request(),
    ) {
        if let Ok(when) = text.parse::<CallerWhen>() {
            let _ = when.holds(request.method(), request.uri(), request.headers(), request.extensions());
        }
        match text.parse::<When>() {
            Ok(when) => {
                prop_assert_eq!(when.as_str(), text);
                let _ = said(when.as_str(), &request);
            }
            Err(WhenMistakes(mistakes)) => {
                prop_assert!(!mistakes.is_empty());
                for mistake in mistakes {
                    prop_assert!(mistake.line >= 1 && mistake.column >= 1 && mistake.length >= 1);
                    prop_assert!(mistake.line <= text.matches('\n').count() + 1, "{:?} of {:?}", mistake, text);
                }
            }
        }
    }
}
