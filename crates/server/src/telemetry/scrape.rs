//! Brings all numbers of a node together when somebody asks for them.

use fanfare_auth::bearer::Bearer;
use fanfare_hub::{
    Hub,
    ids::Space,
    ports::measures::{MeasuredStore, StoreMeasures, StoreReading},
    time::Timestamp,
};

use super::{
    counts::{self, COUNTS, RequestCounts, SIGN_IN_RESULTS},
    metrics::*,
    page::Page,
    process,
};
use crate::tls::CurrentCertificate;

/// Where the numbers are.
pub struct Sources<'a> {
    /// The node's services.
    pub hub: &'a Hub,
    /// Its store.
    pub store: &'a dyn MeasuredStore,
    /// Its service API.
    pub requests: &'a RequestCounts,
    /// Who verifies bearer tokens, if anybody does.
    pub bearer: Option<&'a Bearer>,
    /// What it shows in a TLS handshake.
    pub certificate: &'a CurrentCertificate,
}

/// Every metric in Prometheus' text form. What the store cannot tell at the moment is left out.
pub async fn scrape(sources: Sources<'_>) -> String {
    let reading = sources.store.reading().await.map_err(|error| {
        tracing::warn!(%error, "the store's own numbers are missing from the metrics");
    });
    let mut page = Page::default();
    write_process(&mut page, sources.hub);
    write_devices(&mut page, sources.hub);
    write_requests(&mut page, sources.requests);
    if let Some(bearer) = sources.bearer {
        write_tokens(&mut page, bearer, sources.hub);
    }
    write_certificate(&mut page, sources.certificate);
    write_jobs(&mut page, &sources, reading.as_ref().ok());
    write_store(&mut page, sources.store.measures(), reading.as_ref().ok());
    page.finish()
}

fn write_process(page: &mut Page, hub: &Hub) {
    page.number(&BUILD, &[env!("CARGO_PKG_VERSION")], 1);
    page.number(&TERM, &[], hub.methods.term().0);
    let Some(process) = process::read() else {
        return;
    };
    page.number(&PROCESS_START, &[], process.started);
    page.number(&PROCESS_CPU, &[], process.cpu);
    page.number(&PROCESS_MEMORY, &[], process.memory);
    page.number(&PROCESS_FILES, &[], process.files);
    let files_max = process.files_max.map(|max| max.to_string());
    page.number(
        &PROCESS_FILES_MAX,
        &[],
        files_max.as_deref().unwrap_or("+Inf"),
    );
}

fn write_devices(page: &mut Page, hub: &Hub) {
    let counts = &COUNTS;
    page.number(&CONNECTIONS, &["https"], counts.https.get());
    page.number(&CONNECTIONS, &["mqtt"], counts.mqtt.get());
    for (front_end, level) in counts::FRONT_ENDS.iter().zip(&counts.strangers) {
        page.number(&STRANGERS, &[front_end], level.get());
    }
    for (front_end, limits) in counts::FRONT_ENDS.iter().zip(&counts.turned_away) {
        for (limit, count) in counts::TURNED_AWAY.iter().zip(limits) {
            page.number(&TURNED_AWAY, &[front_end, limit], count.get());
        }
    }
    let spaces = [("devices", Space::Devices), ("modules", Space::Modules)];
    for (name, space) in spaces {
        page.number(&CONNECTED, &[name], hub.presence.connected_count(space));
    }
    for (result, count) in SIGN_IN_RESULTS.iter().zip(&counts.sign_ins) {
        page.number(&SIGN_INS, &[result], count.get());
    }
    page.number(&MQTT_PACKETS, &["in"], counts.packets_in.get());
    page.number(&MQTT_PACKETS, &["out"], counts.packets_out.get());
    page.number(&MQTT_BYTES, &["in"], counts.bytes_in.get());
    page.number(&MQTT_BYTES, &["out"], counts.bytes_out.get());
    page.number(&TELEMETRY, &[], counts.telemetry.get());
}

fn write_requests(page: &mut Page, requests: &RequestCounts) {
    page.number(&AUDIT_LINES, &["written"], COUNTS.audit_written.get());
    page.number(&AUDIT_LINES, &["lost"], COUNTS.audit_lost.get());
    let routes: Vec<_> = requests.read().collect();
    for route in &routes {
        for (status, count) in &route.statuses {
            page.number(&REQUESTS, &[route.method, route.route, status], count);
        }
    }
    for route in &routes {
        page.histogram(&REQUEST_TIME, &[route.method, route.route], &route.took);
    }
}

fn write_tokens(page: &mut Page, bearer: &Bearer, hub: &Hub) {
    let counts = bearer.counts();
    page.number(&TOKENS, &["verified"], counts.verified.get());
    page.number(&TOKENS, &["remembered"], counts.remembered.get());
    page.number(&TOKENS, &["refused"], counts.refused.get());
    let now = hub.clock.now();
    let standings = bearer.standings(now);
    for standing in &standings {
        let issuer = &*standing.issuer;
        page.number(&ISSUER_FETCHES, &[issuer, "good"], standing.fetched);
        page.number(&ISSUER_FETCHES, &[issuer, "failed"], standing.failed);
    }
    for standing in &standings {
        page.number(&ISSUER_KEYS, &[&standing.issuer], standing.keys);
    }
    for standing in &standings {
        if let Some(since) = standing.keys_since {
            let age = now.since(since).as_secs();
            page.number(&ISSUER_KEYS_AGE, &[&standing.issuer], age);
        }
    }
}

fn write_certificate(page: &mut Page, certificate: &CurrentCertificate) {
    let seconds = |at: Timestamp| at.0.div_euclid(1_000_000);
    let ends = seconds(certificate.ends());
    page.number(&CERTIFICATE_ENDS, &["server"], ends);
    if let Some(ends) = certificate.authority_ends() {
        page.number(&CERTIFICATE_ENDS, &["private_ca"], seconds(ends));
    }
    let (good, failed) = (certificate.reloaded.get(), certificate.failed.get());
    page.number(&CERTIFICATE_RELOADS, &["good"], good);
    page.number(&CERTIFICATE_RELOADS, &["failed"], failed);
}

fn write_jobs(page: &mut Page, sources: &Sources<'_>, reading: Option<&StoreReading>) {
    let (hub, store) = (sources.hub, sources.store.measures());
    for (state, count) in reading.into_iter().flat_map(|reading| &reading.jobs) {
        page.number(&JOBS, &[state], count);
    }
    for (outcome, count) in store.ended.read() {
        page.number(&ENDED, &[outcome], count);
    }
    page.number(&CALLS, &["job"], hub.engine.calls_in_flight.get());
    page.number(&CALLS, &["direct"], hub.methods.waiting());
    page.number(&WATCHERS, &[], hub.jobs.watchers());
    page.histogram(&TARGET_SET_TIME, &[], &hub.engine.target_set.read());
    page.histogram(&DISPATCHES, &[], &store.dispatches.read());
    page.histogram(&SETTLEMENTS, &[], &store.settlements.read());
    let Some(reading) = reading else { return };
    for (state, count) in &reading.transfers {
        page.number(&TRANSFERS, &[state], count);
    }
    page.number(&CONFIGURATIONS, &[], reading.configurations);
    page.number(&CONFIGURATION_MARKS, &[], reading.configuration_marks);
}

fn write_store(page: &mut Page, store: &StoreMeasures, reading: Option<&StoreReading>) {
    page.number(&COMMITS, &[], store.commits.get());
    page.histogram(&COMMIT_TIME, &[], &store.commit.read());
    page.number(&ROWS_SCANNED, &[], store.rows_scanned.get());
    let Some(reading) = reading else { return };
    page.number(&STORE_BYTES, &["data"], reading.file_bytes);
    page.number(&STORE_BYTES, &["log"], reading.log_bytes);
    let [interactive, background] = reading.writes_waiting;
    page.number(&STORE_WAITING, &["interactive"], interactive);
    page.number(&STORE_WAITING, &["background"], background);
    page.number(&STORE_WAITING, &["read"], reading.reads_waiting);
}
