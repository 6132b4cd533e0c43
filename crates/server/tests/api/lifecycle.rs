//! Starting, starting twice, stopping, starting again; and what scripts rely on meanwhile.

use fanfare_server::{Config, Node, StartError, connection_string};
use hyper::Request;
use serde_json::{Value, json};

use crate::harness::{ADDRESS, Hub, flags};

fn plain(path: &str) -> Request<http_body_util::Full<bytes::Bytes>> {
    Request::builder()
        .uri(path)
        .header("host", ADDRESS)
        .body(Default::default())
        .unwrap()
}

#[tokio::test]
async fn health_needs_no_token_and_metrics_do() {
    let hub = Hub::start().await;
    assert_eq!(hub.raw(plain("/health/live")).await.status, 200);
    assert_eq!(hub.raw(plain("/health/ready")).await.status, 200);
    assert_eq!(hub.raw(plain("/fanfare/v1/metrics")).await.status, 401);
    hub.done("PUT", "/devices/d", json!({})).await;
    let metrics = hub
        .send("registryRead", "GET", "/fanfare/v1/metrics", &[], "")
        .await;
    assert!(
        metrics
            .header("content-type")
            .unwrap()
            .starts_with("text/plain")
    );
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    for name in [
        "fanfare_store_commits_total",
        "fanfare_connections",
        "fanfare_telemetry_messages_total",
        "fanfare_http_requests_total",
    ] {
        assert!(text.contains(name), "{name} is not in {text}");
    }
    hub.stop().await;
}

#[tokio::test]
async fn a_folder_in_use_and_a_taken_port_are_clear_errors() {
    let hub = Hub::start().await;
    let again = Config::from_layers(flags(&hub.folder), []).unwrap();
    let refused = Node::start(&again).await.err().unwrap();
    assert!(matches!(refused, StartError::DataDir(_)), "{refused:?}");
    let path = hub.folder.path().join("data");
    assert!(
        refused.to_string().contains(path.to_str().unwrap()),
        "{refused}"
    );

    let elsewhere = tempfile::tempdir().unwrap();
    let mut taken = flags(&elsewhere);
    taken.https_port = Some(hub.node.addresses().https[0].port());
    let taken = Config::from_layers(taken, []).unwrap();
    let refused = Node::start(&taken).await.err().unwrap();
    assert!(matches!(refused, StartError::Listen(_)), "{refused:?}");
    assert!(
        refused.to_string().contains("the port is taken"),
        "{refused}"
    );
    assert!(
        !elsewhere.path().join("data/fanfare.db").exists(),
        "nothing was begun"
    );
    assert_eq!(
        hub.raw(plain("/health/ready")).await.status,
        200,
        "the first one is unharmed"
    );
    hub.stop().await;
}

#[tokio::test]
async fn a_restart_keeps_devices_jobs_keys_and_trust() {
    let hub = Hub::start().await;
    let device = hub.done("PUT", "/devices/d", json!({})).await;
    let job = json!({
        "type": "scheduleUpdateTwin", "updateTwin": {"tags": {}}, "queryCondition": "*",
    });
    hub.done("PUT", "/jobs/v2/j", job).await;
    let ended = hub.ended("j").await;
    let token = hub.token("service");
    let ca = std::fs::read(hub.node.ca_pem()).unwrap();
    let hub = Hub::on(hub.stop().await).await;
    assert_eq!(hub.token("service"), token);
    assert_eq!(std::fs::read(hub.node.ca_pem()).unwrap(), ca);
    let kept = hub.done("GET", "/devices/d", Value::Null).await;
    assert_eq!(kept["authentication"], device["authentication"]);
    assert_eq!(hub.done("GET", "/jobs/v2/j", Value::Null).await, ended);
    hub.stop().await;
}

#[tokio::test]
async fn connection_strings_are_read_beside_a_running_hub() {
    let hub = Hub::start().await;
    let device = hub.done("PUT", "/devices/door-1", json!({})).await;
    hub.done(
        "PUT",
        "/devices/certified",
        json!({"authentication": {"type": "certificateAuthority"}}),
    )
    .await;
    let folder = hub.folder.path().join("data");
    let port = hub.node.addresses().https[0].port();
    let policy = hub.node.policy("service").unwrap();
    let key = policy.primary.expose();
    let expected =
        format!("HostName={ADDRESS}:{port};SharedAccessKeyName=service;SharedAccessKey={key}");
    assert_eq!(
        connection_string::of_policy(&folder, None, "service").unwrap(),
        expected
    );
    let key = device["authentication"]["symmetricKey"]["primaryKey"]
        .as_str()
        .unwrap();
    let expected = format!("HostName={ADDRESS};DeviceId=door-1;SharedAccessKey={key}");
    let of_device = |device| connection_string::of_identity(&folder, None, device, None);
    assert_eq!(of_device("door-1").unwrap(), expected);
    let module = hub
        .done("PUT", "/devices/door-1/modules/lock", json!({}))
        .await;
    let key = module["authentication"]["symmetricKey"]["primaryKey"]
        .as_str()
        .unwrap();
    let expected =
        format!("HostName={ADDRESS};DeviceId=door-1;ModuleId=lock;SharedAccessKey={key}");
    let of_module = |module| connection_string::of_identity(&folder, None, "door-1", Some(module));
    assert_eq!(of_module("lock").unwrap(), expected);
    assert!(of_module("nothing").is_err());
    let refused = connection_string::of_policy(&folder, None, "nobody")
        .unwrap_err()
        .to_string();
    assert!(refused.contains("registryReadWrite"), "{refused}");
    assert!(of_device("nobody").is_err());
    assert!(of_device("certified").is_err());
    hub.stop().await;
}

#[tokio::test]
async fn the_chain_is_the_leaf_alone() {
    let hub = Hub::start().await;
    let stream = hub.connect().await;
    let (_, connection) = stream.get_ref();
    assert_eq!(connection.peer_certificates().map(<[_]>::len), Some(1));
    assert_eq!(
        connection.protocol_version(),
        Some(rustls::ProtocolVersion::TLSv1_3)
    );
    drop(stream);
    hub.stop().await;
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let hub = Hub::start().await;
    let stream = hyper_util::rt::TokioIo::new(hub.connect().await);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    for path in [
        "/health/live",
        "/nothing",
        "/jobs/v2/x?api-version=2021-04-12",
        "/health/ready",
    ] {
        use http_body_util::BodyExt as _;
        let reply = sender.send_request(plain(path)).await.unwrap();
        reply.into_body().collect().await.unwrap();
    }
    hub.stop().await;
    // The stop ends idle connections by itself.
    let _ = connection.await.unwrap();
}
