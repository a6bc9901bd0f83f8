use super::*;
use proptest::prelude::*;
use std::io::Write;

fn read(ending: &str, bytes: &[u8]) -> Result<Loaded<crate::config::Settings>, Mistakes> {
    let mut file = tempfile::Builder::new().suffix(ending).tempfile().unwrap();
    file.write_all(bytes).unwrap();
    load(Some(file.path()))
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
