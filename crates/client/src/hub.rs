//! One hub with one credential: what every client of this crate is made of.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderValue, Method};
use rustls::crypto::SecureRandom;
use tokio::sync::Semaphore;

use crate::credential::authorize::Authorizer;
use crate::error::SetupError;
use crate::identity::precondition;
use crate::transport::exchange::Route;
use crate::transport::{Call, segment};
use crate::{
    AuthorityClient, ClientOptions, Credential, Error, Etag, JobClient, MethodClient, PolicyClient,
    QueryClient, RegistryClient, RetryPolicy, TokenCredential, TwinClient,
};

/// Most event streams of one client at once. Each has a connection of HTTP/1.1 or a stream of HTTP/2 for as long as its
/// job runs, of which hubs allow a hundred or so: calls must not wait for one because jobs are watched.
const EVENT_STREAMS_MAX: usize = 64;

/// A hub, with the rights of one credential. Cheap to clone; clones share connections and signature.
///
/// ```no_run
/// use fanfare_client::{ClientOptions, HubClient};
///
/// # async fn example(connection_string: &str) -> Result<(), fanfare_client::Error> {
/// let hub = HubClient::from_connection_string(connection_string, ClientOptions::default())?;
/// println!("{}", hub.jobs().get_job("lock-43").await?.status);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct HubClient {
    shared: Arc<Shared>,
}

/// What all clones of a client have in common. Connections and their tasks end with it.
pub(crate) struct Shared {
    pub(crate) route: Route,
    pub(crate) authorizer: Authorizer,
    /// Encoded for a query.
    pub(crate) api_version: String,
    pub(crate) user_agent: HeaderValue,
    pub(crate) timeout: Duration,
    pub(crate) retry: RetryPolicy,
    random: &'static dyn SecureRandom,
    /// The first of this client's request ids; the others count on from it.
    request_id_first: u128,
    requests: AtomicU64,
    event_streams: Arc<Semaphore>,
}

impl Shared {
    fn new(endpoint: &str, credential: Credential, options: ClientOptions) -> Result<Self, Error> {
        let route = Route::to(endpoint, &options)?;
        let random = rustls::crypto::ring::default_provider().secure_random;
        Ok(Self {
            authorizer: Authorizer::new(credential, route.name(), options.timeout)?,
            route,
            api_version: segment(&options.api_version),
            user_agent: HeaderValue::try_from(options.user_agent)
                .map_err(|_| SetupError::Option("user_agent"))?,
            timeout: options.timeout,
            retry: options.retry,
            random,
            request_id_first: u128::from(chance(random)) << 64 | u128::from(chance(random)),
            requests: AtomicU64::new(0),
            event_streams: Arc::new(Semaphore::new(EVENT_STREAMS_MAX)),
        })
    }

    /// An id for one call, the same for all its tries: a UUID that nobody else makes.
    pub(crate) fn request_id(&self) -> HeaderValue {
        let count = self.requests.fetch_add(1, Ordering::Relaxed);
        let id = self.request_id_first.wrapping_add(u128::from(count));
        HeaderValue::from_bytes(&uuid_text(id)).expect("hex digits and dashes can be sent")
    }

    /// A number that nobody can foretell.
    pub(crate) fn chance(&self) -> u64 {
        chance(self.random)
    }
}

/// Half of all when the system has no random numbers: pauses need some part of their span, not a secret.
fn chance(random: &dyn SecureRandom) -> u64 {
    let mut bytes = [0; 8];
    match random.fill(&mut bytes) {
        Ok(()) => u64::from_ne_bytes(bytes),
        Err(_) => 1 << 63,
    }
}

/// A UUID of version 4 out of 128 bits, as text.
fn uuid_text(id: u128) -> [u8; 36] {
    let id = id & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let mut digits = id
        .to_be_bytes()
        .into_iter()
        .flat_map(|byte| [byte >> 4, byte & 0xf]);
    let mut text = [b'-'; 36];
    for (at, place) in text.iter_mut().enumerate() {
        if !matches!(at, 8 | 13 | 18 | 23) {
            let digit = digits.next().expect("32 digits and 4 dashes");
            *place = b"0123456789abcdef"[usize::from(digit)];
        }
    }
    text
}

impl fmt::Debug for HubClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubClient")
            .field("at", &self.shared.route.at())
            .finish_non_exhaustive()
    }
}

impl HubClient {
    /// A client of the hub at `endpoint`, `https://HOST[:PORT]`. Nothing is sent.
    ///
    /// # Errors
    /// [`Error::Setup`] when the endpoint, the credential, the trusted certificates or an option cannot be used.
    ///
    /// ```no_run
    /// use fanfare_client::{ClientOptions, Credential, HubClient};
    ///
    /// # fn main() -> Result<(), fanfare_client::Error> {
    /// let credential = Credential::shared_access_key("registryReadWrite", "c2VjcmV0");
    /// let hub = HubClient::new("https://localhost", credential, ClientOptions::default())?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(
        endpoint: &str,
        credential: Credential,
        options: ClientOptions,
    ) -> Result<Self, Error> {
        let shared = Arc::new(Shared::new(endpoint, credential, options)?);
        Ok(Self { shared })
    }

    /// A client of the hub that a connection string names, with the policy and key, or the signature, in it.
    ///
    /// # Errors
    /// As [`Self::new`], and when the text is no connection string of a shared access policy.
    ///
    /// ```no_run
    /// use fanfare_client::{ClientOptions, HubClient};
    ///
    /// # fn main() -> Result<(), fanfare_client::Error> {
    /// let text = "HostName=localhost;SharedAccessKeyName=service;SharedAccessKey=c2VjcmV0";
    /// let hub = HubClient::from_connection_string(text, ClientOptions::default())?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_connection_string(text: &str, options: ClientOptions) -> Result<Self, Error> {
        let (endpoint, credential) = Credential::parse_connection_string(text)?;
        Self::new(&endpoint, credential, options)
    }

    /// A client of the hub that a ready-made shared access signature is for (its `sr`). It works until the signature
    /// ends, see [`Error::SignatureExpired`].
    ///
    /// # Errors
    /// As [`Self::new`], and when the text is no shared access signature.
    ///
    /// ```no_run
    /// use fanfare_client::{ClientOptions, HubClient};
    ///
    /// # fn main() -> Result<(), fanfare_client::Error> {
    /// let text = "SharedAccessSignature sr=localhost&sig=c2VjcmV0&se=1924992000&skn=service";
    /// let hub = HubClient::from_shared_access_signature(text, ClientOptions::default())?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_shared_access_signature(text: &str, options: ClientOptions) -> Result<Self, Error> {
        let (endpoint, credential) = Credential::parse_signature(text)?;
        Self::new(&endpoint, credential, options)
    }

    /// A client of the hub `host`, `HOST[:PORT]`, with bearer tokens.
    ///
    /// # Errors
    /// As [`Self::new`].
    ///
    /// ```no_run
    /// use fanfare_client::{ClientOptions, HubClient, TokenCredential};
    ///
    /// # fn example(signed_in: impl TokenCredential + 'static) -> Result<(), fanfare_client::Error> {
    /// let hub = HubClient::from_token_credential("hub.example.com", signed_in, ClientOptions::default())?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_token_credential(
        host: &str,
        credential: impl TokenCredential + 'static,
        options: ClientOptions,
    ) -> Result<Self, Error> {
        Self::new(
            &format!("https://{host}"),
            Credential::token(credential),
            options,
        )
    }

    /// The jobs of this hub.
    ///
    /// ```no_run
    /// # async fn example(hub: fanfare_client::HubClient) -> Result<(), fanfare_client::Error> {
    /// println!("{}", hub.jobs().get_job("lock-43").await?.status);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn jobs(&self) -> JobClient {
        JobClient::of(self.clone())
    }

    /// The queries of this hub.
    ///
    /// ```no_run
    /// # async fn example(hub: fanfare_client::HubClient) -> Result<(), fanfare_client::Error> {
    /// let lost = hub.queries().twins("SELECT * FROM devices WHERE connectionState = 'Disconnected'");
    /// println!("{} devices are away", lost.collect().await?.len());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn queries(&self) -> QueryClient {
        QueryClient::of(self.clone())
    }

    /// The registry of this hub.
    ///
    /// ```no_run
    /// # async fn example(hub: fanfare_client::HubClient) -> Result<(), fanfare_client::Error> {
    /// println!("{:?}", hub.registry().get_device("door-1").await?.connection_state);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn registry(&self) -> RegistryClient {
        RegistryClient::of(self.clone())
    }

    /// The twins of this hub.
    ///
    /// ```no_run
    /// # async fn example(hub: fanfare_client::HubClient) -> Result<(), fanfare_client::Error> {
    /// println!("{}", hub.twins().get("door-1").await?.tags);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn twins(&self) -> TwinClient {
        TwinClient::of(self.clone())
    }

    /// The direct methods of this hub's devices.
    ///
    /// ```no_run
    /// # async fn example(hub: fanfare_client::HubClient) -> Result<(), fanfare_client::Error> {
    /// use fanfare_client::DeviceMethod;
    /// println!("{}", hub.methods().invoke("door-1", DeviceMethod::new("lockDoor")).await?.status);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn methods(&self) -> MethodClient {
        MethodClient::of(self.clone())
    }

    /// The shared access policies of this hub.
    ///
    /// ```no_run
    /// # async fn example(hub: fanfare_client::HubClient) -> Result<(), fanfare_client::Error> {
    /// println!("{}", hub.policies().get("service").await?.rights);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn policies(&self) -> PolicyClient {
        PolicyClient::of(self.clone())
    }

    /// The certificate authorities of this hub.
    ///
    /// ```no_run
    /// # async fn example(hub: fanfare_client::HubClient) -> Result<(), fanfare_client::Error> {
    /// println!("{}", hub.authorities().get("acme").await?.subject);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn authorities(&self) -> AuthorityClient {
        AuthorityClient::of(self.clone())
    }

    /// The hub's metrics in Prometheus' text form. An extension: other hubs refuse.
    ///
    /// # Errors
    /// When the hub refuses or gives no reply.
    ///
    /// ```no_run
    /// # async fn example(hub: fanfare_client::HubClient) -> Result<(), fanfare_client::Error> {
    /// print!("{}", hub.metrics().await?);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn metrics(&self) -> Result<String, Error> {
        let call = self.call(Method::GET, "/fanfare/v1/metrics");
        Ok(call.reply().await?.text())
    }

    /// The rights to have an event stream open.
    pub(crate) fn event_streams(&self) -> &Arc<Semaphore> {
        &self.shared.event_streams
    }

    /// Begins a request; `path` is encoded already, see [`crate::transport::segment`].
    pub(crate) fn call(&self, method: Method, path: impl Into<String>) -> Call<'_> {
        Call::new(&self.shared, method, path.into())
    }

    /// Deletes what is at `path`. A try whose reply was lost may have done it, so that the next one finds nothing.
    pub(crate) async fn delete(&self, path: String, etag: Option<Etag>) -> Result<(), Error> {
        let (if_match, repeat) = precondition(etag);
        let call = self.call(Method::DELETE, path);
        match call.if_match(if_match).repeat(repeat).done().await {
            Err(gone) if gone.may_have_been_done() && gone.is_of_absence() => Ok(()),
            other => other,
        }
    }
}

/// The four constructors that a client of one part of a hub has, and `of`; the client holds the hub in `hub`.
macro_rules! constructors_of {
    ($client:ident) => {
        impl $client {
            /// A client of the hub at `endpoint`, `https://HOST[:PORT]`. Nothing is sent.
            ///
            /// # Errors
            /// As [`crate::HubClient::new`].
            ///
            /// ```no_run
            #[doc = concat!("use fanfare_client::{ClientOptions, Credential, ", stringify!($client), "};")]
            ///
            /// # fn main() -> Result<(), fanfare_client::Error> {
            /// let credential = Credential::shared_access_key("registryReadWrite", "c2VjcmV0");
            #[doc = concat!("let client = ", stringify!($client), "::new(\"https://localhost\", credential, ClientOptions::default())?;")]
            /// # Ok(())
            /// # }
            /// ```
            pub fn new(
                endpoint: &str,
                credential: $crate::Credential,
                options: $crate::ClientOptions,
            ) -> Result<Self, $crate::Error> {
                $crate::HubClient::new(endpoint, credential, options).map(Self::of)
            }

            /// A client of the hub that a connection string names.
            ///
            /// # Errors
            /// As [`crate::HubClient::from_connection_string`].
            ///
            /// ```no_run
            #[doc = concat!("use fanfare_client::{ClientOptions, ", stringify!($client), "};")]
            ///
            /// # fn main() -> Result<(), fanfare_client::Error> {
            /// let text = "HostName=localhost;SharedAccessKeyName=service;SharedAccessKey=c2VjcmV0";
            #[doc = concat!("let client = ", stringify!($client), "::from_connection_string(text, ClientOptions::default())?;")]
            /// # Ok(())
            /// # }
            /// ```
            pub fn from_connection_string(
                text: &str,
                options: $crate::ClientOptions,
            ) -> Result<Self, $crate::Error> {
                $crate::HubClient::from_connection_string(text, options).map(Self::of)
            }

            /// A client of the hub that a ready-made shared access signature is for.
            ///
            /// # Errors
            /// As [`crate::HubClient::from_shared_access_signature`].
            ///
            /// ```no_run
            #[doc = concat!("use fanfare_client::{ClientOptions, ", stringify!($client), "};")]
            ///
            /// # fn main() -> Result<(), fanfare_client::Error> {
            /// let text = "SharedAccessSignature sr=localhost&sig=c2VjcmV0&se=1924992000&skn=service";
            #[doc = concat!("let client = ", stringify!($client), "::from_shared_access_signature(text, ClientOptions::default())?;")]
            /// # Ok(())
            /// # }
            /// ```
            pub fn from_shared_access_signature(
                text: &str,
                options: $crate::ClientOptions,
            ) -> Result<Self, $crate::Error> {
                $crate::HubClient::from_shared_access_signature(text, options).map(Self::of)
            }

            /// A client of the hub `host`, `HOST[:PORT]`, with bearer tokens.
            ///
            /// # Errors
            /// As [`crate::HubClient::from_token_credential`].
            ///
            /// ```no_run
            #[doc = concat!("use fanfare_client::{ClientOptions, ", stringify!($client), ", TokenCredential};")]
            ///
            /// # fn example(signed_in: impl TokenCredential + 'static) -> Result<(), fanfare_client::Error> {
            #[doc = concat!("let client = ", stringify!($client), "::from_token_credential(\"localhost\", signed_in, ClientOptions::default())?;")]
            /// # Ok(())
            /// # }
            /// ```
            pub fn from_token_credential(
                host: &str,
                credential: impl $crate::TokenCredential + 'static,
                options: $crate::ClientOptions,
            ) -> Result<Self, $crate::Error> {
                $crate::HubClient::from_token_credential(host, credential, options).map(Self::of)
            }

            pub(crate) fn of(hub: $crate::HubClient) -> Self {
                Self { hub }
            }
        }
    };
}

pub(crate) use constructors_of;

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "HostName=hub.test:8443;SharedAccessKeyName=s;SharedAccessKey=c2VjcmV0";

    #[test]
    fn request_ids_are_uuids_and_differ() {
        assert_eq!(&uuid_text(0), b"00000000-0000-4000-8000-000000000000");
        let all = u128::MAX;
        assert_eq!(&uuid_text(all), b"ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(&uuid_text(0x17), b"00000000-0000-4000-8000-000000000017");
    }

    #[cfg(feature = "platform-verifier")]
    #[test]
    fn a_client_shows_neither_key_nor_signature() {
        let hub = HubClient::from_connection_string(TEXT, ClientOptions::default());
        let shown = format!("{:?}", hub.expect("a good string"));
        assert_eq!(shown, "HubClient { at: \"hub.test:8443\", .. }");
    }

    /// A hub compares the host of a signature with its own name, port aside.
    #[cfg(feature = "platform-verifier")]
    #[tokio::test]
    async fn signatures_are_for_the_host_as_hubs_write_it() {
        for (host, resource) in [
            ("HUB.test:8443", "hub.test"),
            ("hub.test.", "hub.test"),
            ("[::1]:8443", "%5B%3A%3A1%5D"),
        ] {
            let text = format!("HostName={host};SharedAccessKeyName=s;SharedAccessKey=c2VjcmV0");
            let hub = HubClient::from_connection_string(&text, ClientOptions::default());
            let header = hub.expect(host).shared.authorizer.header().await;
            let header = header.expect("the key signs");
            let signature = header.to_str().expect("a signature is text");
            let want = format!("SharedAccessSignature sr={resource}&");
            assert!(
                signature
                    .to_ascii_uppercase()
                    .starts_with(&want.to_ascii_uppercase()),
                "{signature}"
            );
        }
    }

    #[test]
    fn an_option_that_cannot_be_sent_is_refused_at_once() {
        let options = ClientOptions {
            user_agent: "two\nlines".to_owned(),
            ..ClientOptions::default()
        };
        let error = HubClient::from_connection_string(TEXT, options).expect_err("refused");
        assert!(matches!(error, Error::Setup(_)), "{error}");
    }
}
