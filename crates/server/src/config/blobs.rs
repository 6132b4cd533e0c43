//! The settings of import and export jobs: whom they may reach, and who the node is at an S3 endpoint.
//!
//! The variables that S3 programs agree on (`AWS_ACCESS_KEY_ID` and so on) are the lowest layer, below the
//! file.

use fanfare_wire::Secret;
use figment::{
    Metadata, Profile, Provider,
    value::{Dict, Map, Value},
};

use super::{Checked, is_host_name};

/// Where import and export jobs may read and write, besides folders below the data folder.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BlobConfig {
    /// Hosts that may be spoken to without TLS, besides loopback addresses.
    pub plain_hosts: Vec<String>,
    /// The S3 endpoint; absent when there are no keys.
    pub s3: Option<S3Config>,
}

/// An S3 endpoint and who the node is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Config {
    /// `https://host[:port]`; absent is Amazon's for the region.
    pub endpoint: Option<String>,
    /// The region.
    pub region: String,
    /// Who the node is.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: Secret,
    /// The token of temporary credentials.
    pub session_token: Option<Secret>,
}

/// What an endpoint that does not care about regions is told.
const REGION_DEFAULT: &str = "us-east-1";

impl Checked<'_> {
    pub(super) fn blobs(&mut self) -> BlobConfig {
        let plain_hosts = self.list("blob-plain-hosts").unwrap_or_default();
        for host in plain_hosts.iter().filter(|host| !is_host_name(host)) {
            let problem =
                format!("must be host names or IP addresses without a port, {host:?} is not");
            self.fault("blob-plain-hosts", &problem);
        }
        let endpoint = self.text("s3-endpoint");
        if let Some(endpoint) = &endpoint {
            self.check_endpoint(endpoint, &plain_hosts);
        }
        let region = self.text("s3-region");
        let access_key_id = self.text("s3-access-key-id");
        let secret_access_key = self.text("s3-secret-access-key").map(Secret::new);
        let session_token = self.text("s3-session-token").map(Secret::new);
        let s3 = match (access_key_id, secret_access_key) {
            (Some(access_key_id), Some(secret_access_key)) => Some(S3Config {
                endpoint,
                region: region.unwrap_or_else(|| REGION_DEFAULT.to_owned()),
                access_key_id,
                secret_access_key,
                session_token,
            }),
            (None, None) => None,
            (Some(_), None) => {
                self.fault("s3-access-key-id", "needs s3-secret-access-key beside it");
                None
            }
            (None, Some(_)) => {
                self.fault("s3-secret-access-key", "needs s3-access-key-id beside it");
                None
            }
        };
        BlobConfig { plain_hosts, s3 }
    }

    fn check_endpoint(&mut self, endpoint: &str, plain_hosts: &[String]) {
        let (is_plain, authority) = match endpoint.split_once("://") {
            Some(("https", authority)) => (false, authority),
            Some(("http", authority)) => (true, authority),
            _ => return self.fault("s3-endpoint", "must be https://HOST[:PORT]"),
        };
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if port.parse::<u16>().is_ok() => host,
            _ => authority,
        };
        if !is_host_name(host) {
            return self.fault(
                "s3-endpoint",
                "must be https://HOST[:PORT] and nothing after it",
            );
        }
        let is_loopback = host == "localhost"
            || host
                .parse()
                .is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
        if is_plain && !is_loopback && !plain_hosts.iter().any(|known| known == host) {
            let problem =
                "is http, which only loopback addresses and the hosts of blob-plain-hosts may be";
            self.fault("s3-endpoint", problem);
        }
    }
}

/// The variables of S3 programs as a layer.
pub(super) struct S3Environment(pub(super) Vec<(String, String)>);

/// A variable and the setting it is; of two for one setting, the later counts.
const VARIABLES: [(&str, &str); 7] = [
    ("AWS_DEFAULT_REGION", "s3-region"),
    ("AWS_REGION", "s3-region"),
    ("AWS_ENDPOINT_URL", "s3-endpoint"),
    ("AWS_ENDPOINT_URL_S3", "s3-endpoint"),
    ("AWS_ACCESS_KEY_ID", "s3-access-key-id"),
    ("AWS_SECRET_ACCESS_KEY", "s3-secret-access-key"),
    ("AWS_SESSION_TOKEN", "s3-session-token"),
];

impl S3Environment {
    /// Whether a variable belongs to this layer.
    pub(super) fn knows(name: &str) -> bool {
        VARIABLES.iter().any(|(variable, _)| *variable == name)
    }
}

impl Provider for S3Environment {
    fn metadata(&self) -> Metadata {
        Metadata::named("the AWS_ variables of the environment")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let mut dict = Dict::new();
        for (variable, key) in VARIABLES {
            let found = self
                .0
                .iter()
                .find(|(name, value)| name == variable && !value.is_empty());
            if let Some((_, value)) = found {
                dict.insert(key.to_owned(), Value::from(value.trim_end_matches('/')));
            }
        }
        Ok(Profile::Default.collect(dict))
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Flags};

    fn load(variables: &[(&str, &str)]) -> Result<Config, Vec<String>> {
        let variables = variables
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()));
        Config::from_layers(Flags::default(), variables).map_err(|error| error.faults)
    }

    #[test]
    fn the_usual_variables_are_below_our_own() {
        let config = load(&[
            ("AWS_ACCESS_KEY_ID", "me"),
            ("AWS_SECRET_ACCESS_KEY", "s3cret"),
            ("AWS_REGION", "eu-north-1"),
            ("AWS_DEFAULT_REGION", "elsewhere"),
            ("AWS_PROFILE", "not ours"),
            ("FANFARE_S3_ACCESS_KEY_ID", "other"),
            ("FANFARE_S3_ENDPOINT", "http://127.0.0.1:9000"),
            ("FANFARE_BLOB_PLAIN_HOSTS", "azurite, 10.0.0.7"),
        ])
        .unwrap();
        assert!(!format!("{config:?}").contains("s3cret"));
        assert_eq!(config.blobs.plain_hosts, ["azurite", "10.0.0.7"]);
        let s3 = config.blobs.s3.unwrap();
        assert_eq!((&*s3.access_key_id, &*s3.region), ("other", "eu-north-1"));
        assert_eq!(s3.secret_access_key.expose(), "s3cret");
        assert_eq!(s3.endpoint.as_deref(), Some("http://127.0.0.1:9000"));
        assert_eq!(load(&[]).unwrap().blobs, super::BlobConfig::default());
    }

    #[test]
    fn half_an_answer_is_a_fault() {
        for (variables, start) in [
            (&[("AWS_ACCESS_KEY_ID", "me")][..], "s3-access-key-id needs"),
            (
                &[("FANFARE_S3_SECRET_ACCESS_KEY", "x")],
                "s3-secret-access-key needs",
            ),
            (&[("FANFARE_S3_ENDPOINT", "minio")], "s3-endpoint must be"),
            (
                &[("FANFARE_S3_ENDPOINT", "https://minio/path")],
                "s3-endpoint must be",
            ),
            (
                &[("FANFARE_S3_ENDPOINT", "http://minio:9000")],
                "s3-endpoint is http",
            ),
            (
                &[("FANFARE_BLOB_PLAIN_HOSTS", "a:1")],
                "blob-plain-hosts must be",
            ),
        ] {
            let faults = load(variables).unwrap_err();
            assert!(faults[0].starts_with(start), "{faults:?}");
        }
    }
}
