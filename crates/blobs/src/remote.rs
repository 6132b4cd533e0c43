//! Blobs of Azure and S3 endpoints, through the object-store client.
//!
//! Every request is bounded in size and time and tried a few times. A blob is read in ranges that name the
//! version they belong to, so that neither a slow import nor a changed blob does harm; it is written in
//! parts that become visible together. No proxy, no redirect: a container's URI says who is spoken to.

use std::{ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use fanfare_hub::{
    ports::blobs::{BlobError, BlobReader, BlobWriter, ContainerError},
    transfers::BlobName,
};
use object_store::{
    BackoffConfig, ClientOptions, GetOptions, GetRange, ObjectStore, ObjectStoreExt as _,
    RetryConfig,
    aws::AmazonS3Builder,
    azure::MicrosoftAzureBuilder,
    buffered::BufWriter,
    client::{HttpClient, HttpConnector},
    path::Path,
};
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::io::AsyncWriteExt as _;

use crate::{S3Settings, place::Place};

/// Bytes of one request that reads.
const READ_BYTES: u64 = 4 * 1024 * 1024;
/// Bytes of one part of a blob; S3 takes no smaller ones, and 10,000 parts: 78 GiB.
const PART_BYTES: usize = 8 * 1024 * 1024;
/// Parts under way at once.
const PARTS_AT_ONCE: usize = 2;
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// For a whole request with its body: 8 MiB in two minutes is a slow line.
const REQUEST_WITHIN: Duration = Duration::from_secs(120);
const RETRIES_MAX: usize = 5;
const RETRY_WITHIN: Duration = Duration::from_secs(60);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(10);
const IDLE_CONNECTION_KEPT: Duration = Duration::from_secs(30);

/// The client that all requests go through.
pub(crate) fn http_client() -> Result<reqwest::Client, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_platform_verifier())
        .map_err(|error| error.to_string())?
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .connect_timeout(CONNECT_WITHIN)
        .timeout(REQUEST_WITHIN)
        .pool_idle_timeout(IDLE_CONNECTION_KEPT)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .user_agent(concat!("fanfare/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| error.to_string())
}

/// Hands our client to the object-store library.
#[derive(Debug)]
struct Connector(reqwest::Client);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

/// One blob of a remote container.
pub(crate) struct Remote {
    store: Arc<dyn ObjectStore>,
    path: Path,
    what: String,
    secrets: Vec<String>,
}

impl Remote {
    /// Nothing is sent yet.
    pub(crate) fn new(
        place: &Place,
        blob: &BlobName,
        s3: Option<&S3Settings>,
        http: &reqwest::Client,
        what: String,
    ) -> Result<Self, BlobError> {
        let (store, prefix, secrets) = match place {
            Place::Folder(_) => return Err(no_place("the scheme", "is not one of a remote place")),
            Place::Azure(azure) => {
                let built = MicrosoftAzureBuilder::new()
                    .with_account(&azure.account)
                    .with_container_name(&azure.container)
                    .with_endpoint(azure.endpoint.clone())
                    .with_sas_authorization(azure.signature.clone())
                    .with_allow_http(azure.is_plain)
                    .with_retry(retries())
                    .with_http_connector(Connector(http.clone()))
                    .build();
                let secrets = azure.signature.iter().filter(|(name, _)| name == "sig");
                let secrets = secrets.map(|(_, value)| value.clone()).collect();
                (built.map(erased), "", secrets)
            }
            Place::S3(bucket) => {
                let settings =
                    s3.ok_or_else(|| no_place("the scheme", "is s3, for which there are no keys"))?;
                let mut builder = AmazonS3Builder::new()
                    .with_bucket_name(&bucket.name)
                    .with_region(&settings.region)
                    .with_access_key_id(&settings.access_key_id)
                    .with_secret_access_key(&settings.secret_access_key)
                    .with_retry(retries())
                    .with_http_connector(Connector(http.clone()));
                if let Some(endpoint) = &settings.endpoint {
                    builder = builder
                        .with_endpoint(endpoint)
                        .with_allow_http(endpoint.starts_with("http:"));
                }
                let mut secrets = vec![settings.secret_access_key.clone()];
                if let Some(token) = &settings.session_token {
                    builder = builder.with_token(token);
                    secrets.push(token.clone());
                }
                (builder.build().map(erased), bucket.prefix.as_str(), secrets)
            }
        };
        let store = store.map_err(|error| no_place("the URI", &error.to_string()))?;
        let path = match prefix {
            "" => Path::parse(blob.as_str()),
            prefix => Path::parse(format!("{prefix}/{blob}")),
        };
        let path = path.map_err(|error| no_place("the blob's name", &error.to_string()))?;
        Ok(Self {
            store,
            path,
            what,
            secrets,
        })
    }

    fn failed(&self, error: object_store::Error) -> BlobError {
        use object_store::Error;
        let what = self.what.clone();
        let problem = self.without_secrets(&chain(&error));
        match error {
            Error::NotFound { .. } => BlobError::Absent(what),
            Error::Precondition { .. } => BlobError::Changed(what),
            Error::PermissionDenied { .. }
            | Error::Unauthenticated { .. }
            | Error::InvalidPath { .. } => BlobError::Refused { what, problem },
            _ => BlobError::Unavailable { what, problem },
        }
    }

    /// Places put what they were sent into their answers, in any spelling of it.
    fn without_secrets(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.secrets {
            let encoded =
                percent_encoding::utf8_percent_encode(secret, percent_encoding::NON_ALPHANUMERIC);
            for spelling in [secret.clone(), encoded.to_string()] {
                text = text.replace(&spelling, "***");
            }
        }
        let is_kept = |c: &char| !c.is_control() || *c == ' ';
        text.chars()
            .filter(is_kept)
            .take(PROBLEM_CHARS_MAX)
            .collect()
    }
}

/// Characters of what a place says that an error repeats.
const PROBLEM_CHARS_MAX: usize = 400;

fn erased(store: impl ObjectStore) -> Arc<dyn ObjectStore> {
    Arc::new(store)
}

fn no_place(part: &'static str, problem: &str) -> BlobError {
    BlobError::Container(ContainerError {
        part,
        problem: problem.to_owned(),
    })
}

fn retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            max_backoff: RETRY_PAUSE_MAX,
            ..BackoffConfig::default()
        },
        max_retries: RETRIES_MAX,
        retry_timeout: RETRY_WITHIN,
    }
}

/// An error with its causes, as far as they say something new.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// A blob being read.
pub(crate) struct RemoteReader {
    remote: Remote,
    version: Option<String>,
    left: Range<u64>,
}

impl RemoteReader {
    pub(crate) async fn open(remote: Remote) -> Result<Self, BlobError> {
        let found = remote.store.head(&remote.path).await;
        let found = found.map_err(|error| remote.failed(error))?;
        Ok(Self {
            remote,
            version: found.e_tag,
            left: 0..found.size,
        })
    }
}

#[async_trait]
impl BlobReader for RemoteReader {
    fn bytes(&self) -> u64 {
        self.left.end
    }

    async fn next(&mut self) -> Result<Option<Bytes>, BlobError> {
        if self.left.is_empty() {
            return Ok(None);
        }
        let end = self.left.end.min(self.left.start + READ_BYTES);
        let options = GetOptions {
            if_match: self.version.clone(),
            range: Some(GetRange::Bounded(self.left.start..end)),
            ..GetOptions::default()
        };
        let remote = &self.remote;
        let failed = |error| remote.failed(error);
        let answer = remote.store.get_opts(&remote.path, options).await;
        let piece = answer.map_err(failed)?.bytes().await.map_err(failed)?;
        self.left.start = end;
        Ok(Some(piece))
    }
}

/// A blob being written.
pub(crate) struct RemoteWriter {
    remote: Remote,
    writer: BufWriter,
}

impl RemoteWriter {
    pub(crate) fn create(remote: Remote) -> Self {
        let writer =
            BufWriter::with_capacity(remote.store.clone(), remote.path.clone(), PART_BYTES);
        let writer = writer.with_max_concurrency(PARTS_AT_ONCE);
        Self { remote, writer }
    }

    /// The library's own error comes wrapped in one of the system's.
    fn failed(&self, error: std::io::Error) -> BlobError {
        let text = error.to_string();
        match error.downcast::<object_store::Error>() {
            Ok(error) => self.remote.failed(error),
            Err(_) => BlobError::Unavailable {
                what: self.remote.what.clone(),
                problem: self.remote.without_secrets(&text),
            },
        }
    }
}

#[async_trait]
impl BlobWriter for RemoteWriter {
    async fn write(&mut self, piece: Bytes) -> Result<(), BlobError> {
        let put = self.writer.put(piece).await;
        put.map_err(|error| self.remote.failed(error))
    }

    async fn finish(mut self: Box<Self>) -> Result<(), BlobError> {
        let done = self.writer.shutdown().await;
        done.map_err(|error| self.failed(error))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        sync::{Mutex, PoisonError},
    };

    use fanfare_hub::{ports::Blobs as _, transfers::ContainerUri};
    use tokio::{
        io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
        net::{TcpListener, TcpStream},
    };

    use crate::{BlobPlaces, BlobSettings};

    use super::*;

    const ADDRESS: &str = "127.0.0.74";

    /// As much of an S3 endpoint as whole objects need; it knows one caller and one bucket.
    #[derive(Default)]
    struct Endpoint {
        objects: Mutex<BTreeMap<String, (Vec<u8>, u32)>>,
    }

    struct Asked {
        method: String,
        path: String,
        headers: BTreeMap<String, String>,
        body: Vec<u8>,
    }

    impl Endpoint {
        async fn start() -> (Arc<Self>, String) {
            let endpoint = Arc::new(Self::default());
            let listener = TcpListener::bind((ADDRESS, 0)).await.unwrap();
            let at = format!("http://{}", listener.local_addr().unwrap());
            let serving = endpoint.clone();
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serving.clone().serve(stream));
                }
            });
            (endpoint, at)
        }

        async fn serve(self: Arc<Self>, stream: TcpStream) {
            let mut stream = BufReader::new(stream);
            while let Some(asked) = read(&mut stream).await {
                let (head, body) = self.answer(&asked);
                let sent = if asked.method == "HEAD" {
                    &[][..]
                } else {
                    &body
                };
                let text = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n", body.len());
                stream
                    .write_all(&[text.as_bytes(), sent].concat())
                    .await
                    .unwrap();
            }
        }

        fn answer(&self, asked: &Asked) -> (String, Vec<u8>) {
            let header = |name: &str| asked.headers.get(name).map_or("", String::as_str);
            if !header("authorization").starts_with("AWS4-HMAC-SHA256 Credential=me/") {
                return (
                    "403 Forbidden".into(),
                    b"<Error>no s3cret for you</Error>".into(),
                );
            }
            let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
            if asked.method == "PUT" {
                let version = objects
                    .get(&asked.path)
                    .map_or(0, |(_, version)| version + 1);
                objects.insert(asked.path.clone(), (asked.body.clone(), version));
                return (format!("200 OK\r\netag: \"{version}\""), Vec::new());
            }
            let Some((content, version)) = objects.get(&asked.path) else {
                return ("404 Not Found".into(), Vec::new());
            };
            let wanted = header("if-match");
            if !wanted.is_empty() && wanted != format!("\"{version}\"") {
                return ("412 Precondition Failed".into(), Vec::new());
            }
            let modified = "last-modified: Mon, 03 Feb 2031 04:05:06 GMT";
            let etag = format!("etag: \"{version}\"\r\n{modified}");
            match header("range")
                .strip_prefix("bytes=")
                .and_then(|range| range.split_once('-'))
            {
                None => (format!("200 OK\r\n{etag}"), content.clone()),
                Some((from, to)) => {
                    let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
                    let range = format!("content-range: bytes {from}-{to}/{}", content.len());
                    let part = content[from..=to].to_vec();
                    (format!("206 Partial Content\r\n{etag}\r\n{range}"), part)
                }
            }
        }
    }

    async fn read(stream: &mut BufReader<TcpStream>) -> Option<Asked> {
        let mut line = String::new();
        stream
            .read_line(&mut line)
            .await
            .ok()
            .filter(|bytes| *bytes > 0)?;
        let mut parts = line.split_whitespace().map(str::to_owned);
        let (method, path) = (parts.next()?, parts.next()?);
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await.ok()?;
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                break;
            };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let bytes = headers
            .get("content-length")
            .map_or(0, |text| text.parse().unwrap());
        let mut body = vec![0; bytes];
        stream.read_exact(&mut body).await.ok()?;
        Some(Asked {
            method,
            path,
            headers,
            body,
        })
    }

    fn places(endpoint: &str, who: &str) -> BlobPlaces {
        let s3 = S3Settings {
            endpoint: Some(endpoint.to_owned()),
            region: "us-east-1".to_owned(),
            access_key_id: who.to_owned(),
            secret_access_key: "s3cret".to_owned(),
            session_token: None,
        };
        let settings = BlobSettings {
            s3: Some(s3),
            ..BlobSettings::default()
        };
        BlobPlaces::new(settings).unwrap()
    }

    fn names() -> (ContainerUri, BlobName) {
        (
            ContainerUri::new("s3://bucket/a/b"),
            BlobName::parse("c.txt").unwrap(),
        )
    }

    async fn put(places: &BlobPlaces, content: &[u8]) -> Result<(), BlobError> {
        let (container, blob) = names();
        let mut writer = places.create(&container, &blob).await?;
        writer.write(Bytes::copy_from_slice(content)).await?;
        writer.finish().await
    }

    #[tokio::test]
    async fn a_bucket_is_read_in_ranges_of_one_version() {
        let (endpoint, at) = Endpoint::start().await;
        let places = places(&at, "me");
        let (container, blob) = names();
        let nothing = places.open(&container, &blob).await.err();
        assert_eq!(
            nothing,
            Some(BlobError::Absent("c.txt in s3://bucket/a/b".to_owned()))
        );

        let content: Vec<u8> = (0..READ_BYTES as usize + 10).map(|at| at as u8).collect();
        put(&places, &content).await.unwrap();
        let kept = endpoint
            .objects
            .lock()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>();
        assert_eq!(kept, ["/bucket/a/b/c.txt"]);
        let mut reader = places.open(&container, &blob).await.unwrap();
        assert_eq!(reader.bytes(), content.len() as u64);
        let first = reader.next().await.unwrap().unwrap();
        let rest = reader.next().await.unwrap().unwrap();
        assert_eq!((first.len() as u64, rest.len()), (READ_BYTES, 10));
        assert!([first, rest].concat() == content);
        assert_eq!(reader.next().await.unwrap(), None);

        let mut reader = places.open(&container, &blob).await.unwrap();
        reader.next().await.unwrap();
        put(&places, b"another").await.unwrap();
        let changed = reader.next().await;
        assert!(matches!(changed, Err(BlobError::Changed(_))), "{changed:?}");
    }

    #[tokio::test]
    async fn a_refusal_is_told_without_secrets() {
        let (_endpoint, at) = Endpoint::start().await;
        let refused = put(&places(&at, "nobody"), b"x").await;
        let Err(BlobError::Refused { what, problem }) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(what, "c.txt in s3://bucket/a/b");
        assert!(
            problem.contains("*** for you") && !problem.contains("s3cret"),
            "{problem}"
        );
    }
}
