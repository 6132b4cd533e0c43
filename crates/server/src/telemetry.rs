//! What a node tells its operator: log lines on standard error, and the metrics with their meaning.
//!
//! Every metric is declared here; whoever counts names the constant. Log lines never carry credentials,
//! tokens or payloads.

use std::{io::IsTerminal as _, sync::OnceLock};

use metrics::{describe_counter, describe_gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::{Config, LogFormat};

/// Durable commits of the store since the start.
pub const STORE_COMMITS: &str = "fanfare_store_commits_total";
/// Open connections, by `front_end` (`https`, `mqtt`).
pub const CONNECTIONS: &str = "fanfare_connections";
/// Telemetry messages that devices sent and the hub acknowledged without keeping them.
pub const TELEMETRY_MESSAGES: &str = "fanfare_telemetry_messages_total";
/// Answered requests of the service API, by `status`.
pub const HTTP_REQUESTS: &str = "fanfare_http_requests_total";

/// Writes log lines as the configuration says. The first call of a process counts; later ones change
/// nothing.
///
/// # Errors
/// The filter's text, when it is none.
pub fn log(config: &Config) -> Result<(), LogFilterError> {
    let filter = EnvFilter::try_new(&config.log_filter)
        .map_err(|error| LogFilterError(config.log_filter.clone(), error.to_string()))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // Fails only when a subscriber is there already, which then stays.
    let _ = match config.log_format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    Ok(())
}

/// The text is no filter.
#[derive(Debug, thiserror::Error)]
#[error("log-filter {0:?} cannot be used: {1}")]
pub struct LogFilterError(String, String);

/// The process's metrics.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
}

impl Metrics {
    /// The one recorder of this process; made by the first call.
    pub fn recorder() -> Self {
        static RECORDER: OnceLock<Metrics> = OnceLock::new();
        let make = || {
            let recorder = PrometheusBuilder::new().build_recorder();
            let handle = recorder.handle();
            // Fails only when somebody else's recorder is there, whose metrics are then theirs to show.
            let _ = metrics::set_global_recorder(recorder);
            describe();
            Metrics { handle }
        };
        RECORDER.get_or_init(make).clone()
    }

    /// All metrics in Prometheus' text form.
    pub fn render(&self) -> String {
        self.handle.run_upkeep();
        self.handle.render()
    }
}

fn describe() {
    describe_counter!(
        STORE_COMMITS,
        "Durable commits of the store since the start."
    );
    describe_gauge!(CONNECTIONS, "Open connections, by front end.");
    describe_counter!(
        TELEMETRY_MESSAGES,
        "Telemetry messages that were acknowledged and not kept."
    );
    describe_counter!(
        HTTP_REQUESTS,
        "Answered requests of the service API, by status."
    );
    metrics::counter!(STORE_COMMITS).absolute(0);
    metrics::counter!(TELEMETRY_MESSAGES).absolute(0);
    for front_end in ["https", "mqtt"] {
        metrics::gauge!(CONNECTIONS, "front_end" => front_end).set(0.0);
    }
}

/// One open connection of a front end, counted until it is dropped.
#[derive(Debug)]
pub struct ConnectionCount {
    front_end: &'static str,
}

impl ConnectionCount {
    /// Counts one more.
    pub fn open(front_end: &'static str) -> Self {
        metrics::gauge!(CONNECTIONS, "front_end" => front_end).increment(1.0);
        Self { front_end }
    }
}

impl Drop for ConnectionCount {
    fn drop(&mut self) {
        metrics::gauge!(CONNECTIONS, "front_end" => self.front_end).decrement(1.0);
    }
}
