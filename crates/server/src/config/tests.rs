//! What each layer brings, and that every fault is reported.

use super::*;

fn environment(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// A file beside these tests: the temporary folder belongs to everybody, who may also tidy it up.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/config/tests")
        .join(name)
}

#[test]
fn defaults_run_a_laptop() {
    let config = Config::from_layers(Flags::default(), []).unwrap();
    assert_eq!(config.data_dir, PathBuf::from("./fanfare-data"));
    assert_eq!(config.bind, [IpAddr::from([127, 0, 0, 1])]);
    assert_eq!(config.host_names, ["localhost"]);
    assert_eq!((config.https_port, config.mqtts_port), (443, 8_883));
    assert_eq!(config.mqtt_plain_port, None);
    assert_eq!(config.job_history, Duration::from_secs(30 * 24 * 3_600));
}

#[test]
fn each_layer_overrides_the_one_below() {
    let file = file("layers.toml");
    let flags = Flags {
        https_port: Some(30),
        ..Flags::default()
    };
    let variables = environment(&[
        ("FANFARE_CONFIG", file.to_str().unwrap()),
        ("FANFARE_HTTPS_PORT", "20"),
        ("FANFARE_MQTTS_PORT", "21"),
        ("FANFARE_BIND", "127.0.0.2, ::1"),
        ("FANFARE_CONNECTION_STRING", "not a setting"),
        ("HTTPS_PORT", "9"),
    ]);
    let config = Config::from_layers(flags, variables).unwrap();
    assert_eq!((config.https_port, config.mqtts_port), (30, 21));
    assert_eq!(config.mqtt_plain_port, Some(3));
    assert_eq!(config.host_names, ["a", "b"]);
    assert_eq!(config.bind.len(), 2);
}

#[test]
fn all_faults_are_reported_together_with_where_they_are() {
    let flags = Flags {
        config: Some(file("faults.toml")),
        host_name: vec!["localhost:8443".to_owned()],
        store: Some("postgres://db".to_owned()),
        ..Flags::default()
    };
    let variables = environment(&[("FANFARE_MQTTS_PORT", "99999"), ("FANFARE_BIND", "all")]);
    let error = Config::from_layers(flags, variables).unwrap_err();
    let text = error.to_string();
    assert_eq!(error.faults.len(), 6, "{text}");
    for part in [
        "https-prot is not a setting",
        "log-format must be",
        "faults.toml",
        "host-name must be",
        "the command line",
        "mqtts-port must be a port, 0 to 65535 (the environment)",
        "bind must be IP addresses, \"all\" is none",
        "later release",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn unencrypted_mqtt_stays_at_home_unless_forced() {
    let flags = |force| Flags {
        bind: vec!["127.0.0.2".to_owned(), "192.0.2.1".to_owned()],
        mqtt_plain_port: Some(1_883),
        mqtt_plain_force: force,
        ..Flags::default()
    };
    let error = Config::from_layers(flags(false), []).unwrap_err();
    assert!(error.faults[0].contains("192.0.2.1"), "{error}");
    assert!(Config::from_layers(flags(true), []).is_ok());
}

#[test]
fn two_listeners_cannot_share_a_port() {
    let flags = Flags {
        https_port: Some(8_883),
        ..Flags::default()
    };
    let error = Config::from_layers(flags, []).unwrap_err();
    assert_eq!(
        error.faults,
        ["mqtts-port is 8883, which is also https-port"]
    );
    let flags = Flags {
        https_port: Some(0),
        mqtts_port: Some(0),
        ..Flags::default()
    };
    assert!(Config::from_layers(flags, []).is_ok());
}

#[test]
fn a_missing_file_is_a_fault() {
    let flags = Flags {
        config: Some("/nowhere/fanfare.toml".into()),
        ..Flags::default()
    };
    let error = Config::from_layers(flags, []).unwrap_err();
    assert!(
        error.to_string().contains("/nowhere/fanfare.toml"),
        "{error}"
    );
}
