//! What the front ends of this process count, where it happens.
//!
//! One process is one node, so these are the process's: whoever counts needs no handle to them.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use axum::http::Method;
use fanfare_hub::measures::{Count, Histogram, HistogramReading, Level, MICROS, Micros};

/// The counts of this process.
pub static COUNTS: Counts = Counts::new();

/// What the front ends count.
#[derive(Debug)]
pub struct Counts {
    /// Open connections of the service API.
    pub https: Level,
    /// Signed-in MQTT connections.
    pub mqtt: Level,
    /// Connections that have shown nothing yet, by [`FrontEnd`].
    pub strangers: [Level; FRONT_ENDS.len()],
    /// Peers that were turned away, by [`FrontEnd`] and [`TurnedAway`].
    pub turned_away: [[Count; TURNED_AWAY.len()]; FRONT_ENDS.len()],
    /// Attempts to sign in, by [`SignInResult`].
    pub sign_ins: [Count; SIGN_IN_RESULTS.len()],
    /// Packets of signed-in devices.
    pub packets_in: Count,
    /// Packets to devices.
    pub packets_out: Count,
    /// Bytes from devices, as they came.
    pub bytes_in: Count,
    /// Bytes to devices, before encryption.
    pub bytes_out: Count,
    /// Telemetry that was acknowledged.
    pub telemetry: Count,
    /// Lines of the audit log that were written.
    pub audit_written: Count,
    /// Lines of the audit log that could not be kept.
    pub audit_lost: Count,
}

impl Counts {
    const fn new() -> Self {
        Self {
            https: Level::new(),
            mqtt: Level::new(),
            strangers: [const { Level::new() }; FRONT_ENDS.len()],
            turned_away: [const { [const { Count::new() }; TURNED_AWAY.len()] }; FRONT_ENDS.len()],
            sign_ins: [const { Count::new() }; SIGN_IN_RESULTS.len()],
            packets_in: Count::new(),
            packets_out: Count::new(),
            bytes_in: Count::new(),
            bytes_out: Count::new(),
            telemetry: Count::new(),
            audit_written: Count::new(),
            audit_lost: Count::new(),
        }
    }

    /// An attempt to sign in ended.
    pub fn sign_in(&self, result: SignInResult) {
        self.sign_ins[result as usize].add(1);
    }

    /// A peer was turned away.
    pub fn turned_away(&self, front_end: FrontEnd, why: TurnedAway) {
        self.turned_away[front_end as usize][why as usize].add(1);
    }

    /// A packet to a device was taken.
    pub fn sent(&self, parts: &[&[u8]]) {
        self.packets_out.add(1);
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        self.bytes_out.add(bytes as u64);
    }
}

/// Where a connection arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrontEnd {
    /// The service API.
    Https,
    /// The MQTT gateway.
    Mqtt,
}

/// The names of [`FrontEnd`], in its order.
pub const FRONT_ENDS: [&str; 2] = ["https", "mqtt"];

/// Why a peer was turned away or cut although its credentials, if it showed any, were not at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnedAway {
    /// Its address had as many strangers as it may, all of them fresh.
    AddressStrangers,
    /// Its address had as many connections as it may.
    AddressConnections,
    /// It had been silent for long enough when others needed its place.
    Displaced,
    /// It did not finish its handshake, or its CONNECT or first request, in time.
    Slow,
    /// It did not take what it had asked for.
    SlowReader,
    /// It did not send the body that it had announced.
    SlowBody,
    /// Requests with large bodies held all the memory there is for them.
    Bodies,
    /// It follows as many jobs as one caller may.
    Streams,
    /// It showed credentials that were refused a moment ago.
    Repeated,
    /// It failed so often that its connection was closed after the refusal.
    Suspect,
}

/// The names of [`TurnedAway`], in its order.
pub const TURNED_AWAY: [&str; 10] = [
    "address_strangers",
    "address_connections",
    "displaced",
    "slow",
    "slow_reader",
    "slow_body",
    "bodies",
    "streams",
    "repeated",
    "suspect",
];

/// How an attempt to sign in ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignInResult {
    /// The device is in.
    Accepted,
    /// Its credentials do not do, or it is not registered or disabled.
    Unauthorized,
    /// The hub could not tell, or things changed meanwhile: it may come again.
    Unavailable,
    /// The CONNECT is not one the hub can serve.
    Rejected,
    /// There was no CONNECT.
    Silent,
}

/// The names of [`SignInResult`], in its order.
pub const SIGN_IN_RESULTS: [&str; 5] = [
    "accepted",
    "unauthorized",
    "unavailable",
    "rejected",
    "silent",
];

/// One open connection of a front end, counted until it is dropped.
#[derive(Debug)]
pub struct ConnectionCount {
    level: &'static Level,
}

impl ConnectionCount {
    /// One more of the service API.
    pub fn https() -> Self {
        Self::open(&COUNTS.https)
    }

    /// One more device.
    pub fn mqtt() -> Self {
        Self::open(&COUNTS.mqtt)
    }

    fn open(level: &'static Level) -> Self {
        level.change(1);
        Self { level }
    }
}

impl Drop for ConnectionCount {
    fn drop(&mut self) {
        self.level.change(-1);
    }
}

/// Requests of the service API, by route.
#[derive(Debug)]
pub struct RequestCounts {
    routes: Vec<RouteCounts>,
    by_route: HashMap<(Method, &'static str), usize>,
}

#[derive(Debug)]
struct RouteCounts {
    method: String,
    path: &'static str,
    statuses: [AtomicU64; STATUSES.len() + 1],
    took: Micros,
}

/// The statuses the hub answers; others share one place.
const STATUSES: [u16; 17] = [
    200, 204, 304, 400, 401, 403, 404, 405, 409, 412, 413, 415, 429, 500, 502, 503, 504,
];

/// One route's counts at one moment.
#[derive(Debug)]
pub struct RouteReading<'a> {
    /// The HTTP method; empty for requests that met no route.
    pub method: &'a str,
    /// The route's path; `none` for requests that met no route.
    pub route: &'static str,
    /// Statuses that were answered, with their numbers.
    pub statuses: Vec<(String, u64)>,
    /// How long it took.
    pub took: HistogramReading,
}

impl RequestCounts {
    /// Over all routes there are.
    pub fn new(routes: impl IntoIterator<Item = (Method, &'static str)>) -> Self {
        let mut counts = Self {
            routes: vec![RouteCounts::new("", "none")],
            by_route: HashMap::new(),
        };
        for (method, path) in routes {
            counts.routes.push(RouteCounts::new(method.as_str(), path));
            let at = counts.routes.len() - 1;
            counts.by_route.insert((method, path), at);
        }
        counts
    }

    /// Where requests of a route are counted.
    pub fn place(&self, method: &Method, path: Option<&str>) -> usize {
        // The key borrows nothing that must be made for it: methods are small, paths are compared by text.
        let find = |path| self.by_route.get(&(method.clone(), path));
        path.and_then(find).copied().unwrap_or(0)
    }

    /// A request was answered.
    pub fn answered(&self, place: usize, status: u16, took: Duration) {
        let counts = &self.routes[place];
        let at = STATUSES.iter().position(|known| *known == status);
        counts.statuses[at.unwrap_or(STATUSES.len())].fetch_add(1, Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        counts.took.record(micros);
    }

    /// Every route that was asked for.
    pub fn read(&self) -> impl Iterator<Item = RouteReading<'_>> {
        let readings = self.routes.iter().map(RouteCounts::read);
        readings.filter(|reading| reading.took.count > 0)
    }
}

impl RouteCounts {
    fn new(method: &str, path: &'static str) -> Self {
        Self {
            method: method.to_owned(),
            path,
            statuses: Default::default(),
            took: Histogram::new(&MICROS),
        }
    }

    fn read(&self) -> RouteReading<'_> {
        let names = STATUSES.iter().map(u16::to_string);
        let names = names.chain(std::iter::once("other".to_owned()));
        let numbers = self.statuses.iter().map(|count| count.load(Relaxed));
        RouteReading {
            method: &self.method,
            route: self.path,
            statuses: names.zip(numbers).filter(|(_, count)| *count > 0).collect(),
            took: self.took.read(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_route_and_status() {
        let counts = RequestCounts::new([(Method::GET, "/a"), (Method::PUT, "/a")]);
        let put = counts.place(&Method::PUT, Some("/a"));
        counts.answered(put, 200, Duration::from_millis(3));
        counts.answered(put, 418, Duration::from_millis(3));
        counts.answered(counts.place(&Method::POST, Some("/a")), 405, Duration::ZERO);
        counts.answered(counts.place(&Method::GET, None), 404, Duration::ZERO);
        let read: Vec<_> = counts
            .read()
            .map(|route| (route.method.to_owned(), route.route, route.statuses))
            .collect();
        let status = |text: &str| (text.to_owned(), 1);
        assert_eq!(
            read,
            [
                (String::new(), "none", vec![status("404"), status("405")]),
                ("PUT".to_owned(), "/a", vec![status("200"), status("other")]),
            ]
        );
    }
}
