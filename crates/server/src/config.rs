//! What a node is told: one struct, checked whole, with every fault reported at once.
//!
//! Layers, each overriding the one before: defaults, one TOML file, the environment (`FANFARE_...`), flags.
//! This is the only file of the server that reads the environment.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use fanfare_auth::bearer::TokenSettings;
use fanfare_hub::profile::Profile;
use figment::{
    Figment,
    providers::{Format, Toml},
    value::{Dict, Value},
};

use self::{
    blobs::S3Environment,
    layers::{Environment, Given},
};
use crate::{auth::LocalAuth, gate::GateLimits, tls::TlsConfig, vault::KeySource};

mod access;
mod audit;
mod blobs;
mod device_ca;
mod layers;
mod limits;
mod profile;
mod tls;
mod tokens;
mod vault;

pub use self::audit::{AuditConfig, AuditMode};
pub use self::blobs::{BlobConfig, S3Config};

/// What a node is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The folder that holds everything: store, certificates, keys.
    pub data_dir: PathBuf,
    /// Addresses to listen on, at least one.
    pub bind: Vec<IpAddr>,
    /// Names and addresses that the certificate and the tokens may carry, at least one.
    pub host_names: Vec<String>,
    /// Port of the service API; 0 takes any free one.
    pub https_port: u16,
    /// Port of MQTT over TLS; 0 takes any free one.
    pub mqtts_port: u16,
    /// Port of MQTT without TLS, off unless given; 0 takes any free one.
    pub mqtt_plain_port: Option<u16>,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Which log lines there are, in the words of `tracing`'s filter directives.
    pub log_filter: String,
    /// How long the history of ended jobs is kept.
    pub job_history: Duration,
    /// The limits it imposes beyond its own bounds.
    pub profile: Profile,
    /// Where import and export jobs may read and write.
    pub blobs: BlobConfig,
    /// Which tokens count that the hub's own keys sign.
    pub local_auth: LocalAuth,
    /// Whose bearer tokens count.
    pub tokens: TokenSettings,
    /// What peers may take up before they are known.
    pub gate: GateLimits,
    /// Where it is written down who changed what.
    pub audit: AuditConfig,
    /// Files of certificates that may vouch for devices.
    pub device_ca_files: Vec<PathBuf>,
    /// Whose certificate it shows, and what peers must speak.
    pub tls: TlsConfig,
    /// Every setting that was given, as it was given, without secrets.
    pub given: BTreeMap<String, serde_json::Value>,
    /// The master key under which keys are encrypted; none keeps them as they are.
    pub key_source: Option<KeySource>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The top layer, as the command line gave it; absent leaves the setting to the layers below.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// The TOML file; instead of `FANFARE_CONFIG`.
    pub config: Option<PathBuf>,
    /// See [`Config::data_dir`].
    pub data_dir: Option<PathBuf>,
    /// See [`Config::bind`]; empty is absent.
    pub bind: Vec<String>,
    /// See [`Config::host_names`]; empty is absent.
    pub host_name: Vec<String>,
    /// See [`Config::https_port`].
    pub https_port: Option<u16>,
    /// See [`Config::mqtts_port`].
    pub mqtts_port: Option<u16>,
    /// See [`Config::mqtt_plain_port`].
    pub mqtt_plain_port: Option<u16>,
    /// Whether unencrypted MQTT may listen on an address that others can reach.
    pub mqtt_plain_force: bool,
    /// Which store; `embedded` is the only one yet.
    pub store: Option<String>,
    /// See [`Config::log_format`].
    pub log_format: Option<String>,
    /// See [`Config::log_filter`].
    pub log_filter: Option<String>,
    /// See [`Config::job_history`], in days.
    pub job_history_days: Option<u32>,
    /// The profile: `open`, or a tier whose published limits are imposed.
    pub profile: Option<String>,
    /// See [`Profile::units`].
    pub units: Option<u32>,
    /// See [`JobRules::active_max`](fanfare_hub::profile::JobRules); a number or `unlimited`.
    pub jobs_at_once: Option<String>,
    /// See [`JobRules::device_operations_per_second`](fanfare_hub::profile::JobRules); a number or `unlimited`.
    pub job_device_operations_per_second: Option<String>,
    /// See [`JobRules::cancel_while_running`](fanfare_hub::profile::JobRules); `true` or `false`.
    pub cancel_while_running: Option<String>,
    /// See [`JobRules::condition_chars_max`](fanfare_hub::profile::JobRules); a number or `unlimited`.
    pub condition_chars_max: Option<String>,
    /// See [`JobRules::retry_window`](fanfare_hub::profile::JobRules), in seconds.
    pub job_retry_window: Option<u32>,
    /// See [`Profile::python_job_list`]; `true` or `false`.
    pub python_job_list: Option<String>,
    /// See [`BlobConfig::plain_hosts`]; empty is absent.
    pub blob_plain_hosts: Vec<String>,
    /// See [`S3Config::endpoint`].
    pub s3_endpoint: Option<String>,
    /// See [`S3Config::region`].
    pub s3_region: Option<String>,
    /// See [`S3Config::access_key_id`]; the secret is no flag, since others can see those.
    pub s3_access_key_id: Option<String>,
    /// Whether tokens of shared access policies are refused; see [`LocalAuth::policies`].
    pub disable_local_auth: bool,
    /// Whether devices' tokens are refused; see [`LocalAuth::devices`].
    pub disable_device_sas: bool,
    /// Whether modules' tokens are refused; see [`LocalAuth::modules`].
    pub disable_module_sas: bool,
    /// The issuers of bearer tokens that differ in nothing but their names; empty is absent.
    pub token_issuer: Vec<String>,
    /// See [`IssuerSettings::audiences`](fanfare_auth::bearer::IssuerSettings); empty is absent.
    pub token_audience: Vec<String>,
    /// See [`IssuerSettings::role_claims`](fanfare_auth::bearer::IssuerSettings); empty is absent.
    pub token_role_claim: Vec<String>,
    /// See [`IssuerSettings::ca_file`](fanfare_auth::bearer::IssuerSettings).
    pub token_ca_file: Option<PathBuf>,
    /// See [`TokenSettings::stale_for`], in hours.
    pub token_stale_hours: Option<u32>,
    /// See [`GateLimits::strangers_per_address`].
    pub unfinished_per_address: Option<u32>,
    /// See [`GateLimits::https_connections_per_address`].
    pub https_per_address: Option<u32>,
    /// See [`GateLimits::failures_per_minute`].
    pub failures_per_minute: Option<u32>,
    /// See [`AuditConfig::mode`].
    pub audit: Option<String>,
    /// See [`AuditConfig::file_bytes`].
    pub audit_file_bytes: Option<u32>,
    /// See [`AuditConfig::files`].
    pub audit_files: Option<u32>,
    /// See [`Config::device_ca_files`]; empty is absent.
    pub device_ca_file: Vec<PathBuf>,
    /// See [`CertificateFiles::certificate`](crate::tls::CertificateFiles).
    pub tls_certificate_file: Option<PathBuf>,
    /// See [`CertificateFiles::key`](crate::tls::CertificateFiles).
    pub tls_key_file: Option<PathBuf>,
    /// See [`TlsConfig::min_version`]; `1.2` or `1.3`.
    pub tls_min_version: Option<String>,
    /// See [`KeySource::KeyFile`].
    pub key_file: Option<PathBuf>,
    /// See [`KeySource::PassphraseFile`].
    pub passphrase_file: Option<PathBuf>,
}

/// Everything that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// One sentence for each fault.
    pub faults: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration cannot be used")?;
        self.faults
            .iter()
            .try_for_each(|fault| write!(f, "\n  - {fault}"))
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads every layer of this process.
    ///
    /// # Errors
    /// All faults of all layers together.
    pub fn load(flags: Flags) -> Result<Self, ConfigError> {
        let environment = std::env::vars_os().filter_map(|(name, value)| {
            Some((
                name.into_string().ok()?,
                value.to_string_lossy().into_owned(),
            ))
        });
        Self::from_layers(flags, environment)
    }

    /// Reads every layer, with the environment given.
    ///
    /// # Errors
    /// All faults of all layers together.
    pub fn from_layers(
        flags: Flags,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let (s3, environment): (Vec<_>, Vec<_>) = environment
            .into_iter()
            .partition(|(name, _)| S3Environment::knows(name));
        let environment: Vec<_> = environment
            .into_iter()
            .filter_map(|(name, value)| Some((name.strip_prefix(PREFIX)?.to_owned(), value)))
            .collect();
        let named = environment.iter().find(|(name, _)| name == "CONFIG");
        let file = flags
            .config
            .clone()
            .or_else(|| named.map(|(_, path)| PathBuf::from(path)));
        let mut layers = Figment::new().merge(S3Environment(s3));
        if let Some(path) = &file {
            read_file(path)?;
            layers = layers.merge(Toml::file_exact(path));
        }
        let layers = layers.merge(Environment(environment)).merge(Given(flags));
        Checked::new(&layers)?.config()
    }
}

/// The embedded store keeps the job history of the contract when nothing else is said.
const JOB_HISTORY_DAYS_DEFAULT: u32 = 30;
const JOB_HISTORY_DAYS_MAX: u32 = 3_650;
const PREFIX: &str = "FANFARE_";
const KEYS: &[&str] = &[
    "data-dir",
    "bind",
    "host-name",
    "https-port",
    "mqtts-port",
    "mqtt-plain-port",
    "mqtt-plain-force",
    "store",
    "log-format",
    "log-filter",
    "job-history-days",
    "profile",
    "units",
    "jobs-at-once",
    "job-device-operations-per-second",
    "cancel-while-running",
    "condition-chars-max",
    "job-retry-window",
    "python-job-list",
    "blob-plain-hosts",
    "s3-endpoint",
    "s3-region",
    "s3-access-key-id",
    "s3-secret-access-key",
    "s3-session-token",
    "disable-local-auth",
    "disable-device-sas",
    "disable-module-sas",
    "token-issuer",
    "token-issuers",
    "token-audience",
    "token-role-claim",
    "token-ca-file",
    "token-stale-hours",
    "unfinished-per-address",
    "https-per-address",
    "failures-per-minute",
    "audit",
    "audit-file-bytes",
    "audit-files",
    "device-ca-file",
    "tls-certificate-file",
    "tls-key-file",
    "tls-min-version",
    "key-file",
    "passphrase-file",
];

fn read_file(path: &Path) -> Result<(), ConfigError> {
    let fault = |problem: String| ConfigError {
        faults: vec![format!(
            "the configuration file {} {problem}",
            path.display()
        )],
    };
    let metadata =
        std::fs::metadata(path).map_err(|error| fault(format!("cannot be read: {error}")))?;
    if metadata.is_file() {
        Ok(())
    } else {
        Err(fault("is not a file".to_owned()))
    }
}

/// The merged layers while they are being checked.
struct Checked<'a> {
    layers: &'a Figment,
    values: Dict,
    faults: Vec<String>,
}

impl<'a> Checked<'a> {
    fn new(layers: &'a Figment) -> Result<Self, ConfigError> {
        let values: Dict = layers.extract().map_err(|error| ConfigError {
            faults: error.into_iter().map(|fault| fault.to_string()).collect(),
        })?;
        let unknown: BTreeSet<_> = values
            .keys()
            .filter(|key| !KEYS.contains(&key.as_str()))
            .cloned()
            .collect();
        let mut checked = Self {
            layers,
            values,
            faults: Vec::new(),
        };
        for key in unknown {
            let known = KEYS.join(", ");
            checked.fault(&key, &format!("is not a setting; known are {known}"));
        }
        Ok(checked)
    }

    fn config(mut self) -> Result<Config, ConfigError> {
        let data_dir = self
            .text("data-dir")
            .unwrap_or_else(|| "./fanfare-data".to_owned());
        if data_dir.is_empty() {
            self.fault("data-dir", "is empty");
        }
        let bind = self.addresses();
        let host_names = self.host_names();
        let https_port = self
            .number("https-port", 0, 65_535, "a port")
            .unwrap_or(443);
        let mqtts_port = self
            .number("mqtts-port", 0, 65_535, "a port")
            .unwrap_or(8_883);
        let mqtt_plain_port = self.number("mqtt-plain-port", 0, 65_535, "a port");
        let forced = self.switch("mqtt-plain-force").unwrap_or(false);
        self.check_ports(
            &bind,
            [Some(https_port), Some(mqtts_port), mqtt_plain_port],
            forced,
        );
        self.check_store();
        let log_format = self.log_format();
        let log_filter = self.text("log-filter").unwrap_or_else(|| "info".to_owned());
        let days = self
            .number(
                "job-history-days",
                1,
                JOB_HISTORY_DAYS_MAX,
                "a number of days",
            )
            .unwrap_or(JOB_HISTORY_DAYS_DEFAULT);
        let profile = self.profile();
        let blobs = self.blobs();
        let tokens = self.tokens();
        let local_auth = self.local_auth(!tokens.issuers.is_empty());
        let gate = self.gate();
        let audit = self.audit();
        let device_ca_files = self.device_ca_files();
        let tls = self.tls();
        let given = self.given();
        let key_source = self.key_source();
        if !self.faults.is_empty() {
            return Err(ConfigError {
                faults: self.faults,
            });
        }
        Ok(Config {
            data_dir: data_dir.into(),
            bind,
            host_names,
            https_port: port(https_port),
            mqtts_port: port(mqtts_port),
            mqtt_plain_port: mqtt_plain_port.map(port),
            log_format,
            log_filter,
            job_history: Duration::from_secs(u64::from(days) * 24 * 3_600),
            profile,
            blobs,
            local_auth,
            tokens,
            gate,
            audit,
            device_ca_files,
            tls,
            given,
            key_source,
        })
    }

    fn addresses(&mut self) -> Vec<IpAddr> {
        let texts = self
            .list("bind")
            .unwrap_or_else(|| vec!["127.0.0.1".to_owned()]);
        let mut addresses = Vec::new();
        for text in &texts {
            match text.parse() {
                Ok(address) if addresses.contains(&address) => {}
                Ok(address) => addresses.push(address),
                Err(_) => self.fault("bind", &format!("must be IP addresses, {text:?} is none")),
            }
        }
        if texts.is_empty() {
            self.fault("bind", "needs at least one address");
        }
        addresses
    }

    fn host_names(&mut self) -> Vec<String> {
        let names = self
            .list("host-name")
            .unwrap_or_else(|| vec!["localhost".to_owned()]);
        for name in names.iter().filter(|name| !is_host_name(name)) {
            let problem =
                format!("must be host names or IP addresses without a port, {name:?} is not");
            self.fault("host-name", &problem);
        }
        if names.is_empty() {
            self.fault("host-name", "needs at least one name");
        }
        names
    }

    fn check_ports(&mut self, bind: &[IpAddr], ports: [Option<u32>; 3], forced: bool) {
        let keys = ["https-port", "mqtts-port", "mqtt-plain-port"];
        for (at, key) in keys.iter().enumerate().skip(1) {
            let same = ports[..at].iter().position(|other| *other == ports[at]);
            if let (Some(port), Some(other)) = (ports[at].filter(|port| *port != 0), same) {
                self.fault(key, &format!("is {port}, which is also {}", keys[other]));
            }
        }
        let open = bind.iter().find(|address| !address.is_loopback());
        if let (Some(_), Some(address), false) = (ports[2], open, forced) {
            let problem = format!(
                "would offer unencrypted MQTT on {address}, which others can reach; \
                 mqtt-plain-force allows it"
            );
            self.fault("mqtt-plain-port", &problem);
        }
    }

    fn check_store(&mut self) {
        let Some(store) = self.text("store") else {
            return;
        };
        if store.starts_with("postgres://") || store.starts_with("postgresql://") {
            let problem = "names a PostgreSQL store, which comes with a later release; \
                           leave it out for the embedded store";
            self.fault("store", problem);
        } else if store != "embedded" {
            self.fault("store", "must be left out or be \"embedded\"");
        }
    }

    fn log_format(&mut self) -> LogFormat {
        match self.text("log-format").as_deref() {
            None | Some("text") => LogFormat::Text,
            Some("json") => LogFormat::Json,
            Some(_) => {
                self.fault("log-format", "must be \"text\" or \"json\"");
                LogFormat::Text
            }
        }
    }

    fn text(&mut self, key: &str) -> Option<String> {
        match self.values.get(key)? {
            Value::String(_, text) => Some(text.clone()),
            _ => {
                self.fault(key, "must be text");
                None
            }
        }
    }

    fn switch(&mut self, key: &str) -> Option<bool> {
        match self.values.get(key)? {
            Value::Bool(_, on) => Some(*on),
            Value::String(_, text) if text == "true" || text == "1" => Some(true),
            Value::String(_, text) if text == "false" || text == "0" => Some(false),
            _ => {
                self.fault(key, "must be true or false");
                None
            }
        }
    }

    fn number(&mut self, key: &str, min: u32, max: u32, what: &str) -> Option<u32> {
        let value = self.values.get(key)?;
        let number = match value {
            Value::String(_, text) => text.parse().ok(),
            // TOML's numbers are signed, those of flags are not.
            Value::Num(_, number) => match (number.to_u128(), number.to_i128()) {
                (Some(number), _) => u32::try_from(number).ok(),
                (None, Some(number)) => u32::try_from(number).ok(),
                (None, None) => None,
            },
            _ => None,
        };
        let number = number.filter(|number| (min..=max).contains(number));
        if number.is_none() {
            self.fault(key, &format!("must be {what}, {min} to {max}"));
        }
        number
    }

    /// A list, or one text with commas.
    fn list(&mut self, key: &str) -> Option<Vec<String>> {
        let split = |text: &str| {
            text.split(',')
                .map(|part| part.trim().to_owned())
                .filter(|part| !part.is_empty())
                .collect()
        };
        let texts = match self.values.get(key)? {
            Value::String(_, text) => Some(split(text)),
            Value::Array(_, values) => values
                .iter()
                .map(|value| value.as_str().map(str::to_owned))
                .collect(),
            _ => None,
        };
        if texts.is_none() {
            self.fault(key, "must be text or a list of texts");
        }
        texts
    }

    fn fault(&mut self, key: &str, problem: &str) {
        let origin = self.layers.find_metadata(key);
        let origin = origin.map(|from| match &from.source {
            Some(source) => format!(" ({source})"),
            None => format!(" ({})", from.name),
        });
        self.faults
            .push(format!("{key} {problem}{}", origin.unwrap_or_default()));
    }
}

fn port(number: u32) -> u16 {
    u16::try_from(number).expect("ports are checked against 65535")
}

fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    name.parse::<IpAddr>().is_ok() || (name.len() <= 253 && name.split('.').all(is_label))
}

#[cfg(test)]
mod tests;
