//! Every request the client library makes, held against the requests of the Node SDK for the same call, recorded in
//! the same run, and against the published contract where that SDK has no such call.
//!
//! Both sides go through one proxy, each in front of a fresh hub, with the same ids and documents (the [`scene`]).
//! What may differ is in [`differences`], each with its reason; anything else fails, and so does an allowance that is
//! not needed any more or a public method that nothing here calls.

mod contract;
mod differences;
mod node;
mod ours;
mod scene;
mod shape;
mod surface;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use fanfare_cli::fleet::{Behaviour, Fleet};
use serde_json::json;

use self::differences::ALLOWED;
use self::shape::Shape;
use crate::proxy::{Http, Proxy, Recorded};
use crate::rig::Rig;

/// The requests of each call, in order.
type Record = BTreeMap<String, Vec<Shape>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_is_the_node_sdks_or_the_contracts() {
    let scratch = tempfile::tempdir().unwrap();
    let (rig, fleet) = hub().await;
    let address = SocketAddr::new(scene::ADDRESS.parse().unwrap(), 443);
    let proxy = Proxy::start(address, rig.options(), Http::One).await;
    node::record(&proxy, &string(&rig).await, scratch.path()).await;
    let mut theirs = by_call(proxy.take_seen());
    leave(rig, fleet).await;

    let (rig, fleet) = hub().await;
    proxy.point_at(rig.options());
    let used = ours::make_every_call(&proxy, string(&rig).await).await;
    let ours = by_call(proxy.take_seen());
    leave(rig, fleet).await;
    proxy.stop().await;

    for (call, requests) in contract::requests() {
        let there = theirs.insert(call.to_owned(), requests);
        assert!(
            there.is_none(),
            "the Node SDK has {call}: its own requests are better witnesses"
        );
    }
    let wrong = compare(&theirs, &ours);
    assert!(
        wrong.is_empty(),
        "{} differences:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    let methods = surface::methods();
    let missing: Vec<_> = methods.difference(&used).collect();
    assert!(
        missing.is_empty(),
        "no test looks at the requests of {missing:?}"
    );
    let gone: BTreeSet<_> = used.difference(&methods).collect();
    assert!(
        gone.is_empty(),
        "not found in the library's source: {gone:?}"
    );
}

/// The owner's connection string, of the proxy: its host, the standard port.
async fn string(rig: &Rig) -> String {
    let text = rig
        .options()
        .connection_string("iothubowner")
        .await
        .unwrap();
    let own = format!("HostName={}:{};", scene::ADDRESS, rig.options().https_port);
    assert!(text.contains(&own), "it names the hub's own port");
    text.replace(&own, &format!("HostName={};", scene::ADDRESS))
}

/// A fresh hub with a device that can be called and devices to import.
async fn hub() -> (Rig, Fleet) {
    let rig = Rig::start(scene::ADDRESS).await;
    let from = rig.options().data_dir.join("blobs/from");
    std::fs::create_dir_all(&from).unwrap();
    let line = json!({"id": "imported-1", "importMode": "createOrUpdate", "status": "enabled"});
    std::fs::write(from.join("devices.txt"), format!("{line}\n")).unwrap();
    let tags = json!({});
    let fleet = rig
        .devices(scene::ONLINE, 1, tags, Behaviour::default())
        .await;
    (rig, fleet)
}

async fn leave(rig: Rig, mut fleet: Fleet) {
    fleet.stop_all().await;
    rig.stop().await;
}

/// Those without a name are no part of the record: what a call needed to know first.
fn by_call(seen: Vec<Recorded>) -> Record {
    let mut calls = Record::new();
    for request in seen.iter().filter(|request| !request.label.is_empty()) {
        let shapes = calls.entry(request.label.clone()).or_default();
        shapes.push(Shape::of(request));
    }
    calls
}

/// What differs and is not allowed to, and what is allowed and does not differ, in words.
fn compare(theirs: &Record, ours: &Record) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut needed = BTreeSet::new();
    let calls: BTreeSet<&String> = theirs.keys().chain(ours.keys()).collect();
    for call in calls {
        for (place, what) in differences(theirs.get(call), ours.get(call)) {
            match ALLOWED
                .iter()
                .position(|allowed| allowed.fits(call, &place))
            {
                Some(at) => drop(needed.insert(at)),
                None => wrong.push(format!("{call}: {place}: {what}")),
            }
        }
    }
    for (at, allowed) in ALLOWED.iter().enumerate() {
        if !needed.contains(&at) {
            let (calls, place) = (allowed.calls, allowed.place);
            wrong.push(format!(
                "allowed, but nothing differs: {calls:?} {place} ({})",
                allowed.why
            ));
        }
    }
    wrong
}

/// Place and words of each difference between the requests of one call.
fn differences(theirs: Option<&Vec<Shape>>, ours: Option<&Vec<Shape>>) -> Vec<(String, String)> {
    let (Some(theirs), Some(ours)) = (theirs, ours) else {
        let who = if theirs.is_none() {
            "their side"
        } else {
            "ours"
        };
        return vec![("call".to_owned(), format!("missing on {who}"))];
    };
    let mut found = Vec::new();
    if theirs.len() != ours.len() {
        let what = format!("{} theirs, {} ours: {ours:?}", theirs.len(), ours.len());
        found.push(("requests".to_owned(), what));
    }
    for (theirs, ours) in theirs.iter().zip(ours) {
        for difference in theirs.differences(ours) {
            let what = format!("{} theirs, {} ours", difference.theirs, difference.ours);
            found.push((difference.place, what));
        }
    }
    found
}
