//! One request to the hub: address, signature, body; and its reply, or the refusal in it.

use std::fmt;
use std::sync::Arc;

use fanfare_wire::http::HEADER_ERROR_CODE;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{AUTHORIZATION, HeaderMap};
use reqwest::{Method, RequestBuilder, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::credential::Signer;
use crate::{ClientOptions, Credential, Error, JobClient, Rows};

/// What may stand unencoded in a path segment.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// A hub, with the rights of one credential. Cheap to clone; clones share connections and signature.
///
/// ```no_run
/// use fanfare_client::{ClientOptions, HubClient};
///
/// # async fn example(connection_string: &str) -> Result<(), fanfare_client::Error> {
/// let hub = HubClient::from_connection_string(connection_string, ClientOptions::default())?;
/// let twin = hub.twin("door-1").await?;
/// println!("{}", twin.properties.desired);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct HubClient {
    shared: Arc<Shared>,
}

struct Shared {
    http: reqwest::Client,
    /// `https://HOST:PORT`, no slash at the end.
    base: String,
    api_version: String,
    signer: Signer,
}

impl fmt::Debug for HubClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubClient")
            .field("base", &self.shared.base)
            .finish_non_exhaustive()
    }
}

/// A page of rows and the token that asks for the next one.
pub(crate) struct Page<T> {
    pub(crate) rows: Vec<T>,
    pub(crate) continuation: Option<String>,
}

/// An `If-Match` header.
#[derive(Clone, Copy)]
pub(crate) enum IfMatch<'a> {
    /// None.
    Absent,
    /// The quoted etag, `*` included.
    Etag(&'a str),
}

impl HubClient {
    /// A client of the hub at `endpoint`, `https://HOST[:PORT]`.
    ///
    /// # Errors
    /// When the endpoint, the credential or the trusted certificates cannot be used. Nothing is sent.
    pub fn new(
        endpoint: &str,
        credential: Credential,
        options: ClientOptions,
    ) -> Result<Self, Error> {
        let base = base_url(endpoint, options.port)?;
        let host = host_of(endpoint)?;
        let http = http_client(&options)?;
        let signer = Signer::new(credential, host)?;
        let api_version = options.api_version;
        Ok(Self {
            shared: Arc::new(Shared {
                http,
                base,
                api_version,
                signer,
            }),
        })
    }

    /// A client of the hub that a connection string names, with the policy in it.
    ///
    /// # Errors
    /// As [`Self::new`], and when the text is no connection string of a shared access policy.
    pub fn from_connection_string(text: &str, options: ClientOptions) -> Result<Self, Error> {
        let (endpoint, credential) = Credential::parse_connection_string(text)?;
        Self::new(&endpoint, credential, options)
    }

    /// The jobs of this hub.
    #[must_use]
    pub fn jobs(&self) -> JobClient {
        JobClient::of(self.clone())
    }

    /// Asks a query; nothing is sent before the first row or page is asked for.
    ///
    /// `T` is [`crate::Twin`] for `SELECT *`, anything that reads the projected members otherwise.
    #[must_use]
    pub fn query<T: DeserializeOwned>(&self, text: impl Into<String>) -> Rows<T> {
        Rows::new(self.clone(), text.into())
    }

    /// The hub's metrics in Prometheus' text form. An extension: other hubs refuse.
    ///
    /// # Errors
    /// When the hub refuses or gives no reply.
    pub async fn metrics(&self) -> Result<String, Error> {
        let request = self.request(Method::GET, "/fanfare/v1/metrics")?;
        Ok(accepted(request.send().await?).await?.text().await?)
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let reply = self.request(Method::GET, path)?.send().await?;
        read(accepted(reply).await?).await
    }

    /// Sends a body and reads the reply.
    pub(crate) async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        if_match: IfMatch<'_>,
        body: &impl Serialize,
    ) -> Result<T, Error> {
        read(accepted(self.exchange(method, path, if_match, body).await?).await?).await
    }

    /// Sends a body and hands the reply out unread, refusals included.
    pub(crate) async fn exchange(
        &self,
        method: Method,
        path: &str,
        if_match: IfMatch<'_>,
        body: &impl Serialize,
    ) -> Result<Response, Error> {
        let mut request = self.request(method, path)?.json(body);
        if let IfMatch::Etag(etag) = if_match {
            request = request.header("If-Match", format!("\"{etag}\""));
        }
        Ok(request.send().await?)
    }

    /// POST without a body.
    pub(crate) async fn post_empty<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let request = self
            .request(Method::POST, path)?
            .header("Content-Length", "0");
        read(accepted(request.send().await?).await?).await
    }

    /// POST of a query; page sizes and continuations travel in headers.
    pub(crate) async fn post_page<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        page_rows: u32,
        continuation: Option<&str>,
    ) -> Result<Page<T>, Error> {
        let mut request = self.request(Method::POST, path)?.json(body);
        request = request.header("x-ms-max-item-count", page_rows);
        if let Some(token) = continuation {
            request = request.header("x-ms-continuation", token);
        }
        let reply = accepted(request.send().await?).await?;
        let continuation = text_header(reply.headers(), "x-ms-continuation");
        Ok(Page {
            rows: read(reply).await?,
            continuation,
        })
    }

    fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, Error> {
        let Shared {
            http,
            base,
            api_version,
            signer,
        } = &*self.shared;
        let url = format!("{base}{path}?api-version={api_version}");
        Ok(http
            .request(method, url)
            .header(AUTHORIZATION, signer.authorization()?))
    }
}

/// Percent-encodes one segment of a path.
pub(crate) fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// The endpoint with the port that wins, without a slash at the end.
pub(crate) fn base_url(endpoint: &str, port: Option<u16>) -> Result<String, Error> {
    let invalid = || Error::Endpoint(endpoint.to_owned());
    let mut url = reqwest::Url::parse(endpoint).map_err(|_| invalid())?;
    if url.scheme() != "https" || url.path() != "/" || url.query().is_some() {
        return Err(invalid());
    }
    if port.is_some() {
        url.set_port(port).map_err(|()| invalid())?;
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// The endpoint's host, which tokens are signed for.
fn host_of(endpoint: &str) -> Result<String, Error> {
    reqwest::Url::parse(endpoint)
        .ok()
        .and_then(|url| url.host_str().map(str::to_owned))
        .ok_or_else(|| Error::Endpoint(endpoint.to_owned()))
}

pub(crate) fn http_client(options: &ClientOptions) -> Result<reqwest::Client, Error> {
    Ok(reqwest::Client::builder()
        .tls_backend_preconfigured(options.trust.tls_config()?)
        .timeout(options.timeout)
        .user_agent(&options.user_agent)
        .build()?)
}

fn text_header(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

/// Tells replies from refusals: everything below 300 is a reply.
pub(crate) async fn accepted(reply: Response) -> Result<Response, Error> {
    if reply.status().as_u16() < 300 {
        return Ok(reply);
    }
    let status = reply.status().as_u16();
    let code = text_header(reply.headers(), HEADER_ERROR_CODE);
    let body = reply.bytes().await?;
    Err(Error::refused(status, code.as_deref(), &body))
}

pub(crate) async fn read<T: DeserializeOwned>(reply: Response) -> Result<T, Error> {
    serde_json::from_slice(&reply.bytes().await?).map_err(Error::Reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_https_hosts() {
        assert_eq!(
            base_url("https://localhost", None).unwrap(),
            "https://localhost"
        );
        assert_eq!(
            base_url("https://127.0.0.2:8443/", None).unwrap(),
            "https://127.0.0.2:8443"
        );
        assert_eq!(
            base_url("https://hub:1", Some(444)).unwrap(),
            "https://hub:444"
        );
        for refused in [
            "http://localhost",
            "localhost",
            "https://h/path",
            "https://h?x=1",
            "",
        ] {
            assert!(base_url(refused, None).is_err(), "{refused}");
        }
    }

    #[test]
    fn ids_are_encoded_as_one_segment() {
        assert_eq!(segment("a-b_c.d~1"), "a-b_c.d~1");
        assert_eq!(segment("job 1/x#?"), "job%201%2Fx%23%3F");
    }
}
