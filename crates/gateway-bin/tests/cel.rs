//! Expressions in matches through the binary: what they decide, where they are shown, and what is said of bad ones.
#![allow(clippy::unwrap_used)]

#[cfg(feature = "cel")]
#[path = "cel/all.rs"]
mod all;

use gateway_testkit::Gateway;

const EXE: &str = env!("CARGO_BIN_EXE_gateway");

#[cfg(not(feature = "cel"))]
#[test]
fn a_build_without_cel_says_which_feature_is_missing() {
    let config = "[[routes]]\npath = \"/*\"\nrespond = \"ok\"\nmatch.when = \"request.method == 'GET'\"\n";
    for args in [&["check"][..], &["run"]] {
        let ended = Gateway::builder(EXE).config(config).args(args).run();
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        for part in [
            "gateway.toml:4:14:",
            "`routes[0].match.when`: expressions are not in this build: the feature `cel` is missing",
            "--features cel",
            "1 mistake in the configuration",
        ] {
            assert!(ended.stderr.contains(part), "no `{part}` in {}", ended.stderr);
        }
    }
}

#[cfg(not(feature = "cel"))]
#[test]
fn so_it_does_for_the_tiers_of_a_limit() {
    let config = "[rate_limits.api.tiers]\nvalues = { gold = \"9/s\" }\n\
                  by.expressions = [{ tier = \"gold\", when = \"true\" }]\n\
                  [[routes]]\npath = \"/*\"\nrespond = \"ok\"\nrate_limit = \"api\"\n";
    let ended = Gateway::builder(EXE).config(config).args(&["check"]).run();
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    for part in [
        "gateway.toml:3:43: `rate_limits.api.tiers.by.expressions[0].when`: expressions are not in this build",
        "--features cel",
        "1 mistake in the configuration",
    ] {
        assert!(ended.stderr.contains(part), "no `{part}` in {}", ended.stderr);
    }
}

#[test]
fn an_expression_is_a_text() {
    let config = "[[routes]]\npath = \"/*\"\nrespond = \"ok\"\nmatch.when = true\n";
    let ended = Gateway::builder(EXE).config(config).args(&["check"]).run();
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    let part = "gateway.toml:4:14: `routes[0].match.when` is `true`; expected a text";
    assert!(ended.stderr.contains(part), "{}", ended.stderr);
}
