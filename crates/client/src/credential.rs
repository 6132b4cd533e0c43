//! Who a client is, and the signature it puts on requests.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use fanfare_wire::Secret;
use fanfare_wire::connection_string::ConnectionString;
use fanfare_wire::sas::{SasGrant, sign};

use crate::Error;

/// Life of a signature, seconds; what the SDKs use.
const SIGNATURE_LIFE_S: i64 = 3600;
/// A signature with less than this left is made anew, seconds; more than the clocks may disagree.
const SIGNATURE_LEFT_MIN_S: i64 = 600;

/// A shared access policy and its key. `Debug` hides the key.
///
/// ```
/// use fanfare_client::Credential;
///
/// let text = "HostName=localhost;SharedAccessKeyName=registryReadWrite;SharedAccessKey=c2VjcmV0";
/// let credential = Credential::from_connection_string(text).expect("it has a policy and a key");
/// assert!(!format!("{credential:?}").contains("c2VjcmV0"));
/// ```
#[derive(Debug, Clone)]
pub struct Credential {
    policy: String,
    key: Secret,
}

impl Credential {
    /// The policy `policy` with one of its keys, base64.
    pub fn shared_access_key(policy: impl Into<String>, key: impl Into<String>) -> Self {
        Self {
            policy: policy.into(),
            key: Secret::new(key),
        }
    }

    /// The policy and key in a connection string; its host is not looked at.
    ///
    /// # Errors
    /// [`Error::ConnectionString`] when it is none of a shared access policy.
    pub fn from_connection_string(text: &str) -> Result<Self, Error> {
        Ok(Self::parse_connection_string(text)?.1)
    }

    /// The endpoint and the credential in a connection string.
    pub(crate) fn parse_connection_string(text: &str) -> Result<(String, Self), Error> {
        let read = ConnectionString::parse(text)
            .map_err(|error| Error::ConnectionString(error.to_string()))?;
        match (read.policy, read.key) {
            (Some(policy), Some(key)) => {
                Ok((format!("https://{}", read.host_name), Self { policy, key }))
            }
            _ => Err(Error::ConnectionString(
                "it has no SharedAccessKeyName and SharedAccessKey".to_owned(),
            )),
        }
    }
}

/// Signs requests to one host; a signature is used until it nears its end.
pub(crate) struct Signer {
    credential: Credential,
    host: String,
    current: Mutex<Signature>,
}

struct Signature {
    text: String,
    expiry: i64,
}

impl Signer {
    pub(crate) fn new(credential: Credential, host: String) -> Result<Self, Error> {
        let current = Mutex::new(Signature {
            text: String::new(),
            expiry: 0,
        });
        let signer = Self {
            credential,
            host,
            current,
        };
        signer.authorization()?;
        Ok(signer)
    }

    /// The value of the `Authorization` header.
    pub(crate) fn authorization(&self) -> Result<String, Error> {
        self.authorization_at(unix_now_s())
    }

    fn authorization_at(&self, now: i64) -> Result<String, Error> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.expiry - now < SIGNATURE_LEFT_MIN_S {
            let expiry = now + SIGNATURE_LIFE_S;
            let text = sign(&SasGrant {
                resource: &self.host,
                key: self.credential.key.expose(),
                policy: Some(&self.credential.policy),
                expiry,
            })
            .map_err(|error| Error::Key(error.to_string()))?;
            *current = Signature { text, expiry };
        }
        Ok(current.text.clone())
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("credential", &self.credential)
            .finish_non_exhaustive()
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "a client has no clock but the system's"
)]
fn unix_now_s() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_kept_until_it_nears_its_end() {
        let credential = Credential::shared_access_key("service", "c2VjcmV0");
        let signer = Signer::new(credential, "localhost".to_owned()).expect("the key signs");
        let now = unix_now_s() + 10_000;
        let first = signer.authorization_at(now).expect("the key signs");
        assert!(first.contains("skn=service"), "{first}");
        assert_eq!(signer.authorization_at(now + 2_999).expect("kept"), first);
        assert_ne!(
            signer.authorization_at(now + 3_001).expect("made anew"),
            first
        );
    }

    #[test]
    fn a_device_string_or_a_bad_key_is_refused_at_once() {
        let device = "HostName=h;DeviceId=d;SharedAccessKey=c2VjcmV0";
        let refused = Credential::from_connection_string(device).expect_err("no policy");
        assert!(
            refused.to_string().contains("SharedAccessKeyName"),
            "{refused}"
        );
        let credential = Credential::shared_access_key("service", "not base64!");
        assert!(matches!(
            Signer::new(credential, "h".to_owned()),
            Err(Error::Key(_))
        ));
    }
}
