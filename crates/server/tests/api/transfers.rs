//! Import and export jobs, to and from folders: what is written, what is read, what survives.

use std::{fs, path::PathBuf, time::Duration};

use fanfare_hub::{
    ids::JobId,
    ports::{Store as _, transfers::TransferStore as _},
    time::Timestamp,
    transfers::{BlobName, ContainerUri, Direction, TransferRequest},
};
use fanfare_store::Embedded;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::harness::Hub;

/// Where listeners of these tests listen.
const ADDRESS: &str = "127.0.0.74";
const PATIENCE: Duration = Duration::from_secs(20);

fn blob(hub: &Hub, path: &str) -> PathBuf {
    hub.folder.path().join("data/blobs").join(path)
}

fn lines(hub: &Hub, path: &str) -> Vec<Value> {
    let text = fs::read_to_string(blob(hub, path)).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "{text}");
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Asks until the job has ended; each look is a whole request.
async fn ended(hub: &Hub, id: &str) -> Value {
    let look = async {
        loop {
            let document = hub.done("GET", &format!("/jobs/{id}"), Value::Null).await;
            let status = document["status"].as_str().unwrap();
            if ["completed", "failed", "cancelled"].contains(&status) {
                return document;
            }
            assert!(["enqueued", "running"].contains(&status), "{document}");
        }
    };
    tokio::time::timeout(PATIENCE, look).await.unwrap()
}

async fn run(hub: &Hub, request: Value) -> Value {
    let accepted = hub.done("POST", "/jobs/create", request).await;
    ended(hub, accepted["jobId"].as_str().unwrap()).await
}

async fn export(hub: &Hub, container: &str) -> Value {
    run(
        hub,
        json!({"type": "export", "outputBlobContainerUri": container}),
    )
    .await
}

async fn import(hub: &Hub, container: &str) -> Value {
    run(hub, json!({"type": "import", "inputBlobContainerUri": container, "outputBlobContainerUri": container})).await
}

/// Devices of several kinds, with modules.
async fn populate(hub: &Hub) {
    let items = json!([
        {"id": "plain"},
        {"id": "kept", "status": "disabled", "statusReason": "in repair",
         "authentication": {"symmetricKey": {"primaryKey": "cHJpbWFyeSBrZXkgb2YgZ29sZA==",
                                              "secondaryKey": "c2Vjb25kIGtleSBvZiBnb2xkIQ=="}},
         "tags": {"ring": 1, "site": {"name": "b4"}}, "properties": {"desired": {"x": [1, 2.5, "ä"]}}},
        {"id": "signed", "authentication": {"type": "selfSigned", "x509Thumbprint": {
            "primaryThumbprint": "A".repeat(40), "secondaryThumbprint": "B".repeat(40)}}},
        {"id": "trusted", "authentication": {"type": "certificateAuthority"}},
        {"id": "kept", "moduleId": "m2", "properties": {"desired": {"v": 2}}},
        {"id": "kept", "moduleId": "m1", "managedBy": "us"},
        {"id": "plain", "moduleId": "m"},
    ]);
    hub.done("POST", "/devices", items).await;
}

/// compat: XFER-1, XFER-3, XFER-5
#[tokio::test]
async fn an_export_shows_everyone_with_modules_after_their_device() {
    let hub = Hub::start().await;
    populate(&hub).await;
    let done = export(&hub, "file:out/monday").await;
    assert_eq!(
        (&done["status"], &done["progress"], &done["type"]),
        (&json!("completed"), &json!(100), &json!("export"))
    );
    assert_eq!(done["outputBlobContainerUri"], "file:out/monday");
    assert_eq!(done["outputBlobName"], "devices.txt");
    assert_eq!(done["excludeKeysInExport"], false);
    assert!(
        done["startTimeUtc"].as_str() <= done["endTimeUtc"].as_str(),
        "{done}"
    );
    assert!(done.get("failureReason").is_none(), "{done}");

    let lines = lines(&hub, "out/monday/devices.txt");
    let named = |line: &Value| {
        let module = line["moduleId"].as_str().map(|module| format!("/{module}"));
        format!(
            "{}{}",
            line["id"].as_str().unwrap(),
            module.unwrap_or_default()
        )
    };
    let names: Vec<_> = lines.iter().map(named).collect();
    assert_eq!(
        names,
        [
            "plain", "plain/m", "kept", "kept/m2", "kept/m1", "signed", "trusted"
        ]
    );
    let device = hub.done("GET", "/devices/kept", Value::Null).await;
    let twin = hub.done("GET", "/twins/kept", Value::Null).await;
    let line = &lines[2];
    for (member, expected) in [
        ("eTag", &device["etag"]),
        ("status", &device["status"]),
        ("statusReason", &device["statusReason"]),
        ("authentication", &device["authentication"]),
        ("capabilities", &device["capabilities"]),
        ("twinETag", &twin["etag"]),
        ("tags", &twin["tags"]),
        ("properties", &twin["properties"]),
    ] {
        assert_eq!(&line[member], expected, "{member}");
    }
    assert_eq!(lines[4]["managedBy"], "us");
    assert_eq!(line.get("importMode"), None);
    let seen = hub
        .done(
            "GET",
            &format!("/jobs/v2/{}", done["jobId"].as_str().unwrap()),
            Value::Null,
        )
        .await;
    assert_eq!(
        seen,
        json!({"jobId": done["jobId"], "type": "unknown", "status": "unknown"})
    );
    assert_eq!(
        hub.done("GET", "/jobs/v2/query", Value::Null).await,
        json!([])
    );
    hub.stop().await;
}

#[tokio::test]
async fn keys_stay_in_when_they_are_to() {
    let hub = Hub::start().await;
    populate(&hub).await;
    let request = json!({"type": "Export", "outputBlobContainerUri": "file:out", "outputBlobName": "a/b.txt",
        "excludeKeysInExport": true, "storageAuthenticationType": "IdentityBased"});
    let done = run(&hub, request).await;
    assert_eq!(
        (&done["status"], &done["excludeKeysInExport"]),
        (&json!("completed"), &json!(true))
    );
    assert_eq!(
        (&done["outputBlobName"], &done["storageAuthenticationType"]),
        (&json!("a/b.txt"), &json!("identityBased"))
    );
    let text = fs::read_to_string(blob(&hub, "out/a/b.txt")).unwrap();
    let device = hub.done("GET", "/devices/plain", Value::Null).await;
    for key in ["primaryKey", "secondaryKey"] {
        let key = device["authentication"]["symmetricKey"][key]
            .as_str()
            .unwrap();
        assert!(!text.contains(key), "{text}");
    }
    let lines = lines(&hub, "out/a/b.txt");
    assert_eq!(lines[0]["authentication"]["type"], "sas");
    assert_eq!(
        lines[0]["authentication"]["symmetricKey"],
        json!({"primaryKey": null, "secondaryKey": null})
    );

    // Read back over the same devices, nobody loses a key or a way to sign in.
    let mut before = Vec::new();
    for id in ["plain", "kept", "signed", "trusted"] {
        before.push(
            hub.done("GET", &format!("/devices/{id}"), Value::Null)
                .await["authentication"]
                .clone(),
        );
    }
    let request = json!({"type": "import", "inputBlobContainerUri": "file:out/a", "inputBlobName": "b.txt",
        "outputBlobContainerUri": "file:log"});
    assert_eq!(run(&hub, request).await["status"], "completed");
    assert_eq!(fs::read(blob(&hub, "log/importErrors.log")).unwrap(), b"");
    for (id, before) in ["plain", "kept", "signed", "trusted"]
        .into_iter()
        .zip(before)
    {
        let after = hub
            .done("GET", &format!("/devices/{id}"), Value::Null)
            .await;
        assert_eq!(after["authentication"], before, "{id}");
    }
    hub.stop().await;
}

#[tokio::test]
async fn what_was_exported_makes_the_same_hub_elsewhere() {
    let old = Hub::start().await;
    populate(&old).await;
    export(&old, "file:out").await;
    let new = Hub::start().await;
    fs::create_dir_all(blob(&new, "in")).unwrap();
    fs::copy(blob(&old, "out/devices.txt"), blob(&new, "in/devices.txt")).unwrap();
    let done = import(&new, "file:in").await;
    assert_eq!(done["status"], "completed", "{done}");
    assert_eq!(done["inputBlobName"], "devices.txt");
    assert_eq!(fs::read(blob(&new, "in/importErrors.log")).unwrap(), b"");
    for path in [
        "plain",
        "kept",
        "signed",
        "trusted",
        "plain/modules/m",
        "kept/modules/m1",
        "kept/modules/m2",
    ] {
        let [was, is] = [&old, &new].map(|hub| async move {
            let device = hub
                .done("GET", &format!("/devices/{path}"), Value::Null)
                .await;
            let twin = hub
                .done("GET", &format!("/twins/{path}"), Value::Null)
                .await;
            let mut desired = twin["properties"]["desired"].clone();
            desired
                .as_object_mut()
                .unwrap()
                .retain(|key, _| !key.starts_with('$'));
            let members = [
                "deviceId",
                "moduleId",
                "status",
                "statusReason",
                "authentication",
                "managedBy",
            ];
            let members: Vec<_> = members.map(|name| device[name].clone()).into();
            (members, twin["tags"].clone(), desired)
        });
        assert_eq!(was.await, is.await, "{path}");
    }
    old.stop().await;
    new.stop().await;
}

/// compat: XFER-4, XFER-7
#[tokio::test]
async fn bad_lines_are_logged_and_the_others_done() {
    let hub = Hub::start().await;
    hub.done("POST", "/devices", json!([{"id": "there"}, {"id": "old"}]))
        .await;
    fs::create_dir_all(blob(&hub, "in")).unwrap();
    let text = [
        "\u{feff}{\"id\":\"new\",\"tags\":{\"n\":1}}\r\n",
        "\n",
        "not json, s3cret\n",
        "{\"id\":\"there\",\"importMode\":\"create\"}\n",
        "{\"id\":\"no/name\"}\n",
        "{\"id\":\"new\",\"moduleId\":\"m\"}\n",
        "{\"id\":\"nobody\",\"moduleId\":\"m\",\"importMode\":\"update\"}\n",
        "{\"id\":\"new\",\"importMode\":\"updateTwin\",\"tags\":{\"n\":2}}\n",
        "{\"id\":\"new\",\"importMode\":\"updateTwin\",\"tags\":{\"m\":3}}\n",
        "{\"id\":\"old\",\"importMode\":\"delete\"}\n",
        "{\"id\":\"last\",\"importMode\":\"create\"}",
    ];
    fs::write(blob(&hub, "in/devices.txt"), text.concat()).unwrap();
    let done = import(&hub, "file:in").await;
    assert_eq!(
        (&done["status"], &done["progress"]),
        (&json!("completed"), &json!(100))
    );
    let logged: Vec<_> = lines(&hub, "in/importErrors.log")
        .into_iter()
        .map(|entry| {
            assert!(
                !entry["errorStatus"].as_str().unwrap().contains("s3cret"),
                "{entry}"
            );
            let device = entry["deviceId"].as_str().unwrap_or_default().to_owned();
            (
                entry["fanfare"]["line"].as_u64().unwrap(),
                entry["errorCode"].as_u64().unwrap(),
                device,
            )
        })
        .collect();
    let expected = [
        (3, 400_012, ""),
        (4, 409_001, "there"),
        (5, 400_004, "no/name"),
        (7, 404_001, "nobody"),
    ];
    assert_eq!(
        logged,
        expected.map(|(line, code, id)| (line, code, id.to_owned()))
    );
    let twin = hub.done("GET", "/twins/new", Value::Null).await;
    assert_eq!(twin["tags"], json!({"n": 2, "m": 3}));
    hub.done("GET", "/devices/new/modules/m", Value::Null).await;
    hub.done("GET", "/devices/last", Value::Null).await;
    assert_eq!(
        hub.ask("GET", "/devices/old", Value::Null).await.status,
        404
    );
    hub.stop().await;
}

/// compat: XFER-2, XFER-6
#[tokio::test]
async fn one_job_at_a_time_until_it_is_cancelled() {
    let hub = Hub::start().await;
    hub.done("PUT", "/devices/a", json!({})).await;
    // A place that takes the connection and says nothing: the job hangs there until it is told otherwise.
    let silent = TcpListener::bind((ADDRESS, 0)).await.unwrap();
    let uri = format!(
        "http://{}/account/container?sv=1&sig=s3cret%3D",
        silent.local_addr().unwrap()
    );
    let request = json!({"type": "export", "outputBlobContainerUri": uri});
    let accepted = hub.done("POST", "/jobs/create", request.clone()).await;
    assert_eq!(accepted["status"], "enqueued");
    let id = accepted["jobId"].as_str().unwrap();
    let _connection = tokio::time::timeout(PATIENCE, silent.accept())
        .await
        .unwrap()
        .unwrap();
    let running = hub.done("GET", &format!("/jobs/{id}"), Value::Null).await;
    assert_eq!(running["status"], "running");
    assert_eq!(
        running["outputBlobContainerUri"],
        uri.replace("s3cret%3D", "***")
    );

    let refused = hub.ask("POST", "/jobs/create", request).await;
    assert_eq!(
        (refused.status.as_u16(), &*refused.code()),
        (403, "JobQuotaExceeded")
    );
    let canceled = hub
        .done("DELETE", &format!("/jobs/{id}"), Value::Null)
        .await;
    assert_eq!(canceled["status"], "cancelled");
    let again = hub.ask("DELETE", &format!("/jobs/{id}"), Value::Null).await;
    assert_eq!(again.code(), "OperationNotAllowedInCurrentState");
    let unknown = hub.ask("DELETE", "/jobs/unknown", Value::Null).await;
    assert_eq!(unknown.code(), "JobNotFound");

    assert_eq!(export(&hub, "file:out").await["status"], "completed");
    let listed = hub.done("GET", "/jobs", Value::Null).await;
    let statuses: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|job| &job["status"])
        .collect();
    assert_eq!(statuses, ["completed", "cancelled"]);
    hub.stop().await;
}

/// compat: XFER-7
#[tokio::test]
async fn a_job_cut_by_a_stop_begins_again() {
    let hub = Hub::start().await;
    populate(&hub).await;
    let silent = TcpListener::bind((ADDRESS, 0)).await.unwrap();
    let uri = format!(
        "http://{}/account/container?sig=x",
        silent.local_addr().unwrap()
    );
    let request = json!({"type": "export", "outputBlobContainerUri": uri});
    let accepted = hub.done("POST", "/jobs/create", request).await;
    let id = accepted["jobId"].as_str().unwrap().to_owned();
    let first = tokio::time::timeout(PATIENCE, silent.accept())
        .await
        .unwrap()
        .unwrap();
    let folder = hub.stop().await;
    drop(first);
    let hub = Hub::on(folder).await;
    let _second = tokio::time::timeout(PATIENCE, silent.accept())
        .await
        .unwrap()
        .unwrap();
    let again = hub.done("GET", &format!("/jobs/{id}"), Value::Null).await;
    assert_eq!(again["status"], "running");
    hub.done("DELETE", &format!("/jobs/{id}"), Value::Null)
        .await;
    let folder = hub.stop().await;

    // As a kill leaves it: the job is running, and half a blob lies beside the place of the whole one.
    let data = folder.path().join("data");
    let store = Embedded::open_inline(&data.join("fanfare.db")).unwrap();
    let request = TransferRequest {
        direction: Direction::Export {
            output: ContainerUri::new("file:out"),
            blob: BlobName::devices(),
            with_keys: true,
        },
        authentication: None,
        configurations: None,
        creator: None,
    };
    let id = JobId::parse("killed").unwrap();
    let job = store
        .transfer_insert(id, request, Timestamp(1), 1)
        .await
        .unwrap()
        .unwrap();
    store
        .transfer_begin(job.number, store.term(), Timestamp(2))
        .await
        .unwrap();
    store
        .transfer_progress(job.number, store.term(), 60)
        .await
        .unwrap();
    drop(store);
    fs::create_dir_all(data.join("blobs/out")).unwrap();
    fs::write(
        data.join("blobs/out/.devices.txt.partial"),
        "{\"id\":\"half",
    )
    .unwrap();
    let hub = Hub::on(folder).await;
    let done = ended(&hub, "killed").await;
    assert_eq!(done["status"], "completed", "{done}");
    assert_eq!(lines(&hub, "out/devices.txt").len(), 7);
    assert_eq!(fs::read_dir(blob(&hub, "out")).unwrap().count(), 1);
    hub.stop().await;
}

/// compat: XFER-8, XFER-9
#[tokio::test]
async fn a_request_that_cannot_be_is_refused_at_once() {
    let hub = Hub::start().await;
    let export = |uri: &str| json!({"type": "export", "outputBlobContainerUri": uri});
    let import = |uri: &str| json!({"type": "import", "inputBlobContainerUri": "file:a", "outputBlobContainerUri": uri});
    for (request, code, says) in [
        (json!({}), "ArgumentNull", "type"),
        (json!({"type": "backup"}), "ArgumentInvalid", "type"),
        (
            json!({"type": "export"}),
            "ArgumentNull",
            "outputBlobContainerUri",
        ),
        (
            json!({"type": "import", "outputBlobContainerUri": "file:a"}),
            "ArgumentNull",
            "inputBlobContainerUri",
        ),
        (
            export("file:../up"),
            "ArgumentInvalid",
            "outputBlobContainerUri: the path",
        ),
        (export("file:///etc"), "ArgumentInvalid", "the path"),
        (export("ftp://a/b"), "ArgumentInvalid", "the scheme"),
        (export("s3://bucket"), "ArgumentInvalid", "s3-access-key-id"),
        (
            export("http://example.com/a/c?sig=s3cret"),
            "ArgumentInvalid",
            "blob-plain-hosts",
        ),
        (
            export("https://a.blob.core.windows.net/c"),
            "ArgumentInvalid",
            "the query",
        ),
        (
            import("nothing"),
            "ArgumentInvalid",
            "outputBlobContainerUri: the scheme",
        ),
        (
            json!({"type": "export", "outputBlobContainerUri": "file:a", "includeConfigurations": true,
                "configurationsBlobName": "devices.txt"}),
            "ArgumentInvalid",
            "configurationsBlobName",
        ),
        (
            json!({"type": "export", "outputBlobContainerUri": "file:a", "outputBlobName": "../b"}),
            "ArgumentInvalid",
            "outputBlobName",
        ),
        (
            json!({"type": "export", "outputBlobContainerUri": "https://a.blob.core.windows.net/c",
                "storageAuthenticationType": "identityBased"}),
            "ArgumentInvalid",
            "no signature",
        ),
        (
            json!({"type": "export", "outputBlobContainerUri": "file:a", "identity": {"userAssignedIdentity": "/me"}}),
            "ArgumentInvalid",
            "identity",
        ),
    ] {
        let refused = hub.ask("POST", "/jobs/create", request.clone()).await;
        assert_eq!(refused.status, 400, "{request}");
        let body = String::from_utf8_lossy(&refused.body).into_owned();
        assert!(
            body.contains(says) && !body.contains("s3cret"),
            "{request}: {body}"
        );
        assert_eq!(refused.code(), code, "{request}");
    }
    assert_eq!(hub.done("GET", "/jobs", Value::Null).await, json!([]));
    let failed = import_of_nothing(&hub).await;
    assert_eq!(failed["status"], "failed");
    let reason = failed["failureReason"].as_str().unwrap();
    assert!(
        reason.contains("devices.txt in file:nothing does not exist"),
        "{reason}"
    );
    hub.stop().await;
}

async fn import_of_nothing(hub: &Hub) -> Value {
    import(hub, "file:nothing").await
}

fn configuration(priority: u32) -> Value {
    json!({
        "content": {"deviceContent": {"properties.desired.site": {"name": "b4"}}},
        "targetCondition": "tags.ring = 1", "priority": priority, "labels": {"team": "a"},
        "metrics": {"queries": {"all": "SELECT deviceId FROM devices"}},
    })
}

/// compat: XFER-10
#[tokio::test]
async fn configurations_go_along_when_they_are_to() {
    let hub = Hub::start().await;
    for (id, priority) in [("first", 3), ("second", 4)] {
        let path = format!("/configurations/{id}");
        hub.done("PUT", &path, configuration(priority)).await;
    }
    let export = json!({"type": "export", "outputBlobContainerUri": "file:out", "includeConfigurations": true});
    let done = run(&hub, export).await;
    assert_eq!(
        (&done["status"], &done["configurationsBlobName"]),
        (&json!("completed"), &json!("configurations.txt"))
    );
    let exported = lines(&hub, "out/configurations.txt");
    let ids: Vec<_> = exported.iter().map(|line| &line["id"]).collect();
    assert_eq!(ids, ["first", "second"]);

    hub.done("DELETE", "/configurations/first", Value::Null)
        .await;
    let path = blob(&hub, "out/configurations.txt");
    let mut text = fs::read_to_string(&path).unwrap();
    text.push_str("{\"id\":\"second\",\"importMode\":\"create\"}\n");
    text.push_str(
        "{\"id\":\"second\",\"importMode\":\"createOrUpdateIfMatchETag\",\"etag\":\"bm8=\"}\n",
    );
    text.push_str("{\"id\":\"third\",\"targetCondition\":\"nonsense = =\"}\n");
    text.push_str("{\"id\":\"second\",\"importMode\":\"updateTwin\"}\nnonsense\n");
    text.push_str("{\"id\":\"second\",\"importMode\":\"delete\"}\n");
    fs::write(&path, text).unwrap();
    let import = json!({"type": "import", "inputBlobContainerUri": "file:out",
        "outputBlobContainerUri": "file:log", "includeConfigurations": true});
    assert_eq!(run(&hub, import).await["status"], "completed");
    let logged: Vec<_> = lines(&hub, "log/importErrors.log")
        .into_iter()
        .map(|entry| {
            let place = &entry["fanfare"];
            assert_eq!(place["blob"], "configurations.txt");
            let line = place["line"].as_u64().unwrap();
            (
                line,
                entry["errorCode"].as_u64().unwrap(),
                place["configuration"].clone(),
            )
        })
        .collect();
    let expected = [
        (3, 409_401, json!("second")),
        (4, 412_001, json!("second")),
        (5, 400_401, json!("third")),
        (6, 400_004, json!("second")),
        (7, 400_012, Value::Null),
    ];
    assert_eq!(logged, expected);
    let first = hub.done("GET", "/configurations/first", Value::Null).await;
    for member in ["content", "targetCondition", "priority", "labels"] {
        assert_eq!(first[member], configuration(3)[member], "{member}");
    }
    assert_eq!(
        first["metrics"]["queries"],
        configuration(3)["metrics"]["queries"]
    );
    assert!(first.get("importMode").is_none(), "{first}");
    assert_eq!(
        hub.ask("GET", "/configurations/second", Value::Null)
            .await
            .status,
        404
    );
    hub.stop().await;
}
