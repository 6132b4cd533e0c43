//! The upper two layers of a configuration as they merge with the file: the environment and the flags.

use std::path::PathBuf;

use figment::{
    Metadata, Profile, Provider,
    value::{Dict, Map, Value},
};

use super::{Flags, PREFIX};

/// The environment as a layer: `FANFARE_HTTPS_PORT=8443` is `https-port = "8443"`.
pub(super) struct Environment(pub(super) Vec<(String, String)>);

impl Provider for Environment {
    fn metadata(&self) -> Metadata {
        Metadata::named("the environment")
            .interpolater(|_, keys| format!("{PREFIX}{}", keys.join("_").to_uppercase()))
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let settings = self
            .0
            .iter()
            .filter(|(name, _)| !NOT_SETTINGS.contains(&name.as_str()));
        let dict = settings
            .map(|(name, value)| (name.to_lowercase().replace('_', "-"), Value::from(&**value)))
            .collect();
        Ok(Profile::Default.collect(dict))
    }
}

/// The flags as a layer.
pub(super) struct Given(pub(super) Flags);

impl Provider for Given {
    fn metadata(&self) -> Metadata {
        Metadata::named("the command line")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let flags = &self.0;
        let text = |text: &Option<String>| text.as_deref().map(Value::from);
        let port = |port: Option<u16>| port.map(Value::from);
        let on = |on: bool| on.then(|| Value::from(true));
        let list = |list: &[String]| (!list.is_empty()).then(|| Value::from(list.to_vec()));
        let path = |path: &Option<PathBuf>| {
            let path = path.as_ref().map(|path| path.to_string_lossy());
            path.as_deref().map(Value::from)
        };
        let paths = |paths: &[PathBuf]| {
            let texts = paths.iter().map(|path| path.to_string_lossy().into_owned());
            list(&texts.collect::<Vec<_>>())
        };
        let given = [
            ("data-dir", path(&flags.data_dir)),
            ("bind", list(&flags.bind)),
            ("host-name", list(&flags.host_name)),
            ("https-port", port(flags.https_port)),
            ("mqtts-port", port(flags.mqtts_port)),
            ("mqtt-plain-port", port(flags.mqtt_plain_port)),
            (
                "mqtt-plain-force",
                flags.mqtt_plain_force.then(|| Value::from(true)),
            ),
            ("store", text(&flags.store)),
            ("log-format", text(&flags.log_format)),
            ("log-filter", text(&flags.log_filter)),
            ("job-history-days", flags.job_history_days.map(Value::from)),
            ("profile", text(&flags.profile)),
            ("units", flags.units.map(Value::from)),
            ("jobs-at-once", text(&flags.jobs_at_once)),
            (
                "job-device-operations-per-second",
                text(&flags.job_device_operations_per_second),
            ),
            ("cancel-while-running", text(&flags.cancel_while_running)),
            ("condition-chars-max", text(&flags.condition_chars_max)),
            ("job-retry-window", flags.job_retry_window.map(Value::from)),
            ("python-job-list", text(&flags.python_job_list)),
            ("blob-plain-hosts", list(&flags.blob_plain_hosts)),
            ("s3-endpoint", text(&flags.s3_endpoint)),
            ("s3-region", text(&flags.s3_region)),
            ("s3-access-key-id", text(&flags.s3_access_key_id)),
            ("disable-local-auth", on(flags.disable_local_auth)),
            ("disable-device-sas", on(flags.disable_device_sas)),
            ("disable-module-sas", on(flags.disable_module_sas)),
            ("token-issuer", list(&flags.token_issuer)),
            ("token-audience", list(&flags.token_audience)),
            ("token-role-claim", list(&flags.token_role_claim)),
            ("token-ca-file", path(&flags.token_ca_file)),
            (
                "token-stale-hours",
                flags.token_stale_hours.map(Value::from),
            ),
            ("device-ca-file", paths(&flags.device_ca_file)),
            ("tls-certificate-file", path(&flags.tls_certificate_file)),
            ("tls-key-file", path(&flags.tls_key_file)),
            ("tls-min-version", text(&flags.tls_min_version)),
            ("key-file", path(&flags.key_file)),
            ("passphrase-file", path(&flags.passphrase_file)),
            (
                "unfinished-per-address",
                flags.unfinished_per_address.map(Value::from),
            ),
            (
                "https-per-address",
                flags.https_per_address.map(Value::from),
            ),
            (
                "failures-per-minute",
                flags.failures_per_minute.map(Value::from),
            ),
            ("audit", text(&flags.audit)),
            ("audit-file-bytes", flags.audit_file_bytes.map(Value::from)),
            ("audit-files", flags.audit_files.map(Value::from)),
        ];
        let dict = given
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)));
        Ok(Profile::Default.collect(dict.collect()))
    }
}

/// Variables of that prefix that other programs of ours read.
const NOT_SETTINGS: [&str; 4] = ["CONFIG", "CONNECTION_STRING", "BIN", "HUB"];
