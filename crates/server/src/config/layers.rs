//! The upper two layers of a configuration as they merge with the file: the environment and the flags.

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
        let list = |list: &[String]| (!list.is_empty()).then(|| Value::from(list.to_vec()));
        let data_dir = flags
            .data_dir
            .as_ref()
            .map(|path| path.to_string_lossy().into_owned());
        let given = [
            ("data-dir", text(&data_dir)),
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
        ];
        let dict = given
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)));
        Ok(Profile::Default.collect(dict.collect()))
    }
}

/// Variables of that prefix that other programs of ours read.
const NOT_SETTINGS: [&str; 4] = ["CONFIG", "CONNECTION_STRING", "BIN", "HUB"];
