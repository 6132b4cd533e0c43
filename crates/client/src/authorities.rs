//! Certificate authorities that vouch for devices: upload, proof of possession, deletion. For whoever owns the hub.

use fanfare_wire::Timestamp;
use fanfare_wire::authorities::AuthorityRequest;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::identity::precondition;
use crate::transport::{Method, Repeat, segment};
use crate::words::null_as_default;
use crate::{Error, Etag, HubClient};

/// The certificate authorities of one hub. An extension: other hubs refuse. It takes a policy with all four rights, or a
/// token with the role `Fanfare Owner`. Cheap to clone.
///
/// ```no_run
/// use fanfare_client::{AuthorityClient, ClientOptions};
///
/// # async fn example(connection_string: &str, root_pem: &str) -> Result<(), Box<dyn std::error::Error>> {
/// let authorities = AuthorityClient::from_connection_string(connection_string, ClientOptions::default())?;
/// authorities.create("acme", root_pem).await?;
/// let code = authorities.make_code("acme").await?;
/// println!("sign a certificate with the common name {}", code.verification_code.unwrap_or_default());
/// # let proof_pem = "";
/// // ... and when it is signed:
/// assert!(authorities.verify("acme", proof_pem).await?.is_verified);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct AuthorityClient {
    hub: HubClient,
}

crate::hub::constructors_of!(AuthorityClient);

impl AuthorityClient {
    /// All of them in order of their names, without certificates; a hub has 25 at most.
    ///
    /// # Errors
    /// When the hub refuses or gives no reply.
    ///
    /// ```no_run
    /// # async fn example(authorities: fanfare_client::AuthorityClient) -> Result<(), fanfare_client::Error> {
    /// for authority in authorities.list().await? {
    ///     println!("{}: {} until {}", authority.name, authority.subject, authority.expiry);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list(&self) -> Result<Vec<Authority>, Error> {
        self.hub.call(Method::GET, ROOT).read().await
    }

    /// One of them, with its certificate.
    ///
    /// # Errors
    /// `AuthorityNotFound` (404), or no reply.
    ///
    /// ```no_run
    /// # async fn example(authorities: fanfare_client::AuthorityClient) -> Result<(), fanfare_client::Error> {
    /// println!("{}", authorities.get("acme").await?.certificate.unwrap_or_default());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get(&self, name: &str) -> Result<Authority, Error> {
        self.hub.call(Method::GET, path(name)).read().await
    }

    /// Uploads the certificate of an authority, PEM. It vouches for nobody before it is verified.
    ///
    /// # Errors
    /// `AuthorityAlreadyExists` (409) for a name or a certificate that is there, `ArgumentInvalid` (400) for what is no
    /// authority's certificate, `IotHubQuotaExceeded` (403) for one too many, or no reply. It is not repeated once it may
    /// have been done; see [`Error::may_have_been_done`].
    ///
    /// ```no_run
    /// # async fn example(authorities: fanfare_client::AuthorityClient, pem: &str) -> Result<(), fanfare_client::Error> {
    /// assert!(!authorities.create("acme", pem).await?.is_verified);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create(&self, name: &str, certificate: &str) -> Result<Authority, Error> {
        let call = self.hub.call(Method::PUT, path(name));
        let call = call.json(&request(certificate)).if_none_match();
        call.repeat(Repeat::Refused).read().await
    }

    /// Gives an authority another certificate, which needs a proof of its own; connections that the old one vouched for
    /// end. The same certificate again changes nothing. With an etag, only if that is its version still; with `None`,
    /// whatever version it has.
    ///
    /// # Errors
    /// `AuthorityNotFound` (404), `PreconditionFailed` (412) for another version, those of [`Self::create`], or no reply.
    ///
    /// ```no_run
    /// # async fn example(authorities: fanfare_client::AuthorityClient, pem: &str) -> Result<(), fanfare_client::Error> {
    /// let acme = authorities.get("acme").await?;
    /// authorities.replace("acme", pem, acme.etag).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn replace(
        &self,
        name: &str,
        certificate: &str,
        etag: impl Into<Option<Etag>>,
    ) -> Result<Authority, Error> {
        let (if_match, repeat) = precondition(etag.into());
        let call = self.hub.call(Method::PUT, path(name));
        let call = call.json(&request(certificate)).if_match(if_match);
        call.repeat(repeat).read().await
    }

    /// Makes a verification code, which is in the result and nowhere else; an older one is void. What was proven before
    /// stays so.
    ///
    /// # Errors
    /// `AuthorityNotFound` (404), or no reply. It is repeated: the code of the last try is the one that counts.
    ///
    /// ```no_run
    /// # async fn example(authorities: fanfare_client::AuthorityClient) -> Result<(), fanfare_client::Error> {
    /// let code = authorities.make_code("acme").await?.verification_code;
    /// assert_eq!(code.map(|digits| digits.len()), Some(48));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn make_code(&self, name: &str) -> Result<Authority, Error> {
        let call = self.hub.call(Method::POST, format!("{}/code", path(name)));
        call.repeat(Repeat::Always).read().await
    }

    /// Proves that somebody has the authority's key: `proof` is a certificate, PEM, that the key signed, with the
    /// verification code as its common name. From now on the authority vouches for devices.
    ///
    /// # Errors
    /// `AuthorityNotFound` (404), `ArgumentInvalid` (400) for a proof that is none, `InvalidOperation` when no code was
    /// made, or no reply. It is not repeated once it may have been done: its code is void then. [`Self::get`] tells.
    ///
    /// ```no_run
    /// # async fn example(authorities: fanfare_client::AuthorityClient, proof: &str) -> Result<(), fanfare_client::Error> {
    /// assert!(authorities.verify("acme", proof).await?.is_verified);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn verify(&self, name: &str, proof: &str) -> Result<Authority, Error> {
        let path = format!("{}/verify", path(name));
        let call = self.hub.call(Method::POST, path).json(&request(proof));
        call.repeat(Repeat::Refused).read().await
    }

    /// Deletes one; the device connections that it vouched for end. With an etag, only if that is its version still;
    /// with `None`, whatever version it has.
    ///
    /// # Errors
    /// `AuthorityNotFound` (404), `PreconditionFailed` (412) for another version, or no reply.
    ///
    /// ```no_run
    /// # async fn example(authorities: fanfare_client::AuthorityClient) -> Result<(), fanfare_client::Error> {
    /// authorities.delete("acme", None).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete(&self, name: &str, etag: impl Into<Option<Etag>>) -> Result<(), Error> {
        self.hub.delete(path(name), etag.into()).await
    }
}

const ROOT: &str = "/fanfare/v1/authorities";

fn path(name: &str) -> String {
    format!("{ROOT}/{}", segment(name))
}

fn request(certificate: &str) -> AuthorityRequest {
    AuthorityRequest {
        name: None,
        certificate: certificate.to_owned(),
    }
}

/// A certificate authority that vouches for devices. Members this library does not name are in `other`.
///
/// ```no_run
/// # fn example(authority: fanfare_client::Authority) {
/// if !authority.is_verified {
///     println!("{} vouches for nobody yet", authority.name);
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Authority {
    /// Its name.
    pub name: String,
    /// Whose certificate it is, such as `CN=Acme devices`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub subject: String,
    /// SHA-1 of the certificate, 40 hexadecimal digits.
    #[serde(default, deserialize_with = "null_as_default")]
    pub thumbprint: String,
    /// SHA-256 of it, 64 digits.
    #[serde(default, deserialize_with = "null_as_default")]
    pub thumbprint_sha256: String,
    /// Until when the certificate counts.
    pub expiry: Timestamp,
    /// Whether somebody proved to have its key. It vouches for no device before.
    #[serde(default, deserialize_with = "null_as_default")]
    pub is_verified: bool,
    /// When it was first uploaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// When it last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated: Option<Timestamp>,
    /// Its version.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Etag::is_empty"
    )]
    pub etag: Etag,
    /// The certificate, PEM; not in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// The common name that a proof must have; where it was made and nowhere else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification_code: Option<String>,
    /// Everything else in the document.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_survives() {
        let text = json!({
            "name": "acme", "subject": "CN=Acme", "thumbprint": "AB", "thumbprintSha256": "CD",
            "expiry": "2031-02-03T04:05:06.1230000Z", "isVerified": true,
            "created": "2031-02-03T04:05:06.1230000Z", "updated": "2031-02-03T04:05:06.1230000Z",
            "etag": "MQ==", "certificate": "-----BEGIN", "verificationCode": "00", "issuer": "CN=Acme",
        });
        let authority: Authority = serde_json::from_value(text.clone()).unwrap();
        assert_eq!(authority.other["issuer"], "CN=Acme");
        assert_eq!(serde_json::to_value(&authority).unwrap(), text);
    }
}
