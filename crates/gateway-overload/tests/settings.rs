//! Settings as an operator writes them.

#![allow(clippy::unwrap_used)]

use gateway_core::units::{Short, Switch, Timespan};
use gateway_overload::{
    AdaptiveSettings, AdmissionSettings, AlgorithmName, ConcurrencyKey, ConcurrencySettings, DelayFault,
    FaultSettings,
};
use serde::de::DeserializeOwned;

fn read<T: DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).unwrap()
}

fn wrong<T: DeserializeOwned>(text: &str) -> String {
    serde_json::from_str::<T>(text).err().unwrap().to_string()
}

#[test]
fn short_forms_stand_for_tables() {
    let Short(limit) = read::<Short<ConcurrencySettings>>("100");
    assert_eq!(limit, ConcurrencySettings::all(100));
    let Short(limit) =
        read::<Short<ConcurrencySettings>>(r#"{"max": 5, "key": "header:x-tenant", "queue": 9}"#);
    assert_eq!((limit.queue.length, limit.queue.timeout), (9, Timespan::secs(1)));
    assert_eq!(limit.key, ConcurrencyKey::Header("x-tenant".parse().unwrap()));

    assert_eq!(read::<Switch<AdaptiveSettings>>("true").on(), Some(&AdaptiveSettings::default()));
    assert_eq!(read::<Switch<AdaptiveSettings>>("false").on(), None);
    assert_eq!(read::<Switch<AdaptiveSettings>>("\"vegas\"").on().unwrap().algorithm, AlgorithmName::Vegas);
    assert_eq!(read::<Switch<AdmissionSettings>>("true").on(), Some(&AdmissionSettings::default()));

    let faults = read::<FaultSettings>(r#"{"delay": "2s", "abort": 503, "rate": "10KiB"}"#);
    assert_eq!(faults.delay.unwrap().0, DelayFault { time: Timespan::secs(2), percent: 100.0 });
    assert_eq!(faults.abort.unwrap().status, 503);
    assert_eq!(faults.rate.unwrap().per_second.bytes(), 10_240);
}

#[test]
fn mistakes_are_named() {
    for (error, part) in [
        (wrong::<Short<ConcurrencySettings>>("true"), "expected a number of requests, or a table"),
        (wrong::<Short<ConcurrencySettings>>("-1"), "-1 is no number of requests"),
        (
            wrong::<Switch<AdaptiveSettings>>("\"bbr\""),
            "`bbr` is no algorithm; expected `gradient2`, `aimd` or `vegas`",
        ),
        (wrong::<Switch<AdmissionSettings>>("1"), "expected true, or a table"),
        (wrong::<AdmissionSettings>(r#"{"windw": "1s"}"#), "unknown field `windw`"),
        (wrong::<AdmissionSettings>(r#"{"priority": "high"}"#), "unknown variant `high`"),
    ] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn every_setting_has_a_description_with_its_default() {
    let schemas = [
        schemars::schema_for!(ConcurrencySettings),
        schemars::schema_for!(AdaptiveSettings),
        schemars::schema_for!(AdmissionSettings),
        schemars::schema_for!(FaultSettings),
    ];
    for schema in schemas {
        for (name, property) in schema.get("properties").unwrap().as_object().unwrap() {
            let description = property["description"].as_str().unwrap_or_default();
            assert!(description.contains("Default"), "{name}: {description}");
        }
    }
}
