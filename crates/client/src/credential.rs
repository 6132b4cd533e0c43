//! Who a client is: a policy's key, a ready-made shared access signature, or whatever yields bearer tokens.
//!
//! What this puts on requests, and when it is made anew, is [`authorize`]'s decision.

pub(crate) mod authorize;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use fanfare_wire::connection_string::ConnectionString;
use fanfare_wire::sas::SasToken;
use fanfare_wire::{Secret, Timestamp};

use crate::Error;
use crate::error::SetupError;

/// Who a client is. Cheap to clone; `Debug` hides keys, signatures and tokens.
///
/// ```
/// use fanfare_client::Credential;
///
/// let text = "HostName=localhost;SharedAccessKeyName=registryReadWrite;SharedAccessKey=c2VjcmV0";
/// let credential = Credential::from_connection_string(text).expect("it has a policy and a key");
/// assert!(!format!("{credential:?}").contains("c2VjcmV0"));
/// ```
#[derive(Debug, Clone)]
pub struct Credential(pub(crate) Kind);

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Key { policy: String, key: Secret },
    Signature { text: Secret, expiry: Timestamp },
    Token(Arc<dyn TokenCredential>),
}

impl Credential {
    /// The policy `policy` with one of its keys, base64.
    ///
    /// ```
    /// let credential = fanfare_client::Credential::shared_access_key("service", "c2VjcmV0");
    /// ```
    pub fn shared_access_key(policy: impl Into<String>, key: impl Into<String>) -> Self {
        Self(Kind::Key {
            policy: policy.into(),
            key: Secret::new(key),
        })
    }

    /// A ready-made `SharedAccessSignature sr=..&sig=..&se=..&skn=..`. It is sent as given, until its end; from then
    /// on every call fails with [`Error::SignatureExpired`] before anything is sent.
    ///
    /// # Errors
    /// [`SetupError::Signature`] when the text is none.
    ///
    /// ```
    /// use fanfare_client::Credential;
    ///
    /// let text = "SharedAccessSignature sr=localhost&sig=c2VjcmV0&se=1924992000&skn=service";
    /// let credential = Credential::shared_access_signature(text).expect("it has all fields");
    /// assert!(!format!("{credential:?}").contains("c2VjcmV0"));
    /// ```
    pub fn shared_access_signature(text: &str) -> Result<Self, Error> {
        Ok(Self::parse_signature(text)?.1)
    }

    /// The policy and key, or the signature, in a connection string; its host is not looked at.
    ///
    /// # Errors
    /// [`SetupError::ConnectionString`] when it is none of a shared access policy.
    ///
    /// ```
    /// use fanfare_client::Credential;
    ///
    /// let of_a_device = "HostName=localhost;DeviceId=door-1;SharedAccessKey=c2VjcmV0";
    /// assert!(Credential::from_connection_string(of_a_device).is_err());
    /// ```
    pub fn from_connection_string(text: &str) -> Result<Self, Error> {
        Ok(Self::parse_connection_string(text)?.1)
    }

    /// Whatever yields bearer tokens, for example a signed-in user's.
    ///
    /// See [`TokenCredential`] for an example.
    pub fn token(credential: impl TokenCredential + 'static) -> Self {
        Self(Kind::Token(Arc::new(credential)))
    }

    /// The endpoint and the credential in a connection string.
    pub(crate) fn parse_connection_string(text: &str) -> Result<(String, Self), Error> {
        let invalid = |why: &str| SetupError::ConnectionString(why.to_owned());
        let read = ConnectionString::parse(text).map_err(|error| invalid(&error.to_string()))?;
        if read.device_id.is_some() {
            return Err(invalid("it is a device's, a policy's is needed").into());
        }
        let credential = match (read.policy, read.key, read.signature) {
            (Some(policy), Some(key), _) => Self(Kind::Key { policy, key }),
            (_, _, Some(signature)) => Self::shared_access_signature(signature.expose())?,
            _ => {
                return Err(invalid("it has no SharedAccessKeyName and SharedAccessKey").into());
            }
        };
        Ok((format!("https://{}", read.host_name), credential))
    }

    /// The endpoint a signature is for, and the credential it makes.
    pub(crate) fn parse_signature(text: &str) -> Result<(String, Self), Error> {
        let text = text.trim();
        let invalid = |why: &str| SetupError::Signature(why.to_owned());
        let token = SasToken::parse(text).map_err(|error| invalid(&error.to_string()))?;
        let host = token
            .host()
            .ok_or_else(|| invalid("its 'sr' names no host"))?;
        let expiry = Timestamp::from_micros(token.expiry.saturating_mul(1_000_000));
        let text = Secret::new(text);
        Ok((
            format!("https://{host}"),
            Self(Kind::Signature { text, expiry }),
        ))
    }
}

/// A future on the heap, which a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Yields bearer tokens. A client asks for one before its first call, again before the last one ends, and once more
/// when the hub refuses one with 401; one request at a time, however many calls wait.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use fanfare_client::{AccessToken, BoxFuture, ClientOptions, Credential, CredentialError, HubClient};
/// use fanfare_client::TokenCredential;
///
/// #[derive(Debug)]
/// struct SignedIn;
///
/// impl TokenCredential for SignedIn {
///     fn token<'a>(
///         &'a self,
///         scopes: &'a [&'a str],
///     ) -> BoxFuture<'a, Result<AccessToken, CredentialError>> {
///         Box::pin(async move {
///             assert_eq!(scopes, ["https://iothubs.azure.net/.default"]);
///             let expires_on = SystemTime::now() + Duration::from_secs(3600);
///             Ok(AccessToken::new("eyJ0eXAi...", expires_on))
///         })
///     }
/// }
///
/// let credential = Credential::token(SignedIn);
/// ```
pub trait TokenCredential: fmt::Debug + Send + Sync {
    /// A token for these scopes.
    ///
    /// The caller bounds the wait by [`crate::ClientOptions::timeout`]; an implementation must bear being dropped.
    fn token<'a>(
        &'a self,
        scopes: &'a [&'a str],
    ) -> BoxFuture<'a, Result<AccessToken, CredentialError>>;
}

impl<T: TokenCredential + ?Sized> TokenCredential for Arc<T> {
    fn token<'a>(
        &'a self,
        scopes: &'a [&'a str],
    ) -> BoxFuture<'a, Result<AccessToken, CredentialError>> {
        (**self).token(scopes)
    }
}

/// A bearer token. `Debug` hides it.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use fanfare_client::AccessToken;
///
/// let token = AccessToken::new("eyJ0eXAi", SystemTime::now() + Duration::from_secs(3600));
/// assert!(!format!("{token:?}").contains("eyJ0eXAi"));
/// ```
#[derive(Debug, Clone)]
pub struct AccessToken {
    /// What follows `Bearer `.
    pub token: Secret,
    /// When it ends.
    pub expires_on: SystemTime,
}

impl AccessToken {
    /// A token that ends at `expires_on`.
    pub fn new(token: impl Into<String>, expires_on: SystemTime) -> Self {
        Self {
            token: Secret::new(token),
            expires_on,
        }
    }
}

/// Why a [`TokenCredential`] gave no token.
///
/// ```
/// use fanfare_client::CredentialError;
/// let error = CredentialError::new("nobody is signed in");
/// assert_eq!(error.to_string(), "nobody is signed in");
/// ```
#[derive(Debug, Clone)]
pub struct CredentialError {
    text: String,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl CredentialError {
    /// An error with this text, lower case and without a full stop.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            source: None,
        }
    }

    /// Adds what lies below it.
    ///
    /// ```
    /// # use fanfare_client::CredentialError;
    /// let below = std::io::Error::other("the file is gone");
    /// let error = CredentialError::new("nobody is signed in").with_source(below);
    /// assert!(std::error::Error::source(&error).is_some());
    /// ```
    #[must_use]
    pub fn with_source(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.source = Some(Arc::from(source.into()));
        self
    }
}

impl fmt::Display for CredentialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for CredentialError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let source = self.source.as_deref()?;
        Some(source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup_error(text: &str) -> String {
        Credential::from_connection_string(text)
            .expect_err("refused")
            .to_string()
    }

    #[test]
    fn strings_without_a_policy_are_refused_at_once() {
        let device = setup_error("HostName=h;DeviceId=d;SharedAccessKey=c2VjcmV0");
        assert!(device.contains("a device's"), "{device}");
        let keyless = setup_error("HostName=h;SharedAccessKeyName=service");
        assert!(keyless.contains("SharedAccessKey"), "{keyless}");
    }

    #[test]
    fn a_signature_says_for_which_host_and_until_when_it_is() {
        let text = "SharedAccessSignature sr=hub.test%3A8443%2fdevices&sig=c2Vj&se=60&skn=service";
        let (endpoint, credential) = Credential::parse_signature(text).expect("all fields");
        assert_eq!(endpoint, "https://hub.test:8443");
        let Kind::Signature { expiry, .. } = credential.0 else {
            panic!("a signature")
        };
        assert_eq!(expiry.as_micros(), 60_000_000);
        for refused in [
            "",
            "SharedAccessSignature sr=h&se=60",
            "SharedAccessSignature sr=%2F&sig=c2Vj&se=60",
        ] {
            let error = Credential::parse_signature(refused).expect_err("refused");
            assert!(
                matches!(error, Error::Setup(SetupError::Signature(_))),
                "{refused}"
            );
        }
    }

    #[test]
    fn a_connection_string_may_carry_a_signature() {
        let text = "HostName=other;SharedAccessSignature=SharedAccessSignature sr=h&sig=c2Vj&se=9";
        let (endpoint, credential) = Credential::parse_connection_string(text).expect("a policy's");
        assert_eq!(endpoint, "https://other");
        assert!(matches!(credential.0, Kind::Signature { .. }));
    }
}
