//! A whole node with an issuer of bearer tokens: what their holders do bears their name, and the node can do without keys
//! of its own.

use fanfare_wire::sas::{SasGrant, sign};
use http_body_util::Full;
use hyper::Request;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    access::tokens::Issuer,
    harness::{ADDRESS, Hub, PATIENCE, Reply},
};

const CONTRIBUTOR: &str = "IoT Hub Data Contributor";
const OWNER: &str = "Fanfare Owner";
const FAR: i64 = 4_000_000_000;

async fn send(hub: &Hub, authorization: &str, method: &str, path: &str, body: &Value) -> Reply {
    let request = Request::builder()
        .method(method)
        .uri(format!("{path}?api-version=2021-04-12"))
        .header("host", ADDRESS)
        .header("authorization", authorization);
    let body = Full::from(body.to_string());
    hub.raw(request.body(body).unwrap()).await
}

/// The return code of a CONNECT over TLS.
async fn knock(hub: &Hub, device: &str, password: &str) -> u8 {
    let text = |text: &str| [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat();
    let username = format!("{ADDRESS}/{device}/?api-version=2021-04-12");
    // Version 4, with name, password and nothing kept from before, 60 seconds of silence at most.
    let head = [text("MQTT"), vec![4, 0xc2, 0, 60]].concat();
    let body = [head, text(device), text(&username), text(password)].concat();
    let (low, high) = (body.len() % 128, body.len() / 128);
    let packet = [vec![0x10, 0x80 | low as u8, high as u8], body].concat();
    let exchange = async {
        let mut stream = hub.dial(hub.node.addresses().mqtts[0]).await;
        stream.write_all(&packet).await.unwrap();
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer[0], 0x20, "it is no CONNACK: {answer:?}");
        answer[3]
    };
    tokio::time::timeout(PATIENCE, exchange).await.unwrap()
}

fn sas(resource: &str, key: &str, policy: Option<&str>) -> String {
    let grant = SasGrant {
        resource,
        key,
        policy,
        expiry: FAR,
    };
    sign(&grant).unwrap()
}

#[tokio::test]
async fn without_keys_of_policies_tokens_are_the_way_in_and_devices_stay() {
    let hub = Hub::start().await;
    let device = hub.done("PUT", "/devices/door-1", json!({})).await;
    let key = device["authentication"]["symmetricKey"]["primaryKey"].clone();
    let own = sas(
        &format!("{ADDRESS}/devices/door-1"),
        key.as_str().unwrap(),
        None,
    );
    let owner = hub.node.policy("iothubowner").unwrap();
    let by_policy = sas(ADDRESS, owner.primary.expose(), Some("iothubowner"));
    let before = hub.show(&hub.token("iothubowner"), "/devices/door-1").await;
    assert_eq!(before.status, 200);
    let folder = hub.stop().await;

    let issuer = Issuer::start().await;
    let hub = issuer
        .hub_on(folder, |flags| flags.disable_local_auth = true)
        .await;
    for policy in [
        "iothubowner",
        "service",
        "device",
        "registryRead",
        "registryReadWrite",
    ] {
        let reply = hub.show(&hub.token(policy), "/devices/door-1").await;
        assert_eq!(reply.status, 401, "{policy}: {reply:?}");
    }
    let shown = hub
        .show(&issuer.bearer(&[CONTRIBUTOR]), "/devices/door-1")
        .await;
    assert_eq!(shown.status, 200, "{shown:?}");
    // Policies are still there, for the day on which they count again.
    let policies = hub
        .show(&issuer.bearer(&[OWNER]), "/fanfare/v1/policies")
        .await;
    assert_eq!(policies.status, 200, "{policies:?}");
    assert_eq!(
        knock(&hub, "door-1", &own).await,
        0,
        "its own key still counts"
    );
    assert_eq!(
        knock(&hub, "door-1", &by_policy).await,
        5,
        "a policy's does not"
    );
    let bearer = issuer.bearer(&[OWNER]);
    for shown in [bearer.as_str(), bearer.trim_start_matches("Bearer ")] {
        assert_eq!(
            knock(&hub, "door-1", shown).await,
            5,
            "tokens are for callers"
        );
    }
    hub.stop().await;
}

#[tokio::test]
async fn what_a_token_did_bears_its_name() {
    let issuer = Issuer::start().await;
    let hub = issuer.hub(|_| {}).await;
    let contributor = issuer.bearer(&[CONTRIBUTOR]);
    let job = json!({
        "jobId": "j1", "type": "scheduleUpdateTwin", "queryCondition": "*",
        "updateTwin": {"etag": "*", "tags": {"a": 1}}, "startTime": "2999-01-01T00:00:00.000Z",
        "maxExecutionTimeInSeconds": 60,
    });
    let made = send(&hub, &contributor, "PUT", "/jobs/v2/j1", &job).await;
    assert_eq!(made.status, 200, "{made:?}");
    let somebody = json!({"issuer": issuer.server.url(), "subject": "somebody", "app": "tool"});
    let shown = hub.done("GET", "/jobs/v2/j1", Value::Null).await;
    assert_eq!(shown["fanfare"], json!({"createdBy": somebody}));
    let reader = issuer.bearer(&["IoT Hub Data Reader"]);
    let refused = send(&hub, &reader, "POST", "/jobs/v2/j1/cancel", &json!({})).await;
    assert_eq!(refused.code(), "IotHubUnauthorizedAccess");
    let log = hub.folder.path().join("data/audit/audit.jsonl");
    let folder = hub.stop().await;
    let log = std::fs::read_to_string(log).unwrap();
    let lines = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let by_somebody: Vec<_> = lines.filter(|line| line["actor"] == somebody).collect();
    let results = by_somebody.iter().map(|line| line["status"].clone());
    assert_eq!(
        results.collect::<Vec<_>>(),
        [json!(200), json!(401)],
        "{log}"
    );
    let token = contributor.strip_prefix("Bearer ").unwrap();
    assert!(!log.contains(token), "a token is a secret");
    drop(folder);
}

#[tokio::test]
async fn what_became_of_tokens_is_counted() {
    let issuer = Issuer::start().await;
    let hub = issuer.hub(|_| {}).await;
    let page = async || {
        let text = hub
            .ask("GET", "/fanfare/v1/metrics", Value::Null)
            .await
            .body;
        let text = String::from_utf8(text.to_vec()).unwrap();
        move |series: &str| {
            let mut lines = text.lines().filter_map(|line| line.rsplit_once(' '));
            let found = lines.find(|(name, _)| *name == series);
            found.map_or(0.0, |(_, value)| value.parse::<f64>().unwrap())
        }
    };
    let tokens = |result: &str| format!("fanfare_bearer_tokens_total{{result=\"{result}\"}}");
    let before = page().await;
    let fresh = issuer.bearer(&[CONTRIBUTOR]);
    for authorization in [&fresh, &fresh, &"Bearer x".to_owned()] {
        hub.show(authorization, "/fanfare/v1/profile").await;
    }
    let after = page().await;
    for result in ["verified", "remembered", "refused"] {
        let (before, after) = (before(&tokens(result)), after(&tokens(result)));
        assert_eq!(after - before, 1.0, "{result}");
    }
    let url = issuer.server.url();
    let of = |name: &str| after(&format!("fanfare_token_issuer_{name}{{issuer=\"{url}\"}}"));
    assert_eq!(of("keys"), 1.0);
    let good = format!("fanfare_token_issuer_fetches_total{{issuer=\"{url}\",result=\"good\"}}");
    assert_eq!(after(&good), 1.0);
    hub.stop().await;
}
