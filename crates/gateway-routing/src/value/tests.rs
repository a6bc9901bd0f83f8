use super::*;
use gateway_core::units::Short;

fn read(text: &str) -> Result<ValueMatch, String> {
    serde_json::from_str::<Short<ValueMatch>>(text).map(|s| s.0).map_err(|e| e.to_string())
}

#[test]
fn every_test_takes_what_it_says_and_its_opposite_all_else() {
    for (settings, values, expected) in [
        (r#"true"#, vec![""], true),
        (r#"true"#, vec![], false),
        (r#"false"#, vec![], true),
        (r#""a""#, vec!["b", "a"], true),
        (r#""a""#, vec!["A"], false),
        (r#"7"#, vec!["7"], true),
        (r#"7"#, vec!["07"], false),
        (r#"{"present": true}"#, vec!["x"], true),
        (r#"{"present": false, "not": true}"#, vec!["x"], true),
        (r#"{"exact": ""}"#, vec![""], true),
        (r#"{"prefix": "ab"}"#, vec!["abc"], true),
        (r#"{"prefix": "ab"}"#, vec!["xab"], false),
        (r#"{"suffix": "ab"}"#, vec!["xab"], true),
        (r#"{"suffix": "ab"}"#, vec!["abx"], false),
        (r#"{"contains": "ab"}"#, vec!["xabx"], true),
        (r#"{"contains": "ab"}"#, vec!["a", "b", ""], false),
        (r#"{"regex": "a|b[0-9]+"}"#, vec!["b12"], true),
        (r#"{"regex": "a|b[0-9]+"}"#, vec!["ab1"], false),
        (r#"{"regex": "a|b[0-9]+"}"#, vec!["a\n"], false),
        (r#"{"at_least": 2, "at_most": 4}"#, vec!["4"], true),
        (r#"{"at_least": 2, "at_most": 4}"#, vec!["5", "x", ""], false),
        (r#"{"at_most": -1}"#, vec!["-9"], true),
        (r#"{"at_least": 1}"#, vec!["9223372036854775808"], false),
    ] {
        let test = read(settings).unwrap();
        assert_eq!(test.takes(values.iter()), expected, "{settings} {values:?}");
        assert_eq!(test.not().takes(values.iter()), !expected, "not {settings} {values:?}");
    }
}

#[test]
fn mistakes_say_what_is_wrong_and_what_could_stand_there() {
    for (settings, part) in [
        (r#"{}"#, "expected one of `present`, `exact`"),
        (r#"{"not": true}"#, "nothing to look for"),
        (r#"{"prefix": "a", "suffix": "b"}"#, "2 tests in one place"),
        (r#"{"prefix": ""}"#, "`prefix` is empty"),
        (r#"{"at_least": 3, "at_most": 2}"#, "no number is at least 3 and at most 2"),
        (r#"{"regex": "a("}"#, "`a(` is not a regular expression: unclosed group; expected"),
        (r#"{"regex": "a)(b"}"#, "is not a regular expression"),
        (r#"{"regex": "(a{1000}){1000}"}"#, "more than 256 KiB"),
        (r#"{"regexp": "a"}"#, "unknown field `regexp`"),
        (r#"[]"#, "expected a value, `true` (there)"),
    ] {
        let error = read(settings).unwrap_err();
        assert!(error.contains(part), "{settings}: {error}");
    }
}

#[test]
fn tests_are_shown_as_an_operator_would_say_them() {
    for (settings, shown) in [
        ("true", "any value"),
        ("false", "none"),
        (r#""a""#, "`a`"),
        (r#"{"prefix": "a", "not": true}"#, "not `a…`"),
        (r#"{"regex": "a+"}"#, "`~a+`"),
        (r#"{"at_least": 2, "at_most": 4}"#, "a number from 2 to 4"),
        (r#"{"at_most": 4}"#, "a number up to 4"),
    ] {
        assert_eq!(read(settings).unwrap().to_string(), shown);
    }
}
