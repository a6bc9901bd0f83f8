use super::environment::is_of_kubernetes;
use super::*;
use proptest::prelude::*;
use std::io::Write;

fn read(ending: &str, bytes: &[u8]) -> Result<Loaded<crate::config::Settings>, Mistakes> {
    let mut file = tempfile::Builder::new().suffix(ending).tempfile().unwrap();
    file.write_all(bytes).unwrap();
    load(Some(file.path()))
}

#[test]
fn what_kubernetes_sets_for_a_service_called_gateway_is_no_key_of_ours() {
    for name in [
        "PORT",
        "port",
        "SERVICE_HOST",
        "SERVICE_PORT",
        "SERVICE_PORT_HTTP",
        "SERVICE_PORT_HTTP_ADMIN",
        "PORT_80_TCP",
        "PORT_80_TCP_ADDR",
        "PORT_8443_UDP_PORT",
        "PORT_80_SCTP_PROTO",
    ] {
        assert!(is_of_kubernetes(name), "{name}");
    }
    for name in [
        "PORTS",
        "SERVER__LISTEN",
        "SERVICE",
        "SERVICES__A__RETRY",
        "PORT_TCP",
        "PORT_80_TCP_X",
        "SERVICE_PORT__X",
    ] {
        assert!(!is_of_kubernetes(name), "{name}");
    }
}

#[test]
fn the_environment_stands_over_the_file_table_by_table() {
    let table = |value: Value| match value {
        Value::Object(table) => table,
        _ => Map::new(),
    };
    let mut file = table(serde_json::json!({ "a": { "b": 1, "c": 2 }, "d": [1, 2], "e": { "f": 1 } }));
    put_over(&mut file, table(serde_json::json!({ "a": { "c": 3, "x": 4 }, "d": [9], "e": 5, "g": 6 })));
    let expected = serde_json::json!({ "a": { "b": 1, "c": 3, "x": 4 }, "d": [9], "e": 5, "g": 6 });
    assert_eq!(Value::Object(file), expected);
}

/// All that is said of a file.
fn said(ending: &str, text: &str) -> String {
    let mistakes = match read(ending, text.as_bytes()) {
        Ok(loaded) => Mistakes::some(loaded.mistakes).err(),
        Err(mistakes) => Some(mistakes),
    };
    mistakes.map(|mistakes| mistakes.to_string()).unwrap_or_default()
}

#[test]
fn what_is_nested_too_deep_is_a_mistake_and_not_the_end_of_the_process() {
    let tables = |deep| (0..deep).map(|i| format!("{}a:\n", " ".repeat(i))).collect::<String>();
    let anchors =
        (1..60).fold("a0: &a0 [[1]]\n".to_owned(), |text, i| format!("{text}a{i}: &a{i} [[*a{}]]\n", i - 1));
    for (ending, text) in [
        (".yaml", format!("x:\n{}1\n", "- ".repeat(20_000))),
        (".yaml", tables(3_000)),
        (".yaml", anchors),
        (".json", format!("{{\"x\": {}1{}}}", "[".repeat(200), "]".repeat(200))),
        (".json", format!("{}1{}", "{\"x\": ".repeat(20_000), "}".repeat(20_000))),
    ] {
        let said = said(ending, &text);
        // In braces and brackets the parser itself goes no deeper than 255.
        let too_deep = ["stand in each other more than 80 deep", "recursion limit exceeded"];
        assert!(too_deep.iter().any(|why| said.contains(why)), "{said:.500}");
        assert!(said.contains("1 mistake"), "{}", &said[said.len().saturating_sub(100)..]);
    }
    // What may be read goes through all that is made of it.
    let most = said(".yaml", &tables(79));
    assert!(most.contains("unknown key `a`"), "{most:.500}");
    for text in [format!("x = {}1{}", "[".repeat(20_000), "]".repeat(20_000)), "a.".repeat(20_000) + "a = 1"]
    {
        assert!(said(".toml", &text).contains("1 mistake"));
    }
}

#[test]
fn nothing_that_a_file_of_yaml_says_is_left_out_in_silence() {
    for (text, expected) in [
        ("log: !env LEVEL\n", ":1:6: the tag `!env` is not known here"),
        ("log: !env LEVEL\n", "write \"${NAME}\""),
        ("log:\n  level: ! warn\n", ":2:10: the tag"),
        ("log: !table { level: warn }\n", ":1:6: the tag `!table`"),
        ("routes: !list\n  - path: /a\n", "the tag `!list`"),
        ("log: { level: !!binary d2Fybg== }\n", "the tag `!!binary`"),
        ("server: { workers: !!int four }\n", ":1:20: this is not a value of the kind that its tag says"),
        ("log: { level: warn }\n---\nserver: {}\n", ":2:1: a second document begins here"),
        ("log: { level: warn }\n...\nserver: {}\n", ":3:1: a second document begins here"),
        ("---\n---\nlog: { level: warn }\n", ":2:1: a second document begins here"),
        ("~: 1\n", ":1:1: a key that is no text"),
        ("log:\n  1.5: 1\n", ":2:3: a key that is no text"),
        ("? [a, b]\n: 1\n", ":1:3: a key that is no text"),
        ("services:\n  1: {}\n  \"1\": {}\n", ":3:3: duplicate key `1`"),
        ("a: &a [*a]\n", "this would stand in itself"),
        ("hosts: [*.example.org]\n", "stands in quotes, such as \"*.example.org\""),
    ] {
        let said = said(".yaml", text);
        assert!(said.contains(expected), "{text}: {said}");
    }
    for good in [
        "",
        "# nothing\n",
        "---\n",
        "---\nlog: { level: !!str warn }\n...\n",
        "log: &log { level: warn }\n# end\n",
        "server: !!map { workers: !!int 4, proxy_protocol: !!seq [] }\n",
    ] {
        assert_eq!(said(".yaml", good), "", "{good}");
    }
}

#[test]
fn json_may_write_a_character_as_two_escapes() {
    let text = r#"{ "log": { "\ud83d\ude00": 1, "\\ud83d\\ude00": 1, "level": "warn" } }"#;
    let said = said(".json", text);
    assert!(said.contains("unknown key `\u{1f600}` in log"), "{said}");
    assert!(said.contains(r"unknown key `\ud83d\ude00` in log"), "a backslash begins no escape: {said}");
}

const GOOD: &str = include_str!("../../../../../examples/echo-swarm/gateway.toml");

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for ending in [".toml", ".yaml", ".json"] {
            let _ = read(ending, &bytes).map(|loaded| loaded.mistakes);
        }
    }

    #[test]
    fn a_key_is_taken_apart_as_it_was_put_together(names in prop::collection::vec("[ -~]{1,8}", 1..5), index in 0usize..100) {
        let key = names.iter().fold(String::new(), |key, name| file::join(&key, name));
        let mut steps = names.clone();
        prop_assert_eq!(file::steps(&key), steps.clone());
        steps.push(index.to_string());
        prop_assert_eq!(file::steps(&format!("{key}[{index}]")), steps);
    }

    #[test]
    fn no_change_of_a_good_file_makes_it_panic(at in 0usize..GOOD.len(), cut in 0usize..40, put in "[\\[\\]{}\"=.,a-z0-9\n ]{0,10}") {
        if GOOD.is_char_boundary(at) && GOOD.is_char_boundary((at + cut).min(GOOD.len())) {
            let mut text = GOOD.to_owned();
            text.replace_range(at..(at + cut).min(GOOD.len()), &put);
            let shown = match read(".toml", text.as_bytes()) {
                Ok(loaded) => Mistakes::some(loaded.mistakes).err().map(|mistakes| mistakes.to_string()),
                Err(mistakes) => Some(mistakes.to_string()),
            };
            prop_assert!(shown.is_none_or(|shown| shown.contains("in the configuration")));
        }
    }
}
