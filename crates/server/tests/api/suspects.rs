//! An address that fails to prove who it is too often: slower, never shut out.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::harness::{ADDRESS, Hub};

fn question(uri: &str, token: &str) -> Request<Full<Bytes>> {
    Request::get(uri)
        .header("host", ADDRESS)
        .header("authorization", token)
        .body(Full::default())
        .unwrap()
}

#[tokio::test]
async fn a_suspect_is_answered_and_its_connection_ends() {
    // The first failure within a minute empties such a bucket.
    let hub = Hub::start_with(|flags| flags.failures_per_minute = Some(1)).await;
    let path = "/devices?api-version=2021-04-12";
    for _ in 0..3 {
        let refused = hub.raw(question(path, "SharedAccessSignature sr=x")).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
        assert_eq!(refused.header("connection"), Some("close"));
        let served = hub.raw(question(path, &hub.token("registryRead"))).await;
        assert_eq!(served.status, StatusCode::OK, "nobody is shut out");
        assert_eq!(served.header("connection"), None);
    }

    let stream = TokioIo::new(hub.connect().await);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    let whole = format!("https://{ADDRESS}{path}");
    let refused = sender
        .send_request(question(&whole, "SharedAccessSignature sr=x"))
        .await
        .unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    refused.into_body().collect().await.unwrap();
    connection.await.unwrap().unwrap();
    hub.stop().await;
}
