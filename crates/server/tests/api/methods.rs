//! Direct methods to devices that are not there. What connected devices answer is tested with MQTT.

use hyper::Request;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::{ADDRESS, Hub};

#[tokio::test]
async fn an_offline_device_is_said_in_the_form_of_the_version() {
    let hub = Hub::start().await;
    hub.done("PUT", "/devices/d", json!({})).await;
    let reply = hub
        .ask("POST", "/twins/d/methods", json!({"methodName": "m"}))
        .await;
    assert_eq!(
        (reply.status.as_u16(), reply.code().as_str()),
        (404, "DeviceNotOnline")
    );
    let body = reply.json();
    let inner: Value = serde_json::from_str(body["Message"].as_str().unwrap()).unwrap();
    assert_eq!(
        (&inner["errorCode"], &inner["info"]["timeout"]),
        (&json!(404_103), &json!("00:00:00"))
    );

    let old = Request::builder()
        .method("POST")
        .uri("/twins/d/methods?api-version=2016-11-14")
        .header("host", ADDRESS)
        .header("authorization", hub.token("service"))
        .body(r#"{"methodName":"m"}"#.to_owned().into())
        .unwrap();
    let reply = hub.raw(old).await;
    let message = reply.json()["Message"].as_str().unwrap().to_owned();
    assert!(
        message.starts_with("ErrorCode:DeviceNotOnline;"),
        "{message}"
    );
    let unknown = hub
        .ask("POST", "/twins/never/methods", json!({"methodName": "m"}))
        .await;
    assert_eq!(unknown.code(), "DeviceNotFound");
    hub.stop().await;
}

#[tokio::test]
async fn a_call_names_a_method_and_fits_the_limits() {
    let hub = Hub::start().await;
    hub.done("PUT", "/devices/d", json!({})).await;
    for (body, code) in [
        (json!({}), "ArgumentNull"),
        (json!({"methodName": ""}), "ArgumentNull"),
        (json!({"methodName": "a b"}), "ArgumentInvalid"),
        (
            json!({"methodName": "m", "responseTimeoutInSeconds": 4}),
            "ArgumentInvalid",
        ),
        (
            json!({"methodName": "m", "responseTimeoutInSeconds": 301}),
            "ArgumentInvalid",
        ),
        (
            json!({"methodName": "m", "connectTimeoutInSeconds": 301}),
            "ArgumentInvalid",
        ),
        (
            json!({"methodName": "m", "responseTimeoutInSeconds": "soon"}),
            "ArgumentInvalid",
        ),
        (
            json!({"methodName": "m", "payload": "x".repeat(128 * 1024)}),
            "ArgumentInvalid",
        ),
        (
            json!({"methodName": "m", "responseTimeoutInSeconds": "30"}),
            "DeviceNotOnline",
        ),
        (
            json!({"methodName": "m", "payload": "", "timeoutInSeconds": 9}),
            "DeviceNotOnline",
        ),
    ] {
        assert_eq!(
            hub.ask("POST", "/twins/d/methods", body.clone())
                .await
                .code(),
            code,
            "{body}"
        );
    }
    hub.stop().await;
}

/// The request is known to be in the hub before the stop: the hub asked for its body.
#[tokio::test]
async fn a_call_that_waits_hears_503_when_the_hub_stops() {
    let hub = Hub::start().await;
    hub.done("PUT", "/devices/d", json!({})).await;
    let mut stream = hub.connect().await;
    let body = r#"{"methodName":"m","connectTimeoutInSeconds":300}"#;
    let head = format!(
        "POST /twins/d/methods?api-version=2021-04-12 HTTP/1.1\r\nhost: {ADDRESS}\r\nauthorization: {}\r\n\
         content-length: {}\r\nexpect: 100-continue\r\n\r\n",
        hub.token("service"),
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut asked = [0; 12];
    stream.read_exact(&mut asked).await.unwrap();
    assert_eq!(&asked, b"HTTP/1.1 100");
    let answered = async {
        stream.write_all(body.as_bytes()).await.unwrap();
        let mut reply = Vec::new();
        // A connection that is cut after its reply may lack the goodbye of TLS.
        let _ = stream.read_to_end(&mut reply).await;
        String::from_utf8_lossy(&reply).into_owned()
    };
    let (reply, _) = tokio::join!(answered, hub.stop());
    assert!(reply.contains("HTTP/1.1 503"), "{reply}");
    assert!(reply.contains("ErrorCode:ServiceUnavailable;"), "{reply}");
}
