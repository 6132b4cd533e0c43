//! Every metric there is: name, kind, unit, labels, meaning. Nothing else can be shown.
//!
//! `docs/reference/metrics.md` is made from this table (`cargo xtask reference`), which is why its lines keep to
//! one form. Names of the process's own metrics are those that every Prometheus client uses.

/// A metric.
#[derive(Debug)]
pub struct Metric {
    name: &'static str,
    kind: Kind,
    unit: &'static str,
    labels: &'static [&'static str],
    meaning: &'static str,
}

/// How a metric behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It grows until the node stops.
    Counter,
    /// It goes up and down.
    Gauge,
    /// It counts values by range.
    Histogram,
}

impl Metric {
    /// What it is called.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// How it behaves.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What its values count.
    pub fn unit(&self) -> &'static str {
        self.unit
    }

    /// What tells its series apart.
    pub fn labels(&self) -> &'static [&'static str] {
        self.labels
    }

    /// What it means, in a sentence.
    pub fn meaning(&self) -> &'static str {
        self.meaning
    }
}

macro_rules! metrics {
    ($(
        #[doc = $meaning:literal]
        $constant:ident: $kind:ident $name:literal in $unit:literal by [$($label:literal),*];
    )+) => {
        $(
            #[doc = $meaning]
            pub(super) const $constant: Metric = Metric {
                name: $name,
                kind: Kind::$kind,
                unit: $unit,
                labels: &[$($label),*],
                meaning: $meaning,
            };
        )+

        /// The table.
        pub const METRICS: &[&Metric] = &[$(&$constant),+];
    };
}

metrics! {
    /// Always 1; the label tells which program runs.
    BUILD: Gauge "fanfare_build_info" in "1" by ["version"];
    /// The number of this start of the hub; it grows by one with each.
    TERM: Gauge "fanfare_term" in "starts" by [];
    /// When the process started, in seconds since 1970.
    PROCESS_START: Gauge "process_start_time_seconds" in "seconds" by [];
    /// Processor time the process has used, in user and system mode together.
    PROCESS_CPU: Counter "process_cpu_seconds_total" in "seconds" by [];
    /// Memory of the process that is in RAM.
    PROCESS_MEMORY: Gauge "process_resident_memory_bytes" in "bytes" by [];
    /// Open file descriptors; each connection is one.
    PROCESS_FILES: Gauge "process_open_fds" in "files" by [];
    /// How many file descriptors may be open.
    PROCESS_FILES_MAX: Gauge "process_max_fds" in "files" by [];

    /// Open connections: `https` with those in their handshake, `mqtt` from sign-in on.
    CONNECTIONS: Gauge "fanfare_connections" in "connections" by ["front_end"];
    /// Open connections that have not signed in, or not sent a request, yet.
    STRANGERS: Gauge "fanfare_unfinished_connections" in "connections" by ["front_end"];
    /// Peers turned away or cut by a limit, by which; wrong credentials are counted elsewhere.
    TURNED_AWAY: Counter "fanfare_peers_turned_away_total" in "peers" by ["front_end", "limit"];
    /// Identities that are connected: `devices` or `modules`.
    CONNECTED: Gauge "fanfare_identities_connected" in "identities" by ["space"];
    /// Attempts to sign in over MQTT by what the device heard; `silent` ones ended before their CONNECT was whole.
    SIGN_INS: Counter "fanfare_mqtt_sign_ins_total" in "attempts" by ["result"];
    /// MQTT packets, `in` from devices after sign-in, `out` to devices.
    MQTT_PACKETS: Counter "fanfare_mqtt_packets_total" in "packets" by ["direction"];
    /// Bytes of MQTT: `in` as they came from the network, `out` before encryption.
    MQTT_BYTES: Counter "fanfare_mqtt_bytes_total" in "bytes" by ["direction"];
    /// Telemetry messages that were acknowledged and not kept.
    TELEMETRY: Counter "fanfare_telemetry_messages_total" in "messages" by [];

    /// Answered requests by route and status; requests for unknown paths have the route `none`.
    REQUESTS: Counter "fanfare_http_requests_total" in "requests" by ["method", "route", "status"];
    /// Time from a request's head to the head of its answer; method calls wait for their device.
    REQUEST_TIME: Histogram "fanfare_http_request_seconds" in "seconds" by ["method", "route"];

    /// Bearer tokens by what became of them: `verified` by their signature, `remembered` from before, `refused`.
    TOKENS: Counter "fanfare_bearer_tokens_total" in "tokens" by ["result"];
    /// Fetches of the keys of an issuer of bearer tokens: `good` or `failed`.
    ISSUER_FETCHES: Counter "fanfare_token_issuer_fetches_total" in "fetches" by ["issuer", "result"];
    /// Keys of an issuer of bearer tokens that count now; with none, none of its tokens does.
    ISSUER_KEYS: Gauge "fanfare_token_issuer_keys" in "keys" by ["issuer"];
    /// Age of the keys of an issuer of bearer tokens, while there are any.
    ISSUER_KEYS_AGE: Gauge "fanfare_token_issuer_keys_age_seconds" in "seconds" by ["issuer"];

    /// When clients begin to refuse a certificate, in seconds since 1970: the hub's (`server`), or its private CA's.
    CERTIFICATE_ENDS: Gauge "fanfare_tls_certificate_expiry_timestamp_seconds" in "seconds" by ["certificate"];
    /// Certificates taken into use while running (`good`), and attempts that left the old one in use (`failed`).
    CERTIFICATE_RELOADS: Counter "fanfare_tls_certificate_reloads_total" in "attempts" by ["result"];

    /// Lines of the audit log: `written` to its file, `lost` because they could not be.
    AUDIT_LINES: Counter "fanfare_audit_lines_total" in "lines" by ["result"];

    /// Jobs there are, ended ones included until their history expires.
    JOBS: Gauge "fanfare_jobs" in "jobs" by ["state"];
    /// Device jobs that ended since the start, by outcome.
    ENDED: Counter "fanfare_device_jobs_ended_total" in "device jobs" by ["outcome"];
    /// Method calls that wait for an answer, of jobs (`job`) and of callers (`direct`).
    CALLS: Gauge "fanfare_calls_in_flight" in "calls" by ["origin"];
    /// Streams of a job's progress that are open.
    WATCHERS: Gauge "fanfare_job_watchers" in "streams" by [];
    /// Time to take and seal a job's target set.
    TARGET_SET_TIME: Histogram "fanfare_target_set_seconds" in "seconds" by [];
    /// Calls of one job that one commit recorded before they left.
    DISPATCHES: Histogram "fanfare_dispatch_batch_calls" in "calls" by [];
    /// Outcomes of one method job that one commit recorded.
    SETTLEMENTS: Histogram "fanfare_settle_batch_outcomes" in "outcomes" by [];
    /// Import and export jobs there are, ended ones included until their history expires.
    TRANSFERS: Gauge "fanfare_transfer_jobs" in "jobs" by ["state"];
    /// Configurations there are.
    CONFIGURATIONS: Gauge "fanfare_configurations" in "configurations" by [];
    /// Identities that changed and were not yet compared with what configurations want.
    CONFIGURATION_MARKS: Gauge "fanfare_configuration_marks" in "identities" by [];

    /// Durable commits of the store.
    COMMITS: Counter "fanfare_store_commits_total" in "commits" by [];
    /// Time of one transaction with everything in it, flush included.
    COMMIT_TIME: Histogram "fanfare_store_commit_seconds" in "seconds" by [];
    /// Size of the store's `data` file and of the `log` beside it.
    STORE_BYTES: Gauge "fanfare_store_bytes" in "bytes" by ["file"];
    /// Work that waits for the store: writes somebody waits for, writes in the background, reads.
    STORE_WAITING: Gauge "fanfare_store_waiting" in "requests" by ["queue"];
    /// Rows of identities that queries, target sets and sweeps looked at.
    ROWS_SCANNED: Counter "fanfare_store_rows_scanned_total" in "rows" by [];
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_follow_the_conventions_and_are_there_once() {
        let mut seen = BTreeSet::new();
        for metric in METRICS {
            let name = metric.name();
            assert!(seen.insert(name), "{name} is there twice");
            let is_ours = name.starts_with("fanfare_") || name.starts_with("process_");
            assert!(is_ours, "{name}");
            let counts = name.ends_with("_total");
            assert_eq!(counts, metric.kind() == Kind::Counter, "{name}");
            if metric.unit() == "seconds" {
                assert!(name.contains("_seconds"), "{name}");
            }
            assert!(metric.meaning().trim().ends_with('.'), "{name}");
        }
    }
}
