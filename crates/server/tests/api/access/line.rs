//! Many small requests over one connection, made anew when the hub closed it.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;

use crate::harness::{ADDRESS, Hub, PATIENCE, Reply};

/// A caller's connection.
pub(super) struct Line<'a> {
    hub: &'a Hub,
    open: Option<(SendRequest<Full<Bytes>>, Connection)>,
}

/// The task that moves its bytes; it ends with its owner.
struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<'a> Line<'a> {
    pub(super) fn to(hub: &'a Hub) -> Self {
        Self { hub, open: None }
    }

    /// Sends an empty object with what somebody shows for themselves.
    pub(super) async fn send(
        &mut self,
        method: &str,
        path: &str,
        authorization: &Option<String>,
    ) -> Reply {
        self.send_body(method, path, authorization, "{}").await
    }

    /// The same with another body.
    pub(super) async fn send_body(
        &mut self,
        method: &str,
        path: &str,
        authorization: &Option<String>,
        body: &str,
    ) -> Reply {
        let request = || {
            let mut request = Request::builder()
                .method(method)
                .uri(format!("{path}?api-version=2021-04-12"))
                .header("host", ADDRESS);
            if let Some(authorization) = authorization {
                request = request.header("authorization", authorization);
            }
            request.body(Full::from(body.to_owned())).unwrap()
        };
        let exchange = async {
            loop {
                let is_new = self.open.is_none();
                match self.sender().await.send_request(request()).await {
                    Ok(reply) => {
                        let (parts, body) = reply.into_parts();
                        return Reply {
                            status: parts.status,
                            headers: parts.headers,
                            body: body.collect().await.unwrap().to_bytes(),
                        };
                    }
                    // The hub may close an idle connection while a request is on its way; none of these does
                    // anything that may not be done twice.
                    Err(error) => assert!(!is_new, "{method} {path}: {error}"),
                }
                self.open = None;
            }
        };
        let reply = tokio::time::timeout(PATIENCE, exchange).await;
        reply.unwrap_or_else(|_| panic!("{method} {path} was not answered"))
    }

    async fn sender(&mut self) -> &mut SendRequest<Full<Bytes>> {
        let is_usable = match &mut self.open {
            Some((sender, _)) => sender.ready().await.is_ok(),
            None => false,
        };
        if !is_usable {
            let stream = TokioIo::new(self.hub.connect().await);
            let (sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
            let task = tokio::spawn(async move {
                // How it ended shows in the requests.
                let _ = connection.await;
            });
            self.open = Some((sender, Connection(task)));
        }
        &mut self.open.as_mut().expect("it was just opened").0
    }
}
