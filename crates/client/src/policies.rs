//! Shared access policies: what programs and devices sign in with, their rights and their keys. For whoever owns the hub.

use std::fmt;

use fanfare_wire::Secret;
use fanfare_wire::policies::{RotateRequest, RotatedKey};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::identity::precondition;
use crate::transport::{Method, Repeat, segment};
use crate::words::{null_as_default, open_words};
use crate::{Error, Etag, HubClient, KeyRenewal, SymmetricKey};

/// The shared access policies of one hub. An extension: other hubs refuse. It takes a policy with all four rights, or a
/// token with the role `Fanfare Owner`. Cheap to clone.
///
/// ```no_run
/// use fanfare_client::{ClientOptions, PolicyClient, PolicyRight};
///
/// # async fn example(connection_string: &str) -> Result<(), fanfare_client::Error> {
/// let policies = PolicyClient::from_connection_string(connection_string, ClientOptions::default())?;
/// let rights = [PolicyRight::RegistryRead, PolicyRight::ServiceConnect];
/// let made = policies.create("night-shift", rights, None).await?;
/// println!("{} may {}", made.name, made.rights);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct PolicyClient {
    hub: HubClient,
}

crate::hub::constructors_of!(PolicyClient);

impl PolicyClient {
    /// All of them in order of their names, without keys; a hub has 16 at most.
    ///
    /// # Errors
    /// When the hub refuses or gives no reply.
    ///
    /// ```no_run
    /// # async fn example(policies: fanfare_client::PolicyClient) -> Result<(), fanfare_client::Error> {
    /// for policy in policies.list().await? {
    ///     println!("{}: {}", policy.name, policy.rights);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list(&self) -> Result<Vec<Policy>, Error> {
        self.hub.call(Method::GET, ROOT).read().await
    }

    /// One of them, with its keys.
    ///
    /// # Errors
    /// `PolicyNotFound` (404), or no reply.
    ///
    /// ```no_run
    /// # async fn example(policies: fanfare_client::PolicyClient) -> Result<(), fanfare_client::Error> {
    /// let service = policies.get("service").await?;
    /// assert!(service.primary_key.is_some() && service.secondary_key.is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get(&self, name: &str) -> Result<Policy, Error> {
        self.hub.call(Method::GET, path(name)).read().await
    }

    /// Creates one and returns it with its keys. The hub makes the keys that are not given.
    ///
    /// # Errors
    /// `PolicyAlreadyExists` (409), `ArgumentInvalid` (400) for a name, right or key that cannot be, `IotHubQuotaExceeded`
    /// (403) for one too many, or no reply. It is not repeated once it may have been done; see
    /// [`Error::may_have_been_done`].
    ///
    /// ```no_run
    /// # async fn example(policies: fanfare_client::PolicyClient) -> Result<(), fanfare_client::Error> {
    /// use fanfare_client::{PolicyRight, Secret, SymmetricKey};
    /// // Devices that came from another hub go on signing with the key they have.
    /// let keys = SymmetricKey { primary_key: Some(Secret::new("MDEyMzQ1Njc4OWFiY2RlZg==")), secondary_key: None };
    /// policies.create("old-gateways", PolicyRight::DeviceConnect, keys).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create(
        &self,
        name: &str,
        rights: impl Into<PolicyRights>,
        keys: impl Into<Option<SymmetricKey>>,
    ) -> Result<Policy, Error> {
        let body = Wanted {
            rights: rights.into(),
            keys: keys.into().unwrap_or_default(),
        };
        let call = self.hub.call(Method::PUT, path(name)).json(&body);
        let call = call.if_none_match().repeat(Repeat::Refused);
        call.read().await
    }

    /// Gives a policy these rights in place of those it has, and returns it; its keys stay. With an etag, only if that is
    /// its version still; with `None`, whatever version it has. Device connections end that need a right it lost.
    ///
    /// # Errors
    /// `PolicyNotFound` (404), `PreconditionFailed` (412) for another version, `InvalidOperation` for the last policy
    /// with all four rights, those of [`Self::create`], or no reply.
    ///
    /// ```no_run
    /// # async fn example(policies: fanfare_client::PolicyClient) -> Result<(), fanfare_client::Error> {
    /// use fanfare_client::PolicyRight;
    /// let shift = policies.get("night-shift").await?;
    /// policies.update_rights("night-shift", PolicyRight::RegistryRead, shift.etag).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn update_rights(
        &self,
        name: &str,
        rights: impl Into<PolicyRights>,
        etag: impl Into<Option<Etag>>,
    ) -> Result<Policy, Error> {
        let (if_match, repeat) = precondition(etag.into());
        let body = Wanted {
            rights: rights.into(),
            keys: SymmetricKey::default(),
        };
        let call = self.hub.call(Method::PUT, path(name)).json(&body);
        call.if_match(if_match).repeat(repeat).read().await
    }

    /// Makes a new key in place of one of the two, or lets the two change places, and returns the policy with its keys.
    /// What the gone key signed is refused from the answer on; what the other one signs works throughout. With an etag,
    /// only if that is its version still; with `None`, whatever version it has.
    ///
    /// # Errors
    /// `PolicyNotFound` (404), `PreconditionFailed` (412) for another version, or no reply. It is never repeated once it
    /// may have been done: a second rotation would take away the key that the first one made. Compare the keys of
    /// [`Self::get`] with those before.
    ///
    /// ```no_run
    /// # async fn example(policies: fanfare_client::PolicyClient) -> Result<(), fanfare_client::Error> {
    /// use fanfare_client::KeyRenewal;
    /// // Without an interruption: everybody uses the primary key, so the other one goes first.
    /// let service = policies.rotate("service", KeyRenewal::Secondary, None).await?;
    /// // ... give `service.secondary_key` to everybody, then:
    /// policies.rotate("service", KeyRenewal::Primary, service.etag).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn rotate(
        &self,
        name: &str,
        renewal: KeyRenewal,
        etag: impl Into<Option<Etag>>,
    ) -> Result<Policy, Error> {
        let (if_match, _) = precondition(etag.into());
        let key = match renewal {
            KeyRenewal::Primary => RotatedKey::Primary,
            KeyRenewal::Secondary => RotatedKey::Secondary,
            KeyRenewal::Swap => RotatedKey::Swap,
        };
        let call = self
            .hub
            .call(Method::POST, format!("{}/rotate", path(name)));
        let call = call.json(&RotateRequest { key }).if_match(if_match);
        call.repeat(Repeat::Refused).read().await
    }

    /// Deletes one: nothing counts any more that its keys signed, and the device connections end that they let in. With
    /// an etag, only if that is its version still; with `None`, whatever version it has.
    ///
    /// # Errors
    /// `PolicyNotFound` (404), `PreconditionFailed` (412) for another version, `InvalidOperation` for the last policy
    /// with all four rights, or no reply.
    ///
    /// ```no_run
    /// # async fn example(policies: fanfare_client::PolicyClient) -> Result<(), fanfare_client::Error> {
    /// policies.delete("night-shift", None).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete(&self, name: &str, etag: impl Into<Option<Etag>>) -> Result<(), Error> {
        self.hub.delete(path(name), etag.into()).await
    }
}

const ROOT: &str = "/fanfare/v1/policies";

fn path(name: &str) -> String {
    format!("{ROOT}/{}", segment(name))
}

#[derive(Serialize)]
struct Wanted {
    rights: PolicyRights,
    #[serde(flatten)]
    keys: SymmetricKey,
}

/// A shared access policy. Lists show it without its keys. Members this library does not name are in `other`; `Debug`
/// shows neither those nor the keys.
///
/// ```
/// use fanfare_client::{Policy, PolicyRight};
///
/// let listed = r#"{"name":"service","rights":["ServiceConnect"],"etag":"MQ=="}"#;
/// let policy: Policy = serde_json::from_str(listed)?;
/// assert!(policy.rights.contains(&PolicyRight::ServiceConnect));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Policy {
    /// Its name, `SharedAccessKeyName` of connection strings.
    pub name: String,
    /// What it opens.
    #[serde(default, deserialize_with = "null_as_default")]
    pub rights: PolicyRights,
    /// Its version.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Etag::is_empty"
    )]
    pub etag: Etag,
    /// The first key, base64; not in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary_key: Option<Secret>,
    /// The second key, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secondary_key: Option<Secret>,
    /// Everything else in the document.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl fmt::Debug for Policy {
    /// Without `other`: what this library does not know may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("name", &self.name)
            .field("rights", &self.rights)
            .field("etag", &self.etag)
            .field("primary_key", &self.primary_key)
            .field("secondary_key", &self.secondary_key)
            .finish_non_exhaustive()
    }
}

open_words! {
    /// What a policy opens.
    pub enum PolicyRight {
        /// Read identities with their keys, configurations, statistics; follow jobs.
        RegistryRead = "RegistryRead",
        /// The same, and change identities and configurations; jobs, imports and exports.
        RegistryWrite = "RegistryWrite",
        /// Twins, queries, direct methods, jobs.
        ServiceConnect = "ServiceConnect",
        /// Connect as any device or module.
        DeviceConnect = "DeviceConnect",
    }
}

/// The rights of a policy, each once, words this library does not know included.
///
/// ```
/// use fanfare_client::{PolicyRight, PolicyRights};
///
/// let rights = PolicyRights::from([PolicyRight::RegistryWrite, PolicyRight::ServiceConnect]);
/// assert!(rights.contains(&PolicyRight::RegistryRead), "whoever may write may read");
/// assert_eq!(rights.to_string(), "RegistryWrite, ServiceConnect");
/// assert!(!rights.are_all());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Vec<PolicyRight>", into = "Vec<PolicyRight>")]
pub struct PolicyRights(Vec<PolicyRight>);

impl PolicyRights {
    /// All four, which open policies and certificate authorities too.
    ///
    /// ```
    /// assert!(fanfare_client::PolicyRights::all().are_all());
    /// ```
    #[must_use]
    pub fn all() -> Self {
        Self(ALL.to_vec())
    }

    /// Whether `right` is among them; whoever may write the registry may read it.
    ///
    /// ```
    /// use fanfare_client::{PolicyRight, PolicyRights};
    /// assert!(!PolicyRights::from(PolicyRight::RegistryRead).contains(&PolicyRight::RegistryWrite));
    /// ```
    #[must_use]
    pub fn contains(&self, right: &PolicyRight) -> bool {
        let implied = *right == PolicyRight::RegistryRead;
        self.0.contains(right) || implied && self.0.contains(&PolicyRight::RegistryWrite)
    }

    /// Whether they are an owner's: all four.
    ///
    /// ```
    /// assert!(!fanfare_client::PolicyRights::default().are_all());
    /// ```
    #[must_use]
    pub fn are_all(&self) -> bool {
        ALL.iter().all(|right| self.contains(right))
    }

    /// Each of them, in the order they were given.
    ///
    /// ```
    /// assert_eq!(fanfare_client::PolicyRights::all().iter().count(), 4);
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = &PolicyRight> {
        self.0.iter()
    }
}

const ALL: [PolicyRight; 4] = [
    PolicyRight::RegistryRead,
    PolicyRight::RegistryWrite,
    PolicyRight::ServiceConnect,
    PolicyRight::DeviceConnect,
];

impl FromIterator<PolicyRight> for PolicyRights {
    fn from_iter<I: IntoIterator<Item = PolicyRight>>(rights: I) -> Self {
        let mut all = Vec::new();
        for right in rights {
            if !all.contains(&right) {
                all.push(right);
            }
        }
        Self(all)
    }
}

impl From<Vec<PolicyRight>> for PolicyRights {
    fn from(rights: Vec<PolicyRight>) -> Self {
        rights.into_iter().collect()
    }
}

impl<const N: usize> From<[PolicyRight; N]> for PolicyRights {
    fn from(rights: [PolicyRight; N]) -> Self {
        rights.into_iter().collect()
    }
}

impl From<PolicyRight> for PolicyRights {
    fn from(right: PolicyRight) -> Self {
        Self(vec![right])
    }
}

impl From<PolicyRights> for Vec<PolicyRight> {
    fn from(rights: PolicyRights) -> Self {
        rights.0
    }
}

impl fmt::Display for PolicyRights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.0.iter().map(PolicyRight::as_str).collect();
        f.pad(&words.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_survives_and_shows_no_key() {
        let text = json!({
            "name": "p", "rights": ["RegistryWrite", "Teleport"], "etag": "MQ==",
            "primaryKey": "c2VjcmV0", "secondaryKey": "c2VjcmV0", "tertiaryKey": "c2VjcmV0",
        });
        let policy: Policy = serde_json::from_value(text.clone()).unwrap();
        let later = PolicyRight::Unknown("Teleport".to_owned());
        assert!(policy.rights.contains(&later));
        assert_eq!(serde_json::to_value(&policy).unwrap(), text);
        assert!(!format!("{policy:?}").contains("c2VjcmV0"), "{policy:?}");
    }

    #[test]
    fn only_keys_that_are_given_are_sent() {
        let sent = |keys| {
            let rights = PolicyRights::from([const { PolicyRight::DeviceConnect }; 2]);
            serde_json::to_value(Wanted { rights, keys }).unwrap()
        };
        let none = sent(SymmetricKey::default());
        assert_eq!(none, json!({"rights": ["DeviceConnect"]}));
        let one = sent(SymmetricKey {
            primary_key: Some(Secret::new("c2VjcmV0")),
            secondary_key: None,
        });
        assert_eq!(one["primaryKey"], "c2VjcmV0");
    }
}
