//! What a node is told about the issuers whose tokens it takes.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use fanfare_hub::access::ActionSet;

/// The resource that service SDKs ask their credential for; always accepted. compat: AUTH-22
pub const AUDIENCE: &str = "https://iothubs.azure.net";

/// Which tokens count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSettings {
    /// Whose tokens; each issuer once.
    pub issuers: Vec<IssuerSettings>,
    /// How long an issuer's last keys go on counting after they should have been fetched anew, because the issuer
    /// cannot be reached.
    pub stale_for: Duration,
    /// How long one fetch from an issuer may take, with everything in it.
    pub fetch_within: Duration,
}

impl Default for TokenSettings {
    fn default() -> Self {
        Self {
            issuers: Vec::new(),
            stale_for: STALE_FOR_DEFAULT,
            fetch_within: FETCH_WITHIN,
        }
    }
}

const STALE_FOR_DEFAULT: Duration = Duration::from_secs(24 * 3_600);
const FETCH_WITHIN: Duration = Duration::from_secs(10);

/// One issuer, and what its tokens say about their holders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerSettings {
    /// Its name, exactly as in `iss`; its discovery document is found below it.
    pub url: String,
    /// Audiences that are accepted besides [`AUDIENCE`].
    pub audiences: Vec<String>,
    /// Claims that hold roles: paths with dots, such as `realm_access.roles`.
    pub role_claims: Vec<String>,
    /// If there are any, a token that acts for a user must have been given one of them.
    pub required_scopes: Vec<String>,
    /// PEM file of the only authorities that may vouch for the issuer's servers; absent is the system's.
    pub ca_file: Option<PathBuf>,
    /// What roles grant that are not known by name.
    pub roles: BTreeMap<String, ActionSet>,
}

impl IssuerSettings {
    /// An issuer about which nothing else is said: roles are in `roles`.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            audiences: Vec::new(),
            role_claims: vec![ROLE_CLAIM_DEFAULT.to_owned()],
            required_scopes: Vec::new(),
            ca_file: None,
            roles: BTreeMap::new(),
        }
    }
}

/// Where roles are when nothing is said.
pub const ROLE_CLAIM_DEFAULT: &str = "roles";

/// Whether `url` may be an issuer.
///
/// # Errors
/// What is wrong with it, as the rest of a sentence that begins with its name.
pub fn check_issuer_url(url: &str) -> Result<(), &'static str> {
    let parsed = reqwest::Url::parse(url).map_err(|_| "must be https://HOST[:PORT][/PATH]")?;
    if url.contains(['{', '}', '*']) {
        return Err("has a placeholder; name one tenant");
    }
    if !is_safe(&parsed, true) {
        return Err("must be https; http may be on loopback addresses alone");
    }
    if parsed.query().is_some() || parsed.fragment().is_some() {
        return Err("must end with its path");
    }
    if parsed.host_str().is_none() || !parsed.username().is_empty() || parsed.password().is_some() {
        return Err("must be https://HOST[:PORT][/PATH] without a user");
    }
    Ok(())
}

/// Whether nobody on the way can change what comes from there.
pub(super) fn is_safe(url: &reqwest::Url, may_be_plain: bool) -> bool {
    match url.scheme() {
        "https" => true,
        "http" => may_be_plain && is_loopback(url),
        _ => false,
    }
}

fn is_loopback(url: &reqwest::Url) -> bool {
    // Brackets are how an IPv6 address stands in a URL.
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let address = address.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issuers_are_urls_that_nobody_can_forge() {
        for good in [
            "https://login.microsoftonline.com/7d1c/v2.0",
            "https://sts.windows.net/7d1c/",
            "https://keys.test:8443/realms/fleet",
            "https://keys.test",
            "http://127.0.0.92:9000",
            "http://[::1]:9000/x",
            "http://localhost:9000",
        ] {
            assert_eq!(check_issuer_url(good), Ok(()), "{good}");
        }
        for wrong in [
            "",
            "keys.test",
            "http://keys.test",
            "http://localhost.keys.test",
            "ftp://127.0.0.1/x",
            "https://login.microsoftonline.com/{tenantid}/v2.0",
            "https://*.keys.test",
            "https://keys.test/?x",
            "https://keys.test/#x",
            "https://me@keys.test",
        ] {
            assert!(check_issuer_url(wrong).is_err(), "{wrong}");
        }
    }
}
