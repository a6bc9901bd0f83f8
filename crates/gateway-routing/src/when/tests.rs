use super::{When, WhenMistakes};
use crate::request::Head;
use crate::{Match, MatchSettings, Refusal, RouteMatch, RouteTable};
use gateway_core::{ClientAddr, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use proptest::prelude::*;
use std::time::{Duration, Instant};

fn request() -> Request<()> {
    let mut request = Request::post("http://Shop.Example:81/a%20b/c?page=2&name=J%C3%BCrgen+X&page=3&empty")
        .header("x-plan", "gold")
        .header("x-many", "a")
        .header("x-many", "b")
        .header("x-odd", HeaderValue::from_bytes(b"\xff!").unwrap())
        .header("cookie", "group=\"beta-1\"; id=7")
        .header("cookie", "id=8")
        .body(())
        .unwrap();
    request.extensions_mut().insert(ClientAddr("10.1.2.3:99".parse().unwrap()));
    request.extensions_mut().insert(Scheme::Https);
    request
}

/// What an expression says of a request: `Err` is what failed.
fn said(text: &str, request: &Request<()>) -> Result<bool, String> {
    let when: When = text.parse().unwrap_or_else(|mistakes| panic!("{text}: {mistakes}"));
    let head = Head::of(request);
    let refused = when.refuses(&head);
    assert_eq!(when.takes(&head), refused.is_none(), "{text}");
    match refused {
        None => Ok(true),
        Some(None) => Ok(false),
        Some(Some(failed)) => Err(failed),
    }
}

#[test]
fn expressions_see_what_a_request_brings() {
    let request = request();
    for (text, expected) in [
        ("request.method == 'POST'", true),
        ("request.method in ['GET', 'HEAD']", false),
        ("request.scheme == 'https'", true),
        ("request.host == 'shop.example'", true),
        ("request.path == '/a%20b/c' && request.path.startsWith('/a')", true),
        ("client.ip == '10.1.2.3'", true),
        ("request.headers['x-plan'] == 'gold'", true),
        ("request.headers['x-many'] == 'a, b'", true),
        ("request.headers['x-odd'].endsWith('!')", true),
        ("request.headers.cookie == 'group=\"beta-1\"; id=7; id=8'", true),
        ("'x-plan' in request.headers && !('x-none' in request.headers)", true),
        ("has(request.query.page) && !has(request.query.pages)", true),
        ("request.query.page == '2' && int(request.query['page']) >= 2", true),
        ("request.query.name == 'Jürgen X'", true),
        ("request.query.empty == ''", true),
        ("size(request.query) == 3 && request.cookies.size() == 2", true),
        ("request.cookies.group == 'beta-1' && request.cookies.id == '7'", true),
        ("request.headers.exists(name, name.startsWith('x-pl') && request.headers[name] == 'gold')", true),
        ("request.query.all(name, request.query[name] != '3')", true),
        ("request.query.exists_one(name, request.query[name] == '2')", true),
        ("request.headers.filter(n, n.startsWith('x-')).size() == 3", true),
        ("request.cookies.map(n, n.upperAscii()) == ['GROUP', 'ID']", true),
        ("request.query.map(n, n.size() > 4, n) == ['empty']", true),
        ("['x-plan', 'x-none'].exists(h, h in request.headers)", true),
        ("['a', 'b'].all(a, ['a', 'b'].exists(b, a == b))", true),
        ("request.headers['x-plan'].matches('^(gold|silver)$')", true),
        ("matches(request.path, 'b/')", true),
        ("request.headers['x-plan'].matches('GOLD')", false),
        ("request.headers['x-plan'].upperAscii() == 'GOLD' && 'ÄB'.lowerAscii() == 'Äb'", true),
        ("(request.method == 'POST' ? request.headers : request.query)['x-plan'] == 'gold'", true),
        ("1 + 2 * 3 == 7 && 7 % 2 == 1 && -1 < 1 && 1.5 > 1 && 1u == 1 && 'a' + 'b' == 'ab'", true),
        ("[1, 2] + [3] == [1, 2, 3] && [1, 2][1] == 2 && 2 in [1, 2] && [] == []", true),
        ("string(1) == '1' && double('1.5') == 1.5 && uint('1') == 1u && bool('true')", true),
        ("true", true),
        // What one side fails of, the other may know.
        ("request.headers['x-none'] == 'a' || request.method == 'POST'", true),
        ("['request'].exists(request, request == 'request')", true),
    ] {
        assert_eq!(said(text, &request), Ok(expected), "{text}");
    }
}

#[test]
fn what_fails_does_not_hold_and_says_why() {
    let mut request = request();
    request.extensions_mut().remove::<ClientAddr>();
    for (text, why) in [
        ("request.headers['x-none'] == 'a'", "x-none"),
        ("request.headers[request.query.name] == 'a'", "Jürgen X"),
        ("request.headers['X-PLAN'.lowerAscii() + 'X'] == 'a'", "x-planX"),
        ("int(request.headers['x-plan']) > 1", "int"),
        ("1 / (size(request.path) - 8) == 1", "zero"),
        ("[1][size(request.path)] == 1", "out of bounds"),
        ("9223372036854775807 + size(request.path) > 0", "Overflow"),
        ("client.ip == '10.1.2.3'", "client.ip"),
        ("!(request.headers['x-none'] == 'a')", "x-none"),
        ("request.query.map(n, 1 / 0) == [1]", "zero"),
    ] {
        let failed = said(text, &request).expect_err(text);
        assert!(failed.contains(why), "{text}: {failed}");
    }
}

#[test]
fn mistakes_are_all_found_with_their_places_and_what_was_meant() {
    for (text, expected) in [
        (
            "request.methd == 'GET'",
            vec![(1, 1, 13, "no variable `request.methd`", "did you mean `request.method`?")],
        ),
        ("'é' == headers['x']", vec![(1, 8, 7, "no variable `headers`", "did you mean `request.headers`?")]),
        (
            "request.heders['x'] == request.pth",
            vec![
                (1, 1, 14, "`request.heders`", "`request.headers`"),
                (1, 24, 11, "`request.pth`", "`request.path`"),
            ],
        ),
        ("request.heders.host == 'a'", vec![(1, 1, 19, "`request.heders.host`", "`request.headers`")]),
        ("gold == 'a'", vec![(1, 1, 4, "no variable `gold`", "texts stand in quotes")]),
        (
            "request == 'a' || client.address == ''",
            vec![
                (1, 1, 7, "`request` by itself is no variable", "there are request.cookies, request.headers"),
                (1, 19, 14, "no variable `client.address`", ""),
            ],
        ),
        ("request.path.size > 1", vec![(1, 1, 17, "`request.path` is `string` and has no `.size`", "")]),
        ("request.method", vec![(1, 1, 1, "the expression is `string`; expected `bool`", "compare")]),
        ("request.headers", vec![(1, 1, 1, "the expression is `map`", "compare")]),
        ("request.path > 1", vec![(1, 14, 1, "`>` is not for `string` and `int`", "`int(…)`")]),
        ("request.method == 1", vec![(1, 16, 2, "`==` is not for `string` and `int`", "")]),
        ("request.headers == request.query", vec![(1, 17, 2, "not for `map` and `map`", "")]),
        ("request.path && true", vec![(1, 14, 2, "`&&` is not for `string` and `bool`", "")]),
        (
            "request.path.startswith('/')",
            vec![(1, 14, 10, "no function `startswith`", "did you mean `startsWith`")],
        ),
        (
            "request.path.startsWith(1)",
            vec![(1, 14, 10, "`startsWith` is not for `string` and `int`", "text.startsWith('start')")],
        ),
        ("lower(request.path) == ''", vec![(1, 1, 5, "no function `lower`", "the functions are all, ")]),
        (
            "request.headers.exists(name)",
            vec![(1, 17, 6, "`exists` takes other arguments", "names.exists(name, ")],
        ),
        ("request.path.matches(request.host)", vec![(1, 29, 1, "must be a text in quotes", "contains")]),
        ("request.path.matches('(')", vec![(1, 22, 3, "`(` is not a regular expression", "")]),
        ("request.headers['X-Plan'] == 'a'", vec![(1, 17, 8, "`X-Plan` is never there", "`x-plan`")]),
        ("has(request.headers.Host)", vec![(1, 4, 6, "`Host` is never there", "`host`")]),
        (
            "has(request.headers)",
            vec![(1, 4, 3, "`has` asks for a name in a map", "has(request.headers.host)")],
        ),
        ("has(request)", vec![(1, 5, 1, "invalid argument to has() macro", "")]),
        ("[1, 'a'] == []", vec![(1, 5, 1, "`string` among others in a list", "")]),
        (
            "request.path.exists(x, x == 'a')",
            vec![(1, 20, 1, "a loop is over a list or a map, not `string`", "")],
        ),
        ("null == request.path", vec![(1, 1, 4, "nothing is `null`", "'x-plan' in request.headers")]),
        ("{'a': 1}.size() == 1", vec![(1, 1, 1, "maps in braces", "")]),
        ("b'a' == b'a'", vec![(1, 1, 1, "bytes", ""), (1, 9, 1, "bytes", "")]),
        ("type(1) == int", vec![(1, 1, 4, "no function `type`", ""), (1, 12, 3, "no variable `int`", "")]),
        (
            "request.headers.exists(a, request.query.exists(b, a == b))",
            vec![(1, 47, 1, "a loop within a loop", "written out")],
        ),
        ("[1].all(a, [1].all(b, [1].all(c, c == 1)))", vec![(1, 30, 1, "a loop within a loop", "")]),
        ("request.path ==", vec![(1, 16, 1, "ends too early", "")]),
        ("", vec![(1, 1, 1, "ends too early", "")]),
        ("request.path == '/a", vec![(1, 17, 3, "the text that begins here has no end", "")]),
        ("(request.path == '/a'", vec![(1, 22, 1, "`)` is missing", "")]),
        ("true\n  and false", vec![(2, 3, 3, "`and` cannot stand here", "`&&`")]),
        ("request.path = '/'", vec![(1, 14, 1, "`=` means nothing here", "equal is `==`")]),
        ("not true", vec![(1, 5, 4, "`true` cannot stand here", "`!`")]),
        ("request.headers.?a == 'b'", vec![(1, 16, 1, "unsupported syntax", "")]),
        ("9223372036854775808 == 1", vec![(1, 1, 1, "invalid int literal", "")]),
    ] {
        let WhenMistakes(found) = text.parse::<When>().expect_err(text);
        assert_eq!(found.len(), expected.len(), "{text}: {found:#?}");
        for (found, (line, column, length, message, help)) in found.iter().zip(expected) {
            assert_eq!(
                (found.line, found.column, found.length),
                (line, column, length),
                "{text}: {found:#?}"
            );
            let told = found.help.as_deref().unwrap_or_default();
            assert!(found.message.contains(message) && told.contains(help), "{text}: {found:#?}");
        }
    }
}

#[test]
fn mistakes_read_as_a_sentence() {
    let mistakes = "request.pth == ''\n|| 1".parse::<When>().unwrap_err().to_string();
    assert_eq!(
        mistakes,
        "the expression cannot be used: column 1: there is no variable `request.pth`; did you mean `request.path`?; \
         line 2, column 1: `||` is not for `bool` and `int`"
    );
    let error = serde_json::from_str::<MatchSettings>(r#"{"when": "1"}"#).unwrap_err().to_string();
    assert!(error.starts_with("the expression cannot be used: column 1: the expression is `int`"), "{error}");
}

#[test]
fn expressions_are_bounded_in_length_and_depth_and_the_deepest_fit_a_small_stack() {
    let long = format!("'{}' == ''", "a".repeat(When::LONGEST));
    let mistakes = long.parse::<When>().unwrap_err();
    assert!(mistakes.to_string().contains("expected at most 4096"), "{mistakes}");

    let nested: [fn(usize) -> String; 6] = [
        |n| format!("{}true{}", "(".repeat(n), ")".repeat(n)),
        |n| format!("{}true", "true?true:".repeat(n)),
        |n| format!("{}'a'{} == 'a'", "string(".repeat(n), ")".repeat(n)),
        |n| format!("{}1 == 1", "1 + ".repeat(n)),
        |n| format!("'a'{} == 'a'", ".lowerAscii()".repeat(n)),
        |n| format!("[true].all(a, {}a)", "a == ".repeat(n)),
    ];
    for make in nested {
        let fits = |n: usize| make(n).parse::<When>();
        let deepest = (1..60).take_while(|n| fits(*n).is_ok()).last().unwrap_or(0);
        assert!((12..60).contains(&deepest), "{deepest}: {}", make(1));
        for n in [60, 150, 300] {
            let mistakes = fits(n).expect_err(&make(1));
            assert!(mistakes.to_string().contains("nested more than"), "{}: {mistakes}", make(1));
        }
        let when = fits(deepest).unwrap();
        let evaluated = std::thread::Builder::new().stack_size(1 << 20).spawn(move || {
            when.takes(&Head::of(&request()));
        });
        evaluated.unwrap().join().unwrap();
    }
    // Many conditions beside one another are not deep.
    assert_eq!(said(&["request.path != 'x'"; 100].join(" && "), &request()), Ok(true));
}

#[test]
fn a_loop_over_a_long_query_takes_time_linear_in_it() {
    let query = |many: usize| (0..many).map(|n| format!("p{n}=v")).collect::<Vec<_>>().join("&");
    let when: When = "request.query.exists(n, request.query[n] == 'x')".parse().unwrap();
    let request = Request::get(format!("/?{}", query(6000))).body(()).unwrap();
    let started = Instant::now();
    assert!(!when.takes(&Head::of(&request)));
    // Looked for from the start each time it would take minutes in this build.
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

fn route(path: &str, when: &str) -> RouteMatch {
    let settings: MatchSettings = serde_json::from_value(serde_json::json!({ "when": when })).unwrap();
    RouteMatch::path(path).unwrap().with(&settings)
}

#[test]
fn an_expression_is_the_last_condition_and_keeps_routes_apart() {
    let gold = "request.headers['x-plan'] == 'gold'";
    let mut named = route("/a", "true");
    named.headers.push(crate::HeaderMatch::present(HeaderName::from_static("x-plan")));
    let network: MatchSettings = serde_json::from_str(r#"{"clients": ["10.0.0.0/8"]}"#).unwrap();
    let network = RouteMatch::path("/a").unwrap().with(&network);
    let post = RouteMatch { methods: vec![Method::POST], ..RouteMatch::path("/b").unwrap() };
    let table = RouteTable::build(vec![
        (RouteMatch::path("/a").unwrap(), "plain"),
        (route("/a", "request.host == 'shop.example'"), "host"),
        (route("/a", gold), "gold"),
        (network, "network"),
        (named, "named"),
        (RouteMatch { methods: vec![Method::GET], ..route("/b", gold) }, "get"),
        (post, "post"),
    ])
    .unwrap();
    let found = |request: &Request<()>| match table.find(request) {
        Match::Found(found) => (*found.route).to_owned(),
        Match::MethodNotAllowed { allow } => allow.to_str().unwrap().to_owned(),
        Match::NotFound => "404".to_owned(),
    };
    let ask = |path: &str, host: &str, plan: Option<&str>| {
        let mut request = Request::get(path).header("host", host).body(()).unwrap();
        plan.map(|plan| request.headers_mut().insert("x-plan", plan.parse().unwrap()));
        request
    };
    assert_eq!(found(&ask("/a", "other", None)), "plain");
    assert_eq!(found(&ask("/a", "shop.example", None)), "host");
    let mut near = ask("/a", "shop.example", None);
    near.extensions_mut().insert(ClientAddr("10.1.2.3:99".parse().unwrap()));
    assert_eq!(found(&near), "network");
    assert_eq!(found(&ask("/a", "shop.example", Some("gold"))), "named");
    assert_eq!(found(&ask("/b", "x", Some("gold"))), "get");
    // What the expression refuses is not allowed by another method.
    assert_eq!(found(&ask("/b", "x", None)), "POST");
    // Nobody knows what an expression implies, so that none of these is never used.
    assert_eq!(table.lint(), []);

    let explained = table.explain(&ask("/a", "x", None));
    let refusals: Vec<String> =
        explained.candidates.iter().flat_map(|c| &c.refusals).map(Refusal::to_string).collect();
    let told = |part: &str| refusals.iter().any(|refusal| refusal.contains(part));
    assert!(told("`request.host == 'shop.example'` is false"), "{refusals:?}");
    assert!(told(&format!("`{gold}` fails: ")), "{refusals:?}");
}

#[test]
fn routes_of_one_expression_are_a_conflict_and_one_that_is_broader_covers_the_other() {
    let twice = vec![(route("/a", "true"), ()), (route("/a", "true"), ())];
    assert_eq!(RouteTable::build(twice).unwrap_err().len(), 1);
    let priority = |route: RouteMatch, priority| RouteMatch { priority, ..route };
    for (first, second, hidden) in [
        (route("/a/*", "true"), route("/a/b", "true"), true),
        (RouteMatch::path("/a/*").unwrap(), route("/a/b", "true"), true),
        (route("/a/*", "true"), RouteMatch::path("/a/b").unwrap(), false),
        (route("/a/*", "true"), route("/a/b", "false"), false),
    ] {
        let table = RouteTable::build(vec![(priority(first, 1), ()), (second, ())]).unwrap();
        assert_eq!(table.lint().len(), usize::from(hidden), "{:?}", table.routes().collect::<Vec<_>>());
    }
}

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
        match text.parse::<When>() {
            Ok(when) => {
                let head = Head::of(&request);
                prop_assert_eq!(when.takes(&head), when.refuses(&head).is_none());
                prop_assert_eq!(when.as_str(), text);
                let headers = HeaderMap::new();
                when.takes(&Head { query: None, headers: &headers, extensions: None, ..head });
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
