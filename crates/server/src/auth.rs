//! Who a peer is: checks tokens against policies, device keys and issuers, and what a device shows for itself.
//!
//! The one place that says so, for both front ends. What somebody may do is the hub's
//! ([`fanfare_hub::access`]). A refusal never says which check failed; the log does.

use std::{fmt, sync::Arc};

use fanfare_auth::{
    bearer::{Bearer, BearerRefusal},
    certificate::{CertificateRefusal, DeviceCertificates, thumbprints},
};
use fanfare_hub::{
    access::{Actor, Grants, Policies, Policy, Principal, Rights},
    authorities::Authorities,
    presence::{Admission, KeyMark},
    registry::{Authentication, Identity, Status, SymmetricKey},
    time::Timestamp,
};
use fanfare_wire::sas::{SasCheck, SasRefusal, SasToken};
use rustls::pki_types::CertificateDer;

/// What proofs are checked against.
pub struct Access {
    hosts: Vec<String>,
    policies: Arc<Policies>,
    local: LocalAuth,
    bearer: Option<Bearer>,
    authorities: Option<Arc<Authorities>>,
    certificates: DeviceCertificates,
}

/// Which tokens signed with the hub's own keys count. All of them, unless said otherwise. compat: AUTH-18
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalAuth {
    /// Tokens of shared access policies, at the service API and from devices.
    pub policies: bool,
    /// Tokens of devices.
    pub devices: bool,
    /// Tokens of modules.
    pub modules: bool,
}

impl Default for LocalAuth {
    fn default() -> Self {
        Self {
            policies: true,
            devices: true,
            modules: true,
        }
    }
}

/// What a device shows for itself.
#[derive(Clone, Copy)]
pub enum DeviceProof<'a> {
    /// A token, signed with a key of its own or of a policy.
    Token(&'a str),
    /// The certificates of its TLS connection, its own first.
    Certificate(&'a [CertificateDer<'static>]),
    /// Nothing.
    Nothing,
}

/// A device that may connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// Until when.
    pub until: Timestamp,
    /// What let it in.
    pub admission: Admission,
}

/// The credentials do not do. Says nothing more on purpose. compat: AUTH-13
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unauthorized")]
pub struct Unauthorized;

impl Access {
    /// Over the hub's names and its policies, which are looked up anew for each token.
    pub fn new(hosts: Vec<String>, policies: Arc<Policies>) -> Self {
        Self {
            hosts,
            policies,
            local: LocalAuth::default(),
            bearer: None,
            authorities: None,
            certificates: DeviceCertificates::default(),
        }
    }

    /// With authorities that may vouch for devices; without them certificates count by thumbprint alone.
    #[must_use]
    pub fn with_authorities(mut self, authorities: Arc<Authorities>) -> Self {
        self.authorities = Some(authorities);
        self
    }

    /// With issuers whose tokens count on the service side.
    #[must_use]
    pub fn with_issuers(mut self, bearer: Bearer) -> Self {
        self.bearer = Some(bearer);
        self
    }

    /// Who verifies tokens of issuers, if there are any.
    pub fn bearer(&self) -> Option<&Bearer> {
        self.bearer.as_ref()
    }

    /// With only these kinds of local tokens.
    #[must_use]
    pub fn with_local(mut self, local: LocalAuth) -> Self {
        self.local = local;
        self
    }

    /// The names and addresses that tokens may carry.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.hosts.iter().map(String::as_str)
    }

    /// What an `Authorization` value proves for the resource at `path` (decoded segments).
    ///
    /// # Errors
    /// Whatever is wrong with it.
    pub async fn verify_service(
        &self,
        authorization: &str,
        path: &[&str],
        now: Timestamp,
    ) -> Result<Principal, Unauthorized> {
        let proven = match (bearer_token(authorization), &self.bearer) {
            (Some(token), Some(bearer)) => bearer.verify(token, now).await.map_err(Why::Bearer),
            (Some(_), None) => Err(Why::NoIssuer),
            (None, _) => self.policy_principal(authorization, path, now),
        };
        proven.map_err(|why| {
            tracing::debug!(error = %why, "a caller was refused");
            Unauthorized
        })
    }

    fn policy_principal(
        &self,
        authorization: &str,
        path: &[&str],
        now: Timestamp,
    ) -> Result<Principal, Why> {
        let token = SasToken::parse(authorization).map_err(|_| Why::NoToken)?;
        let policies = self.policies.snapshot();
        let policy = self.policy_of(&policies, &token)?;
        self.check(&token, [&policy.primary, &policy.secondary], path, now)?;
        Ok(Principal {
            actor: Actor::Policy(policy.name.clone()),
            grants: Grants::Rights(policy.rights),
            until: expiry(&token),
        })
    }

    /// Until when a proof lets an identity stay connected, and what it was. Which check failed goes to the log.
    ///
    /// # Errors
    /// Whatever is wrong with the proof, or an identity that may not connect.
    pub fn verify_device(
        &self,
        proof: &DeviceProof<'_>,
        identity: &Identity,
        now: Timestamp,
    ) -> Result<Admitted, Unauthorized> {
        let admitted = match proof {
            _ if identity.settings.status != Status::Enabled => Err(Why::Disabled),
            DeviceProof::Token(token) => self.device_token(token, identity, now),
            DeviceProof::Certificate(chain) => self.device_certificate(chain, identity, now),
            DeviceProof::Nothing => Err(Why::Nothing),
        };
        admitted.map_err(|why| {
            tracing::debug!(device.id = %identity.id, error = %why, "a device was refused");
            Unauthorized
        })
    }

    fn device_token(
        &self,
        token: &str,
        identity: &Identity,
        now: Timestamp,
    ) -> Result<Admitted, Why> {
        let is_accepted = match identity.id.module {
            None => self.local.devices,
            Some(_) => self.local.modules,
        };
        if !is_accepted {
            return Err(Why::SwitchedOff);
        }
        let token = SasToken::parse(token).map_err(|_| Why::NoToken)?;
        let device = identity.id.device.as_str();
        let module = identity.id.module.as_ref().map(|module| module.as_str());
        let path = ["devices", device, "modules", module.unwrap_or_default()];
        let path = &path[..if module.is_some() { 4 } else { 2 }];
        let admission = if token.policy.is_some() {
            let policies = self.policies.snapshot();
            let policy = self.policy_of(&policies, &token)?;
            if !policy.rights.include(Rights::DEVICE_CONNECT) {
                return Err(Why::NoRight);
            }
            let keys = [&policy.primary, &policy.secondary];
            Admission::Policy {
                key: self.check(&token, keys, path, now)?,
                name: policy.name.clone(),
            }
        } else {
            let Authentication::Sas { primary, secondary } = &identity.settings.authentication
            else {
                return Err(Why::Kind("a token of its own key"));
            };
            Admission::OwnKey {
                key: self.check(&token, [primary, secondary], path, now)?,
            }
        };
        Ok(Admitted {
            until: expiry(&token),
            admission,
        })
    }

    fn device_certificate(
        &self,
        chain: &[CertificateDer<'static>],
        identity: &Identity,
        now: Timestamp,
    ) -> Result<Admitted, Why> {
        let authorities = self.authorities.as_ref();
        let trusted = authorities.map_or_else(|| Arc::from([]), |all| all.trusted());
        let admitted = self.certificates.admit(chain, identity, &trusted, now);
        let (until, admission) = admitted.map_err(|refusal| {
            let seen = chain.first().map(|first| thumbprints(first));
            Why::Certificate {
                sha256: seen.map_or_else(String::new, |seen| seen.sha256_hex()),
                refusal,
            }
        })?;
        Ok(Admitted { until, admission })
    }

    fn policy_of<'a>(&self, policies: &'a [Policy], token: &SasToken) -> Result<&'a Policy, Why> {
        let name = token.policy.as_deref().ok_or(Why::NoPolicy)?;
        if !self.local.policies {
            return Err(Why::SwitchedOff);
        }
        let found = policies.iter().find(|policy| &*policy.name == name);
        found.ok_or(Why::UnknownPolicy)
    }

    /// Which of the keys it was.
    fn check(
        &self,
        token: &SasToken,
        keys: [&SymmetricKey; 2],
        path: &[&str],
        now: Timestamp,
    ) -> Result<KeyMark, Why> {
        let hosts: Vec<_> = self.hosts().collect();
        let keys = keys.map(SymmetricKey::expose);
        let check = SasCheck {
            keys: &keys,
            now: now.0.div_euclid(1_000_000),
            hosts: &hosts,
            path,
        };
        let place = token.verify(&check).map_err(Why::Token)?;
        Ok(KeyMark::of(keys[place]))
    }
}

/// Why somebody was refused, for the log alone.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Why {
    NoToken,
    NoIssuer,
    Bearer(BearerRefusal),
    NoPolicy,
    UnknownPolicy,
    SwitchedOff,
    NoRight,
    Token(SasRefusal),
    Disabled,
    Kind(&'static str),
    Certificate {
        refusal: CertificateRefusal,
        sha256: String,
    },
    Nothing,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoToken => "it is no shared access signature",
            Self::NoIssuer => "no issuer of bearer tokens is configured",
            Self::Bearer(refusal) => return refusal.fmt(f),
            Self::NoPolicy => "the token names no policy",
            Self::UnknownPolicy => "there is no policy of the token's name",
            Self::SwitchedOff => "tokens of this kind are switched off",
            Self::NoRight => "the token's policy has no DeviceConnect",
            Self::Token(refusal) => return refusal.fmt(f),
            Self::Disabled => "the identity is disabled",
            Self::Kind(shown) => {
                return write!(
                    f,
                    "it showed {shown}, which is not what its identity signs in with"
                );
            }
            Self::Certificate { refusal, sha256 } => {
                return write!(f, "{refusal}; SHA-256 of the certificate: {sha256}");
            }
            Self::Nothing => "it showed neither a token nor a certificate",
        })
    }
}

/// What follows the scheme `Bearer`, which may be written in any case. compat: AUTH-27
fn bearer_token(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    let is_bearer = scheme.eq_ignore_ascii_case("bearer");
    is_bearer.then(|| token.trim_start_matches(' '))
}

fn expiry(token: &SasToken) -> Timestamp {
    Timestamp(token.expires_at().saturating_mul(1_000_000)).min(Timestamp::FAR_FUTURE)
}
