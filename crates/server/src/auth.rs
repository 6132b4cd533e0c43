//! Who a peer is: checks tokens against policies and device keys.
//!
//! What rights allow is the hub's ([`fanfare_hub::access`]). A refusal never says which check failed;
//! the reason goes to the log at most.

use fanfare_hub::{
    access::{Policy, Rights},
    registry::{Authentication, Identity, Status},
    time::Timestamp,
};
use fanfare_wire::sas::{SasCheck, SasToken};

/// What tokens are checked against. Read once, at the start.
pub struct Access {
    hosts: Vec<String>,
    policies: Vec<Policy>,
}

/// What a token proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granted {
    /// What its holder may do.
    pub rights: Rights,
    /// Until when.
    pub until: Timestamp,
}

/// The credentials do not do. Says nothing more on purpose. compat: AUTH-13
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unauthorized")]
pub struct Unauthorized;

impl Access {
    /// Over the hub's names and its policies.
    pub fn new(hosts: Vec<String>, policies: Vec<Policy>) -> Self {
        Self { hosts, policies }
    }

    /// The names and addresses that tokens may carry.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.hosts.iter().map(String::as_str)
    }

    /// What an `Authorization` value proves for the resource at `path` (decoded segments).
    ///
    /// # Errors
    /// Whatever is wrong with it.
    pub fn verify_service(
        &self,
        authorization: &str,
        path: &[&str],
        now: Timestamp,
    ) -> Result<Granted, Unauthorized> {
        let token = SasToken::parse(authorization).map_err(|_| Unauthorized)?;
        let policy = self.policy_of(&token).ok_or(Unauthorized)?;
        self.check(
            &token,
            &[policy.primary.expose(), policy.secondary.expose()],
            path,
            now,
        )?;
        Ok(Granted {
            rights: policy.rights,
            until: expiry(&token),
        })
    }

    /// Until when a token lets an identity stay connected: signed with one of its keys, or by a policy
    /// that may connect as any device.
    ///
    /// # Errors
    /// Whatever is wrong with the token, or an identity that may not connect.
    pub fn verify_device(
        &self,
        token: &str,
        identity: &Identity,
        now: Timestamp,
    ) -> Result<Timestamp, Unauthorized> {
        let token = SasToken::parse(token).map_err(|_| Unauthorized)?;
        if identity.settings.status != Status::Enabled {
            return Err(Unauthorized);
        }
        let device = identity.id.device.as_str();
        let path = match &identity.id.module {
            None => vec!["devices", device],
            Some(module) => vec!["devices", device, "modules", module.as_str()],
        };
        if token.policy.is_some() {
            let policy = self.policy_of(&token).ok_or(Unauthorized)?;
            if !policy.rights.include(Rights::DEVICE_CONNECT) {
                return Err(Unauthorized);
            }
            self.check(
                &token,
                &[policy.primary.expose(), policy.secondary.expose()],
                &path,
                now,
            )?;
        } else {
            let Authentication::Sas { primary, secondary } = &identity.settings.authentication
            else {
                return Err(Unauthorized);
            };
            self.check(&token, &[primary.expose(), secondary.expose()], &path, now)?;
        }
        Ok(expiry(&token))
    }

    fn policy_of(&self, token: &SasToken) -> Option<&Policy> {
        let name = token.policy.as_deref()?;
        self.policies.iter().find(|policy| policy.name == name)
    }

    fn check(
        &self,
        token: &SasToken,
        keys: &[&str],
        path: &[&str],
        now: Timestamp,
    ) -> Result<(), Unauthorized> {
        let hosts: Vec<_> = self.hosts().collect();
        let check = SasCheck {
            keys,
            now: now.0.div_euclid(1_000_000),
            hosts: &hosts,
            path,
        };
        token.verify(&check).map_err(|refusal| {
            tracing::debug!(error = %refusal, "a token was refused");
            Unauthorized
        })
    }
}

fn expiry(token: &SasToken) -> Timestamp {
    Timestamp(token.expires_at().saturating_mul(1_000_000)).min(Timestamp::FAR_FUTURE)
}

#[cfg(test)]
mod tests {
    use fanfare_hub::{
        access::DEFAULT_POLICIES,
        ids::{DeviceId, Etag, Generation, IdentityId, IdentityKey, Space},
        registry::{IdentitySettings, SymmetricKey},
    };
    use fanfare_wire::sas::{SasGrant, sign};

    use super::*;

    const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZg==";
    const OTHER: &str = "ZmVkY2JhOTg3NjU0MzIxMA==";
    const NOW: Timestamp = Timestamp(1_900_000_000_000_000);

    fn access() -> Access {
        let policy = |(name, rights): (&str, Rights)| Policy {
            name: name.to_owned(),
            rights,
            primary: SymmetricKey::new(KEY),
            secondary: SymmetricKey::new(OTHER),
        };
        Access::new(
            vec!["hub.test".to_owned()],
            DEFAULT_POLICIES.map(policy).into(),
        )
    }

    fn identity(status: Status, authentication: Authentication) -> Identity {
        Identity {
            id: IdentityId::device(DeviceId::parse("door-1").unwrap()),
            key: IdentityKey {
                space: Space::Devices,
                ordinal: 1,
            },
            generation: Generation(1),
            etag: Etag(1),
            settings: IdentitySettings {
                status,
                status_reason: None,
                authentication,
                edge: false,
                device_scope: None,
                parent_scopes: Vec::new(),
                managed_by: None,
            },
            status_updated: Timestamp::NEVER,
        }
    }

    fn with_keys() -> Authentication {
        Authentication::Sas {
            primary: SymmetricKey::new(KEY),
            secondary: SymmetricKey::new(OTHER),
        }
    }

    fn token(resource: &str, key: &str, policy: Option<&str>) -> String {
        sign(&SasGrant {
            resource,
            key,
            policy,
            expiry: 1_900_000_000,
        })
        .unwrap()
    }

    #[test]
    fn a_service_token_proves_the_rights_of_its_policy() {
        let verify = |token: &str| access().verify_service(token, &["jobs", "v2", "j"], NOW);
        for key in [KEY, OTHER] {
            let rights = verify(&token("HUB.test:8443", key, Some("registryRead")));
            let granted = Granted {
                rights: Rights::REGISTRY_READ,
                until: Timestamp(1_900_000_300_000_000),
            };
            assert_eq!(rights, Ok(granted));
        }
        assert!(verify(&token("hub.test/jobs", KEY, Some("service"))).is_ok());
        for refused in [
            token("hub.test", "AAAAAAAAAAAAAAAAAAAAAA==", Some("service")),
            token("hub.test", KEY, Some("nobody")),
            token("hub.test", KEY, None),
            token("other.test", KEY, Some("service")),
            token("hub.test/devices", KEY, Some("service")),
            "Bearer x".to_owned(),
            String::new(),
        ] {
            assert_eq!(verify(&refused), Err(Unauthorized), "{refused}");
        }
        let late = NOW + std::time::Duration::from_secs(301);
        let token = token("hub.test", KEY, Some("service"));
        assert_eq!(
            access().verify_service(&token, &[], late),
            Err(Unauthorized)
        );
    }

    #[test]
    fn a_device_signs_with_its_keys_or_a_policy_that_may_connect() {
        let device = identity(Status::Enabled, with_keys());
        let verify = |token: &str| access().verify_device(token, &device, NOW);
        let until = Timestamp(1_900_000_300_000_000);
        for good in [
            token("hub.test/devices/door-1", KEY, None),
            token("hub.test/devices/door-1", OTHER, None),
            token("hub.test", KEY, Some("device")),
            token("hub.test/devices", KEY, Some("iothubowner")),
        ] {
            assert_eq!(verify(&good), Ok(until), "{good}");
        }
        for refused in [
            token("hub.test/devices/door-2", KEY, None),
            token("hub.test/devices/door-1", KEY, Some("service")),
            token("hub.test/devices/door-1", KEY, Some("nobody")),
            "x".to_owned(),
        ] {
            assert_eq!(verify(&refused), Err(Unauthorized), "{refused}");
        }
    }

    #[test]
    fn a_disabled_device_or_one_without_keys_stays_out() {
        let own = token("hub.test/devices/door-1", KEY, None);
        let disabled = identity(Status::Disabled, with_keys());
        assert_eq!(
            access().verify_device(&own, &disabled, NOW),
            Err(Unauthorized)
        );
        let keyless = identity(Status::Enabled, Authentication::None);
        assert_eq!(
            access().verify_device(&own, &keyless, NOW),
            Err(Unauthorized)
        );
        let by_policy = token("hub.test", KEY, Some("device"));
        assert!(access().verify_device(&by_policy, &keyless, NOW).is_ok());
    }
}
