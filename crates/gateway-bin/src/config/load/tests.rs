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
