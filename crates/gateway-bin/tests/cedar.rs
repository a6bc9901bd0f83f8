//! Policies in Cedar through the binary: what they see and decide, where that is told, what is said of bad ones, and
//! that these never take the place of good ones.
#![allow(clippy::unwrap_used)]

#[cfg(feature = "cedar")]
#[path = "cedar/all.rs"]
mod all;

use gateway_testkit::Gateway;

const EXE: &str = env!("CARGO_BIN_EXE_gateway");

#[cfg(not(feature = "cedar"))]
#[test]
fn a_build_without_cedar_says_which_feature_is_missing() {
    let config = "[cedar.shop]\npolicies = \"p.cedar\"\nschema = \"s.cedarschema\"\n\
                  [[routes]]\npath = \"/*\"\nrespond = \"ok\"\nauthorize = { cedar = \"shop\" }\n";
    for args in [&["check"][..], &["run"]] {
        let ended = Gateway::builder(EXE).config(config).args(args).run();
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        for part in [
            "gateway.toml:1:",
            "`cedar.shop`: this gateway was built without Cedar: the feature `cedar` is missing",
            "--features cedar",
            "1 mistake in the configuration",
        ] {
            assert!(ended.stderr.contains(part), "no `{part}` in {}", ended.stderr);
        }
    }
}

#[test]
fn policies_that_are_not_defined_are_a_mistake_and_none_is_no_name() {
    for (name, part) in [("shop", "there is no [cedar] `shop`"), ("none", "`none` names no policies")] {
        let config =
            format!("[[routes]]\npath = \"/*\"\nrespond = \"ok\"\nauthorize = {{ cedar = \"{name}\" }}\n");
        let ended = Gateway::builder(EXE).config(&config).args(&["check"]).run();
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains(part) && ended.stderr.contains("gateway.toml:4:"), "{}", ended.stderr);
    }
}
