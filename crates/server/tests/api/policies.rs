//! Shared access policies over the service API: what is kept, what is refused, and that it counts at once.

use fanfare_wire::sas::{SasGrant, sign};
use serde_json::{Value, json};

use crate::harness::{ADDRESS, Hub, Reply};

const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZg==";

async fn with_headers(
    hub: &Hub,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Value,
) -> Reply {
    let body = body.to_string();
    hub.send("iothubowner", method, path, headers, &body).await
}

/// Whether a key of a policy opens the list of devices.
async fn opens(hub: &Hub, policy: &str, key: &str) -> bool {
    let grant = SasGrant {
        resource: ADDRESS,
        key,
        policy: Some(policy),
        expiry: 4_000_000_000,
    };
    let request = hyper::Request::builder()
        .uri("/devices?api-version=2021-04-12")
        .header("authorization", sign(&grant).unwrap())
        .body(Default::default())
        .unwrap();
    hub.raw(request).await.status == 200
}

fn keys(policy: &Value) -> [String; 2] {
    ["primaryKey", "secondaryKey"].map(|place| policy[place].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_policy_is_made_shown_changed_and_deleted() {
    let hub = Hub::start().await;
    let path = "/fanfare/v1/policies/ops-1";
    let made = hub
        .done(
            "PUT",
            path,
            json!({"rights": ["RegistryWrite"], "primaryKey": KEY}),
        )
        .await;
    assert_eq!(made["name"], "ops-1");
    assert_eq!(made["rights"], json!(["RegistryRead", "RegistryWrite"]));
    let [primary, secondary] = keys(&made);
    assert_eq!(primary, KEY);
    assert!(opens(&hub, "ops-1", &primary).await && opens(&hub, "ops-1", &secondary).await);
    assert_eq!(hub.done("GET", path, Value::Null).await, made);

    let list = hub.done("GET", "/fanfare/v1/policies", Value::Null).await;
    let names: Vec<_> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|policy| &policy["name"])
        .collect();
    assert_eq!(
        names,
        [
            "device",
            "iothubowner",
            "ops-1",
            "registryRead",
            "registryReadWrite",
            "service"
        ]
    );
    for policy in list.as_array().unwrap() {
        let members: Vec<_> = policy.as_object().unwrap().keys().collect();
        assert_eq!(members, ["etag", "name", "rights"], "a list shows no keys");
    }

    let changed = hub
        .done(
            "PUT",
            path,
            json!({"rights": ["ServiceConnect"], "primaryKey": ""}),
        )
        .await;
    assert_eq!(changed["rights"], json!(["ServiceConnect"]));
    assert_eq!(
        keys(&changed),
        [primary.clone(), secondary],
        "unnamed keys stay"
    );
    assert_ne!(changed["etag"], made["etag"]);
    assert!(
        !opens(&hub, "ops-1", &primary).await,
        "rights count at once"
    );

    assert_eq!(hub.ask("DELETE", path, Value::Null).await.status, 204);
    for method in ["GET", "DELETE"] {
        let reply = hub.ask(method, path, Value::Null).await;
        assert_eq!(
            (reply.status.as_u16(), reply.code()),
            (404, "PolicyNotFound".to_owned())
        );
    }
    hub.stop().await;
}

#[tokio::test]
async fn a_rotation_leaves_no_moment_without_a_key_that_works() {
    let hub = Hub::start().await;
    let rotate = "/fanfare/v1/policies/registryRead/rotate";
    let show = "/fanfare/v1/policies/registryRead";
    let before = hub.done("GET", show, Value::Null).await;
    let [primary, secondary] = keys(&before);

    let after = hub.done("POST", rotate, json!({"key": "primary"})).await;
    let [fresh, untouched] = keys(&after);
    assert_eq!(untouched, secondary);
    assert!(opens(&hub, "registryRead", &fresh).await);
    assert!(opens(&hub, "registryRead", &secondary).await);
    assert!(!opens(&hub, "registryRead", &primary).await);

    let swapped = hub.done("POST", rotate, json!({"key": "swap"})).await;
    assert_eq!(keys(&swapped), [secondary.clone(), fresh.clone()]);
    assert!(
        opens(&hub, "registryRead", &fresh).await && opens(&hub, "registryRead", &secondary).await
    );

    let last = hub.done("POST", rotate, json!({"key": "secondary"})).await;
    assert_eq!(keys(&last)[0], secondary);
    assert!(!opens(&hub, "registryRead", &fresh).await);

    // What was acknowledged is there after a new start, and so is nothing else.
    let hub = Hub::on(hub.stop().await).await;
    assert_eq!(hub.done("GET", show, Value::Null).await, last);
    assert!(opens(&hub, "registryRead", &secondary).await);
    assert!(!opens(&hub, "registryRead", &primary).await);
    hub.stop().await;
}

#[tokio::test]
async fn of_two_operators_the_second_learns_of_the_first() {
    let hub = Hub::start().await;
    let path = "/fanfare/v1/policies/service";
    let seen = hub.done("GET", path, Value::Null).await;
    let etag = format!("\"{}\"", seen["etag"].as_str().unwrap());
    let body = json!({"rights": ["ServiceConnect", "RegistryRead"]});
    let first = with_headers(&hub, "PUT", path, &[("if-match", &etag)], body.clone()).await;
    assert_eq!(first.status, 200, "{first:?}");
    let rotate = format!("{path}/rotate");
    for (method, path, body) in [
        ("PUT", path, body.clone()),
        ("DELETE", path, Value::Null),
        ("POST", rotate.as_str(), json!({"key": "swap"})),
    ] {
        for tag in [etag.as_str(), "\"nobodys\"", ""] {
            let reply = with_headers(&hub, method, path, &[("if-match", tag)], body.clone()).await;
            assert_eq!(
                (reply.status.as_u16(), reply.code()),
                (412, "PreconditionFailed".to_owned()),
                "{method} {tag}"
            );
        }
    }
    assert_eq!(hub.done("GET", path, Value::Null).await, first.json());

    let create = [("if-none-match", "*")];
    let taken = with_headers(&hub, "PUT", path, &create, body.clone()).await;
    assert_eq!(
        (taken.status.as_u16(), taken.code()),
        (409, "PolicyAlreadyExists".to_owned())
    );
    let new = with_headers(
        &hub,
        "PUT",
        "/fanfare/v1/policies/new",
        &create,
        body.clone(),
    )
    .await;
    assert_eq!(new.status, 200, "{new:?}");
    let any = [("if-match", "*")];
    let absent = with_headers(
        &hub,
        "PUT",
        "/fanfare/v1/policies/other",
        &any,
        body.clone(),
    )
    .await;
    assert_eq!(absent.code(), "PolicyNotFound");
    let both = [("if-match", "*"), ("if-none-match", "*")];
    let muddle = with_headers(&hub, "PUT", path, &both, body).await;
    assert_eq!(muddle.code(), "ArgumentInvalid");
    hub.stop().await;
}

#[tokio::test]
async fn what_cannot_be_a_policy_is_refused_with_a_reason() {
    let hub = Hub::start().await;
    let long = "n".repeat(65);
    let rights = json!({"rights": ["RegistryRead"]});
    for (name, body, code, part) in [
        (
            "-dash",
            rights.clone(),
            "ArgumentInvalid",
            "letter or digit",
        ),
        (
            "a%20b",
            rights.clone(),
            "ArgumentInvalid",
            "letter or digit",
        ),
        (
            "a%2Fb",
            rights.clone(),
            "ArgumentInvalid",
            "letter or digit",
        ),
        (&long, rights.clone(), "ArgumentInvalid", "1 to 64"),
        ("p", json!({"rights": []}), "ArgumentNull", "rights"),
        ("p", json!({}), "ArgumentNull", "rights"),
        (
            "p",
            json!({"rights": ["Everything"]}),
            "ArgumentInvalid",
            "Everything",
        ),
        (
            "p",
            json!({"name": "q", "rights": ["RegistryRead"]}),
            "ArgumentInvalid",
            "path names p",
        ),
        (
            "p",
            json!({"rights": ["RegistryRead"], "primaryKey": "c2hvcnQ="}),
            "ArgumentInvalid",
            "primaryKey",
        ),
        (
            "p",
            json!({"rights": ["RegistryRead"], "secondaryKey": "no!"}),
            "ArgumentInvalid",
            "base64",
        ),
    ] {
        let reply = hub
            .ask("PUT", &format!("/fanfare/v1/policies/{name}"), body)
            .await;
        assert_eq!(reply.code(), code, "{name}: {reply:?}");
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        assert!(text.contains(part), "{name}: {text}");
        assert!(!text.contains("c2hvcnQ="), "a key is in the answer");
    }
    let none = hub
        .ask("PUT", "/fanfare/v1/policies/iothubowner", rights)
        .await;
    assert_eq!(none.code(), "InvalidOperation", "the last owner stays one");
    let gone = hub
        .ask("DELETE", "/fanfare/v1/policies/iothubowner", Value::Null)
        .await;
    assert_eq!(gone.code(), "InvalidOperation");
    let odd = hub
        .ask(
            "POST",
            "/fanfare/v1/policies/service/rotate",
            json!({"key": "both"}),
        )
        .await;
    assert_eq!(odd.status, 400, "{odd:?}");
    hub.stop().await;
}

#[tokio::test]
async fn there_are_as_many_policies_as_the_contract_allows() {
    let hub = Hub::start().await;
    let put = async |name: &str, right: &str| {
        let path = format!("/fanfare/v1/policies/{name}");
        hub.ask("PUT", &path, json!({"rights": [right]})).await
    };
    for at in 0..8 {
        assert_eq!(put(&format!("s{at}"), "ServiceConnect").await.status, 200);
    }
    assert_eq!(
        put("s8", "ServiceConnect").await.code(),
        "IotHubQuotaExceeded"
    );
    for at in 0..3 {
        assert_eq!(put(&format!("r{at}"), "RegistryRead").await.status, 200);
    }
    assert_eq!(
        put("r3", "RegistryRead").await.code(),
        "IotHubQuotaExceeded"
    );
    assert_eq!(
        put("r0", "DeviceConnect").await.status,
        200,
        "a change needs no place"
    );
    hub.stop().await;
}
