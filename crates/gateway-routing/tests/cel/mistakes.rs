//! What is said of expressions that cannot be used.

use gateway_routing::{MatchSettings, When, WhenMistakes};

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
