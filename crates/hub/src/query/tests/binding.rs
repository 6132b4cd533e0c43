//! Names to paths: casing, prefixes, aliases, and spellings brought to one form.

use super::super::Source;
use super::{Condition, JsonDocument, Query, job_row, selects, selects_row};

#[test]
fn system_names_go_in_any_case_and_keys_do_not() {
    for condition in [
        "DEVICEID = 'pump-3'",
        "DeviceId IN ['pump-3']",
        "[[deviceid]] = 'pump-3'",
        "ConnectionState = 'Disconnected'",
        "X509THUMBPRINT.primarythumbprint = null",
        "capabilities.IOTEDGE = false",
        "IS_OBJECT(capabilities) AND IS_OBJECT(x509thumbprint) AND IS_OBJECT(Properties)",
        "modelId = '' AND version = 7 AND cloudToDeviceMessageCount = 0",
        "etag != deviceEtag AND authenticationType = 'sas'",
        "NOT IS_DEFINED(moduleId) AND NOT IS_DEFINED(deviceScope)",
        "tags.floor = 3 AND tags.Floor = 4 AND NOT IS_DEFINED(tags.FLOOR)",
        "TAGS.floor = 3 AND Properties.Desired.t = 5 AND NOT IS_DEFINED(properties.desired.T)",
        "tags['a-b'].[[c d]] = 1 AND tags.[[a-b]]['c d'] = 1",
        "tags.[[group]].name = 'g' AND tags.group.name = 'g'",
        "properties.desired.$version = 4 AND properties.reported['$version'] = 9",
        "properties.reported.$metadata.$lastUpdated > '2031-02-03'",
        "properties.desired.$metadata.t.$lastUpdatedVersion = 4",
        "IS_OBJECT(properties.desired.$metadata.t)",
        "NOT IS_DEFINED(properties.desired.$version.x)",
        "NOT IS_DEFINED(tags.building.x.y)",
        "devices.deviceId = 'pump-3' AND Devices.tags.floor = 3",
        "FROM devices WHERE deviceId = 'pump-3'",
        "FROM devices c WHERE c.deviceId = 'pump-3' AND devices.tags.floor = 3",
        "FROM c WHERE c.tags.floor = 3",
        "FROM devices AS d WHERE D.tags.floor = 3 AND tags.floor = 3",
        "FROM devices.modules WHERE devices.modules.deviceId = 'pump-3' AND devices.tags.floor = 3",
        "statusUpdatedTime = statusUpdateTime",
    ] {
        assert!(selects(condition), "{condition}");
    }
}

#[test]
fn statuses_of_configurations_have_a_path() {
    for condition in [
        "configurations.[[cool]].status = 'Applied'",
        "CONFIGURATIONS.cool.Status = 'Applied' AND NOT IS_DEFINED(configurations.[[Cool]])",
        "configurations.[[it's]].status IN ['Targeted'] AND configurations['it\\'s'].status > 'T'",
        "IS_DEFINED(configurations.[[cool]]) AND IS_OBJECT(configurations.[[cool]])",
        "IS_OBJECT(configurations) AND IS_OBJECT(devices.configurations)",
        "NOT IS_DEFINED(configurations.[[gone]]) AND NOT IS_DEFINED(configurations.[[gone]].status)",
        "FROM devices c WHERE c.configurations.[[cool]].status = 'Applied'",
        "FROM devices.modules WHERE devices.modules.configurations.[[cool]].status = 'Applied'",
    ] {
        assert!(selects(condition), "{condition}");
    }
    for condition in [
        "configurations.[[cool]].status = 'applied'",
        "configurations.[[gone]].status != 'Applied'",
        "configurations.[[cool]] = 'Applied'",
    ] {
        assert!(!selects(condition), "{condition}");
    }
}

#[test]
fn sources_are_told_apart() {
    for (text, source) in [
        ("*", Source::Devices),
        ("FROM Devices", Source::Devices),
        ("from devices.MODULES where tags.a = 1", Source::Modules),
    ] {
        assert_eq!(Condition::parse(text).unwrap().source(), source, "{text}");
    }
    let query = Query::parse("SELECT * FROM Devices.Jobs").unwrap();
    assert_eq!(query.source(), Source::Jobs);
}

#[test]
fn rows_of_jobs_have_their_own_names() {
    for condition in [
        "devices.jobs.jobId = 'fw-9'",
        "JOBID = 'fw-9' AND deviceid = 'pump-3' AND jobType = 'scheduleDeviceMethod'",
        "devices.jobs.createdTimeUtc > '2016-09-01'",
        "createdTimeUtc = createdDateTimeUtc AND lastUpdatedTimeUtc = lastUpdatedDateTimeUtc",
        "startTimeUtc < endTimeUtc",
        "outcome.DeviceMethodResponse.Status = 200",
        "outcome.deviceMethodResponse.payload.N = 1",
        "NOT IS_DEFINED(outcome.deviceMethodResponse.payload.n)",
        "Error.Code = 'JobRunPreconditionFailed' AND IS_STRING(error.description)",
        "IS_OBJECT(outcome) AND IS_OBJECT(error)",
    ] {
        assert!(selects_row(condition), "{condition}");
    }
    let aliased = Query::parse("SELECT * FROM devices.jobs c WHERE c.jobId = 'fw-9'").unwrap();
    assert!(aliased.matches(&JsonDocument(&job_row())));
}

#[test]
fn both_spellings_of_canceled_are_equal_in_filters_on_status() {
    for condition in [
        "status = 'canceled'",
        "status = 'cancelled'",
        "'cancelled' = devices.jobs.status",
        "status IN ['failed', 'cancelled']",
        "NOT status != 'cancelled'",
        "status NOT IN ['failed']",
    ] {
        assert!(selects_row(condition), "{condition}");
    }
    assert!(!selects_row(
        "jobId = 'cancelled' OR status NOT IN ['cancelled']"
    ));
}

#[test]
fn complete_timestamps_compare_as_moments() {
    for condition in [
        // The stored value is half a second later; as strings the dot sorts before the Z.
        "lastActivityTime > '2031-02-03T04:05:06Z'",
        "lastActivityTime = '2031-02-03T04:05:06.5Z'",
        "lastActivityTime = '2031-02-03T05:05:06.50+01:00'",
        "lastActivityTime IN ['2031-02-03T04:05:06.5Z']",
        "'2031-02-03T04:05:06.500000099Z' = lastActivityTime",
        "lastActivityTime > '2031-02-03'",
        "lastActivityTime < '2031-02-04T00:00'",
        "lastActivityTime > '0001-01-01T00:00:00Z'",
        "statusUpdateTime = '2031-02-03T04:05:06Z'",
        "properties.desired.$metadata.t.$lastUpdated <= '2031-02-03T04:05:06Z'",
        // Only fields that are timestamps.
        "NOT '2031-02-03T04:05:06Z' = '2031-02-03T04:05:06.0Z'",
        "lastActivityTime != '2031-02-30T04:05:06Z'",
    ] {
        assert!(selects(condition), "{condition}");
    }
    assert!(selects_row("startTimeUtc = '2031-02-03T04:05:06.12Z'"));

    let mut never = super::twin();
    never["lastActivityTime"] = "0001-01-01T00:00:00Z".into();
    for text in [
        "= '0001-01-01T00:00:00Z'",
        "= '0001-01-01T00:00:00.000Z'",
        "< '2000-01-01'",
    ] {
        let condition = Condition::parse(&format!("lastActivityTime {text}")).unwrap();
        assert!(condition.matches(&JsonDocument(&never)), "{text}");
    }
}

#[test]
fn ids_are_found_where_an_expression_confines_them() {
    let cases: [(&str, Option<&[&str]>); 16] = [
        ("*", None),
        ("deviceId = 'b'", Some(&["b"])),
        ("'b' = devices.DeviceId", Some(&["b"])),
        ("deviceId IN ['b', 'a', 'b']", Some(&["a", "b"])),
        ("deviceId IN []", Some(&[])),
        ("deviceId IN ['a', 1]", None),
        ("deviceId NOT IN ['a']", None),
        ("NOT deviceId = 'a'", None),
        ("deviceId != 'a'", None),
        ("deviceId > 'a'", None),
        ("deviceId = 'a' OR tags.x = 1", None),
        (
            "deviceId = 'b' OR deviceId IN ['a'] OR deviceId = 'b'",
            Some(&["a", "b"]),
        ),
        (
            "tags.x = 1 AND (deviceId = 'a' OR deviceId = 'b')",
            Some(&["a", "b"]),
        ),
        (
            "deviceId IN ['a', 'b', 'c'] AND deviceId IN ['b', 'c', 'd'] AND true",
            Some(&["b", "c"]),
        ),
        ("deviceId = 'a' AND deviceId = 'b'", Some(&[])),
        ("tags.deviceId = 'a'", None),
    ];
    for (text, wanted) in cases {
        let condition = Condition::parse(text).unwrap();
        assert_eq!(condition.identity_ids().as_deref(), wanted, "{text}");
    }
    let query =
        Query::parse("SELECT * FROM devices.jobs WHERE jobId = 'j' AND deviceId IN ['a', 'b']");
    let query = query.unwrap();
    assert_eq!(query.job_ids().unwrap(), ["j"]);
    assert_eq!(query.identity_ids().unwrap(), ["a", "b"]);
}

#[test]
fn the_text_is_kept_byte_for_byte() {
    let text = "  deviceId\tIN ['a' ,\n\"b\"] ";
    assert_eq!(Condition::parse(text).unwrap().text(), text);
    let text = " SELECT *\r\nFROM devices ";
    assert_eq!(Query::parse(text).unwrap().text(), text);
}
