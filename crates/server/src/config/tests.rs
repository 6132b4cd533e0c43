//! What each layer brings, and that every fault is reported.

use fanfare_hub::profile::{JobRules, Tier};

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
        ("FANFARE_HUB", "nor is this"),
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

#[test]
fn a_profile_is_a_tier_with_overrides() {
    let config = Config::from_layers(Flags::default(), []).unwrap();
    assert_eq!(config.profile, Profile::open());
    let variables = environment(&[("FANFARE_PROFILE", "azure-s3"), ("FANFARE_UNITS", "3")]);
    let config = Config::from_layers(Flags::default(), variables.clone()).unwrap();
    assert_eq!(config.profile, Profile::of(Tier::AzureS3, 3));

    let flags = Flags {
        config: Some(file("profile.toml")),
        ..Flags::default()
    };
    let config = Config::from_layers(flags, variables).unwrap();
    let expected = JobRules {
        active_max: Some(7),
        device_operations_per_second: None,
        cancel_while_running: true,
        condition_chars_max: Some(100),
        retry_window: Duration::from_secs(9),
    };
    assert_eq!(config.profile.tier, Tier::AzureS3, "the environment's");
    assert_eq!((config.profile.units, config.profile.jobs), (3, expected));
    assert!(config.profile.python_job_list);
}

#[test]
fn every_switch_can_be_set_by_itself() {
    let flags = |change: fn(&mut Flags)| {
        let mut flags = Flags::default();
        change(&mut flags);
        Config::from_layers(flags, []).unwrap().profile
    };
    type Case = (fn(&mut Flags), fn(&mut Profile));
    let cases: [Case; 6] = [
        (
            |f| f.jobs_at_once = Some("5".to_owned()),
            |p| p.jobs.active_max = Some(5),
        ),
        (
            |f| f.job_device_operations_per_second = Some("20".to_owned()),
            |p| p.jobs.device_operations_per_second = Some(20),
        ),
        (
            |f| f.cancel_while_running = Some("false".to_owned()),
            |p| p.jobs.cancel_while_running = false,
        ),
        (
            |f| f.condition_chars_max = Some("8192".to_owned()),
            |p| p.jobs.condition_chars_max = Some(8_192),
        ),
        (
            |f| f.job_retry_window = Some(0),
            |p| p.jobs.retry_window = Duration::ZERO,
        ),
        (
            |f| f.python_job_list = Some("false".to_owned()),
            |p| p.python_job_list = false,
        ),
    ];
    for (set, expect) in cases {
        let mut expected = Profile::open();
        expect(&mut expected);
        assert_eq!(flags(set), expected);
    }
}

#[test]
fn faults_of_a_profile_come_with_all_others() {
    let variables = environment(&[
        ("FANFARE_PROFILE", "azure-s4"),
        ("FANFARE_UNITS", "0"),
        ("FANFARE_JOBS_AT_ONCE", "none"),
        ("FANFARE_JOB_DEVICE_OPERATIONS_PER_SECOND", "0"),
        ("FANFARE_CANCEL_WHILE_RUNNING", "maybe"),
        ("FANFARE_CONDITION_CHARS_MAX", "-1"),
        ("FANFARE_JOB_RETRY_WINDOW", "86401"),
        ("FANFARE_PYTHON_JOB_LIST", "array"),
        ("FANFARE_HTTPS_PORT", "x"),
    ]);
    let error = Config::from_layers(Flags::default(), variables).unwrap_err();
    let text = error.to_string();
    assert_eq!(error.faults.len(), 9, "{text}");
    for part in [
        "profile must be one of open, azure-s1, azure-s2, azure-s3, \"azure-s4\" is not",
        "units must be a number of units, 1 to 200",
        "jobs-at-once must be \"unlimited\" or a number of jobs, 1 to 1000000",
        "cancel-while-running must be true or false",
        "condition-chars-max must be \"unlimited\" or a number of characters",
        "job-retry-window must be a number of seconds, 0 to 86400",
        "https-port must be",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}
