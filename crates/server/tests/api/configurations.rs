//! Configurations over the service API.

use serde_json::{Value, json};

use crate::harness::{Hub, Reply};

const ONE: &str = "/configurations/cool";

fn configuration(more: Value) -> Value {
    let mut document = json!({
        "id": "cool",
        "schemaVersion": "1.0",
        "labels": {"made": "here"},
        "content": {"deviceContent": {"properties.desired.place": {"floor": 3, "rooms": [1, 2]}}},
        "targetCondition": "tags.site='b4'",
        "priority": 10,
        "metrics": {"results": {"x": 1}, "queries": {"all": "SELECT deviceId FROM devices"}},
        "etag": "*",
        "note": {"b": 1.50, "a": null},
    });
    for (key, value) in more.as_object().unwrap() {
        document[key] = value.clone();
    }
    document
}

async fn send(hub: &Hub, method: &str, path: &str, etag: Option<&str>, body: &Value) -> Reply {
    let headers: Vec<_> = etag.map(|etag| ("if-match", etag)).into_iter().collect();
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    hub.send("iothubowner", method, path, &headers, &body).await
}

async fn until(hub: &Hub, path: &str, mut found: impl FnMut(&Value) -> bool) {
    let look = async {
        while !found(&hub.done("GET", path, Value::Null).await) {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(std::time::Duration::from_secs(30), look).await;
    waited.unwrap_or_else(|_| panic!("waited in vain for {path}"));
}

#[tokio::test]
async fn a_configuration_is_echoed_as_it_was_sent() {
    let hub = Hub::start().await;
    let sent = configuration(json!({}));
    let made = hub.done("PUT", ONE, sent.clone()).await;
    let shown = hub.done("GET", ONE, Value::Null).await;
    assert_eq!(made["createdTimeUtc"], shown["createdTimeUtc"]);
    for member in [
        "id",
        "schemaVersion",
        "labels",
        "content",
        "targetCondition",
        "priority",
        "note",
    ] {
        assert_eq!(shown[member], sent[member], "{member}");
    }
    assert_eq!(shown["etag"], "MQ==");
    assert_eq!(shown["metrics"]["queries"], sent["metrics"]["queries"]);
    assert_eq!(
        shown["systemMetrics"]["queries"],
        json!({
            "targetedCount": "select deviceId from devices where tags.site='b4'",
            "appliedCount": "select deviceId from devices where configurations.[[cool]].status = 'Applied'",
        })
    );
    let raw = r#"{"content": {"deviceContent" :{"properties.desired.z":1.50, "properties.desired.a":2}} }"#;
    let reply = hub
        .send("registryReadWrite", "PUT", "/configurations/raw", &[], raw)
        .await;
    let text = String::from_utf8(reply.body.to_vec()).unwrap();
    let content =
        r#""content":{"deviceContent" :{"properties.desired.z":1.50, "properties.desired.a":2}},"#;
    assert!(text.contains(content), "{text}");
    let minimal: Value = reply_json(&text);
    assert_eq!(
        (&minimal["priority"], &minimal["schemaVersion"]),
        (&json!(0), &json!("1.0"))
    );
    assert_eq!(
        (&minimal["labels"], &minimal["targetCondition"]),
        (&json!(null), &json!(""))
    );

    let all = hub.done("GET", "/configurations", Value::Null).await;
    let ids: Vec<_> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["id"].clone())
        .collect();
    assert_eq!(ids, ["cool", "raw"]);
    let first = hub.done("GET", "/configurations?top=1", Value::Null).await;
    assert_eq!(first.as_array().unwrap().len(), 1);
    hub.stop().await;
}

fn reply_json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn etags_guard_changes_and_removals() {
    let hub = Hub::start().await;
    let body = configuration(json!({}));
    assert_eq!(
        send(&hub, "PUT", ONE, Some("\"*\""), &body).await.code(),
        "ConfigurationNotFound"
    );
    assert_eq!(send(&hub, "PUT", ONE, None, &body).await.status, 200);
    assert_eq!(
        send(&hub, "PUT", ONE, None, &body).await.code(),
        "ConfigurationAlreadyExists"
    );
    let other = send(&hub, "PUT", ONE, Some("\"Mg==\""), &body).await;
    assert_eq!(other.code(), "PreconditionFailed");
    let body = configuration(json!({"priority": 20}));
    let changed = send(&hub, "PUT", ONE, Some("\"MQ==\""), &body).await.json();
    assert_eq!(
        (&changed["etag"], &changed["priority"]),
        (&json!("Mg=="), &json!(20))
    );
    let without = json!({"targetCondition": "", "priority": 5});
    let kept = send(&hub, "PUT", ONE, Some("*"), &without).await.json();
    assert_eq!(
        kept["content"], body["content"],
        "a change without a content keeps it"
    );
    let refused = send(&hub, "DELETE", ONE, Some("\"MQ==\""), &Value::Null).await;
    assert_eq!(refused.code(), "PreconditionFailed");
    assert_eq!(
        send(&hub, "DELETE", ONE, None, &Value::Null).await.status,
        204
    );
    assert_eq!(
        send(&hub, "DELETE", ONE, None, &Value::Null).await.code(),
        "ConfigurationNotFound"
    );
    assert_eq!(
        send(&hub, "GET", ONE, None, &Value::Null).await.code(),
        "ConfigurationNotFound"
    );
    hub.stop().await;
}

/// Changes of a good configuration, the code that refuses each, and what its text names.
fn refused() -> Vec<(Value, &'static str, &'static str)> {
    let invalid = "ArgumentInvalid";
    vec![
        (
            json!({"targetCondition": "tags.a ="}),
            "InvalidConfigurationTargetCondition",
            "targetCondition",
        ),
        (
            json!({"targetCondition": "FROM devices.modules WHERE tags.a = 1"}),
            "InvalidConfigurationTargetCondition",
            "modules",
        ),
        (
            json!({"content": {"moduleContent": {"properties.desired.a": 1}}}),
            "InvalidConfigurationTargetCondition",
            "devices.modules",
        ),
        (
            json!({"content": {"deviceContent": {"tags.a": 1}}}),
            invalid,
            "tags.a",
        ),
        (json!({"content": "text"}), invalid, "content"),
        (
            json!({"content": {"deviceContent": {"properties.desired.a b": 1}}}),
            invalid,
            "a b",
        ),
        (
            json!({"metrics": {"queries": {"bad": "SELECT"}}}),
            invalid,
            "metrics.queries.bad",
        ),
        (
            json!({"metrics": {"queries": {"bad": "SELECT * FROM devices.jobs"}}}),
            invalid,
            "bad",
        ),
        (json!({"priority": -1}), invalid, "priority"),
        (json!({"priority": 2_147_483_648_u64}), invalid, "priority"),
        (json!({"labels": {"a": 1}}), invalid, "labels.a"),
        (json!({"id": "other"}), invalid, "other"),
    ]
}

#[tokio::test]
async fn what_cannot_be_is_refused_and_leaves_nothing() {
    let hub = Hub::start().await;
    for (more, code, part) in refused() {
        let reply = send(&hub, "PUT", ONE, None, &configuration(more.clone())).await;
        assert_eq!(
            (reply.code().as_str(), reply.status.as_u16()),
            (code, 400),
            "{more}"
        );
        let text = reply.json()["Message"].as_str().unwrap().to_owned();
        assert!(text.contains(part), "{more}: {text}");
    }
    for path in [
        "/configurations/Cool",
        "/configurations/a%20b",
        "/configurations/a.b",
    ] {
        assert_eq!(
            send(&hub, "PUT", path, None, &json!({})).await.code(),
            "ArgumentInvalid",
            "{path}"
        );
        assert_eq!(
            send(&hub, "GET", path, None, &Value::Null).await.code(),
            "ConfigurationNotFound"
        );
    }
    assert_eq!(
        hub.done("GET", "/configurations", Value::Null).await,
        json!([])
    );
    hub.stop().await;
}

#[tokio::test]
async fn queries_can_be_tried_out() {
    let hub = Hub::start().await;
    let fine = json!({
        "targetCondition": "tags.site='b4'",
        "customMetricQueries": {"a": "SELECT deviceId FROM devices WHERE configurations.[[x]].status='Applied'"},
    });
    let result = hub.done("POST", "/configurations/testQueries", fine).await;
    assert_eq!(
        result,
        json!({"targetConditionError": "", "customMetricQueryErrors": {}})
    );
    let bad = json!({"targetCondition": "tags.site=", "customMetricQueries": {"a": "no", "b": "SELECT * FROM devices"}});
    let result = hub.done("POST", "/configurations/testQueries", bad).await;
    assert!(
        result["targetConditionError"]
            .as_str()
            .unwrap()
            .contains("Line 1:11"),
        "{result}"
    );
    let errors = result["customMetricQueryErrors"].as_object().unwrap();
    assert_eq!(errors.keys().collect::<Vec<_>>(), ["a"]);
    hub.stop().await;
}

#[tokio::test]
async fn devices_are_given_what_they_match_and_show_it() {
    let hub = Hub::start().await;
    for device in ["d1", "d2"] {
        hub.done("PUT", &format!("/devices/{device}"), json!({}))
            .await;
    }
    hub.done("PATCH", "/twins/d1", json!({"tags": {"site": "b4"}}))
        .await;
    hub.done("PUT", ONE, configuration(json!({}))).await;
    until(&hub, ONE, |shown| {
        shown["systemMetrics"]["results"] == json!({"targetedCount": 1, "appliedCount": 1})
            && shown["metrics"]["results"] == json!({"all": 2})
    })
    .await;
    let twin = hub.done("GET", "/twins/d1", Value::Null).await;
    assert_eq!(
        twin["properties"]["desired"]["place"],
        json!({"floor": 3, "rooms": [1, 2]})
    );
    assert_eq!(
        twin["configurations"],
        json!({"cool": {"status": "Applied"}})
    );
    let other = hub.done("GET", "/twins/d2", Value::Null).await;
    assert_eq!(other.get("configurations"), None);
    let rows = json!({"query": "SELECT * FROM devices WHERE tags.site = 'b4'"});
    let rows = hub.done("POST", "/devices/query", rows).await;
    assert_eq!(rows[0]["configurations"], twin["configurations"]);
    let shown = hub.done("GET", ONE, Value::Null).await;
    let applied = shown["systemMetrics"]["queries"]["appliedCount"].clone();
    for (query, wanted) in [
        (applied, json!([{"deviceId": "d1"}])),
        (
            json!("SELECT configurations FROM devices WHERE IS_DEFINED(configurations.[[cool]])"),
            json!([{"configurations": twin["configurations"]}]),
        ),
        (
            json!(
                "SELECT configurations.cool.status, COUNT() AS n FROM devices GROUP BY configurations.cool.status"
            ),
            json!([{"n": 1}, {"status": "Applied", "n": 1}]),
        ),
    ] {
        let rows = hub
            .done("POST", "/devices/query", json!({"query": query}))
            .await;
        assert_eq!(rows, wanted, "{query}");
    }

    assert_eq!(
        send(&hub, "DELETE", ONE, None, &Value::Null).await.status,
        204
    );
    until(&hub, "/twins/d1", |twin| {
        twin["properties"]["desired"].get("place").is_none()
    })
    .await;
    hub.stop().await;
}

fn for_edge() -> Value {
    json!({
        "content": {"modulesContent": {
            "$edgeAgent": {"properties.desired": {"schemaVersion": "1.0", "modules": {}}},
            "later": {"properties.desired.rate": 5},
        }},
        "targetCondition": "*",
    })
}

#[tokio::test]
async fn modules_are_given_what_is_for_them() {
    let hub = Hub::start().await;
    hub.done(
        "PUT",
        "/devices/edge",
        json!({"capabilities": {"iotEdge": true}}),
    )
    .await;
    hub.done("PUT", "/devices/plain", json!({})).await;
    hub.done(
        "PUT",
        "/devices/plain/modules/m",
        json!({"moduleId": "m", "deviceId": "plain"}),
    )
    .await;
    hub.done(
        "PATCH",
        "/twins/plain/modules/m",
        json!({"tags": {"kind": "fan"}}),
    )
    .await;
    hub.done("PUT", "/configurations/edge", for_edge()).await;
    let module = json!({
        "content": {"moduleContent": {"properties.desired.speed": 7}},
        "targetCondition": "FROM  devices.modules WHERE tags.kind = 'fan'",
    });
    hub.done("PUT", "/configurations/fans", module).await;
    until(&hub, "/configurations/edge", |shown| {
        let results = &shown["systemMetrics"]["results"];
        *results == json!({"targetedCount": 1, "appliedCount": 1, "reportedSuccessfulCount": 0, "reportedFailedCount": 0})
    })
    .await;
    until(&hub, "/configurations/fans", |shown| {
        shown["systemMetrics"]["results"] == json!({"targetedCount": 1, "appliedCount": 1})
    })
    .await;
    let agent = hub
        .done("GET", "/twins/edge/modules/$edgeAgent", Value::Null)
        .await;
    assert_eq!(agent["properties"]["desired"]["schemaVersion"], "1.0");
    assert_eq!(
        agent["configurations"],
        json!({"edge": {"status": "Applied"}})
    );
    for (id, wanted) in [
        ("edge", json!([{"deviceId": "edge"}])),
        ("fans", json!([{"deviceId": "plain", "moduleId": "m"}])),
    ] {
        let shown = hub
            .done("GET", &format!("/configurations/{id}"), Value::Null)
            .await;
        let applied = json!({"query": shown["systemMetrics"]["queries"]["appliedCount"]});
        let rows = hub.done("POST", "/devices/query", applied).await;
        assert_eq!(rows, wanted, "{id}");
    }
    let fan = hub.done("GET", "/twins/plain/modules/m", Value::Null).await;
    assert_eq!(fan["properties"]["desired"]["speed"], 7);
    let body = json!({"moduleId": "later", "deviceId": "edge"});
    hub.done("PUT", "/devices/edge/modules/later", body).await;
    until(&hub, "/twins/edge/modules/later", |twin| {
        twin["properties"]["desired"]["rate"] == 5
    })
    .await;

    hub.done(
        "PATCH",
        "/twins/plain/modules/m",
        json!({"tags": {"kind": "pump"}}),
    )
    .await;
    until(&hub, "/twins/plain/modules/m", |twin| {
        twin["properties"]["desired"].get("speed").is_none()
    })
    .await;
    hub.stop().await;
}

#[tokio::test]
async fn a_content_is_applied_by_hand_to_one_device() {
    let hub = Hub::start().await;
    const EDGE: &str = "/devices/edge/applyConfigurationContent";
    hub.done(
        "PUT",
        "/devices/edge",
        json!({"capabilities": {"iotEdge": true}}),
    )
    .await;
    let content = |module: &str| json!({"modulesContent": {module: {"properties.desired": {"routes": {}}}}, "deviceContent": {"properties.desired.a": 1}});
    let reply = hub.ask("POST", EDGE, content("$edgeHub")).await;
    assert_eq!((reply.status.as_u16(), reply.body.len()), (204, 0));
    let twin = hub
        .done("GET", "/twins/edge/modules/$edgeHub", Value::Null)
        .await;
    assert_eq!(twin["properties"]["desired"]["routes"], json!({}));
    let device = hub.done("GET", "/twins/edge", Value::Null).await;
    assert_eq!(
        (&device["properties"]["desired"]["a"], &device["version"]),
        (&json!(1), &json!(2))
    );

    let nobody = "/devices/nobody/applyConfigurationContent";
    assert_eq!(
        hub.ask("POST", nobody, content("m")).await.code(),
        "DeviceNotFound"
    );
    assert_eq!(
        hub.ask("POST", EDGE, content("missing")).await.code(),
        "ModuleNotFound"
    );
    for body in [
        json!({"modulesContent": "text"}),
        json!({}),
        json!({"moduleContent": {"properties.desired.a": 1}}),
        json!([]),
    ] {
        assert_eq!(
            hub.ask("POST", EDGE, body.clone()).await.code(),
            "ArgumentInvalid",
            "{body}"
        );
    }
    let after = hub.done("GET", "/twins/edge", Value::Null).await;
    assert_eq!(after["version"], 2);
    hub.stop().await;
}
