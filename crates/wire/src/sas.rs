//! Shared access signatures: reads, checks and makes `SharedAccessSignature sr=..&sig=..&se=..[&skn=..]`.
//!
//! Decides whether a token is signed by a key, still valid and wide enough. Which keys belong to a policy or
//! a device, and what a policy may do, is the server's knowledge. A refusal never tells the peer which check
//! failed; [`SasRefusal`] is for the log.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};
use zeroize::Zeroizing;

use crate::percent;

/// A token as received. `Debug` shows neither signature nor the rest of the text; the signature is zeroed when it
/// goes. Equality is for tests: [`Self::verify`] compares signatures.
#[derive(Clone, PartialEq, Eq)]
pub struct SasToken {
    /// The `sr` value as received, still percent-encoded: what the signature covers.
    pub resource_raw: String,
    /// When the token ends, in seconds since the Unix epoch, before any allowance for clock skew.
    pub expiry: i64,
    /// The policy's name (`skn`), decoded; `None` for tokens signed with an identity's own key.
    pub policy: Option<String>,
    /// The `se` value as received; the signature covers its text.
    expiry_raw: String,
    signature: Zeroizing<Vec<u8>>,
}

impl SasToken {
    /// Reads a token. Fields come in any order and any case of their names; unknown ones are skipped.
    /// compat: AUTH-1
    ///
    /// # Errors
    /// [`ParseSasError`] when it is too long, lacks a field, repeats one, or a field cannot be decoded.
    pub fn parse(text: &str) -> Result<Self, ParseSasError> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(ParseSasError::TooLong);
        }
        let fields = text
            .strip_prefix("SharedAccessSignature ")
            .ok_or(ParseSasError::Scheme)?;
        let (mut resource, mut signature, mut expiry, mut policy) = (None, None, None, None);
        for field in fields.trim().split('&') {
            let (name, value) = field.split_once('=').unwrap_or((field, ""));
            let slot = match name.to_ascii_lowercase().as_str() {
                "sr" => &mut resource,
                "sig" => &mut signature,
                "se" => &mut expiry,
                "skn" => &mut policy,
                _ => continue,
            };
            if slot.replace(value).is_some() {
                return Err(ParseSasError::Repeated);
            }
        }
        let resource = resource
            .filter(|raw| !raw.is_empty())
            .ok_or(ParseSasError::Missing("sr"))?;
        let signature = signature.ok_or(ParseSasError::Missing("sig"))?;
        let expiry_raw = expiry.ok_or(ParseSasError::Missing("se"))?;
        let policy = policy
            .filter(|raw| !raw.is_empty())
            .map(policy_name)
            .transpose()?;
        Ok(Self {
            resource_raw: resource.to_owned(),
            expiry: seconds(expiry_raw).ok_or(ParseSasError::Field("se"))?,
            policy,
            expiry_raw: expiry_raw.to_owned(),
            signature: signature_bytes(signature)?,
        })
    }

    /// Whether all of it holds: one of the keys signed it, it has not expired, it covers the resource. Returns the
    /// place of the key among those given.
    ///
    /// # Errors
    /// [`SasRefusal`] names the first check that failed, for the log only.
    pub fn verify(&self, check: &SasCheck<'_>) -> Result<usize, SasRefusal> {
        let Some(place) = self.signer(check.keys) else {
            return Err(SasRefusal::Signature);
        };
        if self.is_expired(check.now) {
            return Err(SasRefusal::Expired);
        }
        if !self.covers(check.hosts, check.path) {
            return Err(SasRefusal::Audience);
        }
        Ok(place)
    }

    /// Whether one of the base64 keys signed this token. The signature covers `sr` exactly as received,
    /// since every SDK encodes it in its own way. Takes the same time whichever key it was. An empty or
    /// undecodable key signs nothing. compat: AUTH-2, AUTH-3, AUTH-8
    pub fn is_signed_by(&self, keys: &[&str]) -> bool {
        self.signer(keys).is_some()
    }

    /// The place of the last key that signed this token; every key is tried, whichever it is.
    fn signer(&self, keys: &[&str]) -> Option<usize> {
        let (mut found, mut place) = (Choice::from(0), 0_u64);
        for (at, key) in (0_u64..).zip(keys) {
            if let Some(expected) = signature_of(key, &self.resource_raw, &self.expiry_raw) {
                let is_it = expected.as_slice().ct_eq(&self.signature);
                place.conditional_assign(&at, is_it);
                found |= is_it;
            }
        }
        bool::from(found).then_some(usize::try_from(place).unwrap_or(usize::MAX))
    }

    /// Whether the token has ended, with [`SKEW_SECONDS`] to spare. `now` is in seconds since the Unix
    /// epoch. compat: AUTH-4
    pub fn is_expired(&self, now: i64) -> bool {
        self.expires_at() < now
    }

    /// The last second at which the token counts, skew included.
    pub fn expires_at(&self) -> i64 {
        self.expiry.saturating_add(SKEW_SECONDS)
    }

    /// The host that the token's resource begins with, decoded and with a port if it has one; `None` when it has no
    /// host or is not UTF-8.
    pub fn host(&self) -> Option<String> {
        let resource = percent::decode(&self.resource_raw)?;
        let host = resource.split('/').next().unwrap_or_default();
        (!host.is_empty()).then(|| host.to_owned())
    }

    /// Whether the token's resource is a prefix of `host/path`, segment by segment: `h/devices/a` covers
    /// `h/devices/a/modules/m` but not `h/devices/ab`. The host may be any of the hub's names, see
    /// [`host_matches`]; the other segments are compared exactly. compat: AUTH-5
    pub fn covers(&self, hosts: &[&str], path: &[&str]) -> bool {
        let Some(resource) = percent::decode(&self.resource_raw) else {
            return false;
        };
        let mut segments = resource.trim_end_matches('/').split('/');
        let host = segments.next().unwrap_or_default();
        let mut path = path.iter();
        host_matches(host, hosts) && segments.all(|segment| path.next() == Some(&segment))
    }
}

/// What a token is checked against.
#[derive(Clone, Copy)]
pub struct SasCheck<'a> {
    /// Base64 keys, the primary first.
    pub keys: &'a [&'a str],
    /// The time now, in seconds since the Unix epoch.
    pub now: i64,
    /// The hub's host names and addresses.
    pub hosts: &'a [&'a str],
    /// The segments of the resource after the host: none for the service API, `["devices", id]` for a
    /// device.
    pub path: &'a [&'a str],
}

/// How long after its end a token still counts, for clocks that disagree. compat: AUTH-4
pub const SKEW_SECONDS: i64 = 300;

/// Longest token worth reading: a resource of the longest ids, doubly encoded, fits in it.
pub const TOKEN_BYTES_MAX: usize = 4_096;

/// Longest name of a policy, decoded.
pub const POLICY_NAME_BYTES_MAX: usize = 256;

/// Why a text is not a token. Carries none of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseSasError {
    /// Longer than [`TOKEN_BYTES_MAX`].
    #[error("the token is longer than {TOKEN_BYTES_MAX} bytes")]
    TooLong,
    /// It does not begin with `SharedAccessSignature` and a space.
    #[error("the token does not begin with 'SharedAccessSignature '")]
    Scheme,
    /// A field is missing or empty.
    #[error("the token has no '{0}'")]
    Missing(&'static str),
    /// A field appears twice.
    #[error("the token repeats a field")]
    Repeated,
    /// A field cannot be decoded.
    #[error("the token's '{0}' cannot be decoded")]
    Field(&'static str),
}

/// Which check a token failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SasRefusal {
    /// No key signed it.
    #[error("the signature fits none of the keys")]
    Signature,
    /// It has ended.
    #[error("the token has expired")]
    Expired,
    /// It is for something else.
    #[error("the token is for another resource")]
    Audience,
}

/// Whether `host` is one of the hub's names: letter case does not matter, a port on either side is ignored,
/// because SDKs copy it from their connection string. compat: AUTH-6
pub fn host_matches(host: &str, hosts: &[&str]) -> bool {
    let host = without_port(host);
    !host.is_empty()
        && hosts
            .iter()
            .any(|name| without_port(name).eq_ignore_ascii_case(host))
}

/// A host without `:port`; an IPv6 literal keeps its colons.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|byte| byte.is_ascii_digit())
                && (name.ends_with(']') || !name.contains(':')) =>
        {
            name
        }
        _ => host,
    }
}

/// What a new token says.
#[derive(Clone, Copy)]
pub struct SasGrant<'a> {
    /// The resource, not encoded: `host` or `host/devices/id`.
    pub resource: &'a str,
    /// The base64 key that signs.
    pub key: &'a str,
    /// The policy the key belongs to; `None` for an identity's own key.
    pub policy: Option<&'a str>,
    /// When the token ends, in seconds since the Unix epoch.
    pub expiry: i64,
}

/// Makes a token, for clients, tests and simulated devices.
///
/// # Errors
/// [`BadKey`] when the key is empty or not base64.
pub fn sign(grant: &SasGrant<'_>) -> Result<String, BadKey> {
    let resource = percent::encode(grant.resource);
    sign_as_written(&SasGrant {
        resource: &resource,
        ..*grant
    })
}

/// As [`sign`], with the resource as it is to stand in `sr`: SDKs that learn the host from a ready-made token do not
/// decode it, so the colon before a port has to stay one. compat: AUTH-2
///
/// # Errors
/// As [`sign`].
pub fn sign_as_written(grant: &SasGrant<'_>) -> Result<String, BadKey> {
    let resource = grant.resource;
    let expiry = grant.expiry.to_string();
    let signature = signature_of(grant.key, resource, &expiry).ok_or(BadKey)?;
    let signature = percent::encode(&STANDARD.encode(&*signature));
    let mut token = format!("SharedAccessSignature sr={resource}&sig={signature}&se={expiry}");
    if let Some(policy) = grant.policy {
        token.push_str("&skn=");
        token.push_str(&percent::encode(policy));
    }
    Ok(token)
}

/// A key is empty or not base64. Does not repeat it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key is not base64 text of at least one byte")]
pub struct BadKey;

/// HMAC-SHA256 over `sr`, a line feed and `se`; `None` when the key is empty or not base64. An empty key
/// must never sign: everybody knows it. compat: AUTH-8
fn signature_of(key: &str, resource_raw: &str, expiry_raw: &str) -> Option<Zeroizing<Vec<u8>>> {
    let key = STANDARD
        .decode(key)
        .map(Zeroizing::new)
        .ok()
        .filter(|bytes| !bytes.is_empty())?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("HMAC takes keys of any length");
    mac.update(resource_raw.as_bytes());
    mac.update(b"\n");
    mac.update(expiry_raw.as_bytes());
    Some(Zeroizing::new(mac.finalize().into_bytes().to_vec()))
}

fn signature_bytes(raw: &str) -> Result<Zeroizing<Vec<u8>>, ParseSasError> {
    percent::decode(raw)
        .map(Zeroizing::new)
        .and_then(|text| STANDARD.decode(&*text).ok())
        .map(Zeroizing::new)
        .ok_or(ParseSasError::Field("sig"))
}

fn policy_name(raw: &str) -> Result<String, ParseSasError> {
    percent::decode(raw)
        .filter(|name| name.len() <= POLICY_NAME_BYTES_MAX)
        .ok_or(ParseSasError::Field("skn"))
}

fn seconds(text: &str) -> Option<i64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

impl fmt::Debug for SasToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SasToken")
            .field("resource_raw", &self.resource_raw)
            .field("expiry", &self.expiry)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
