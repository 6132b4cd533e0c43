//! Twins and direct methods.

use std::time::Duration;

use fanfare_cli::fleet::{Answer, Behaviour, Payload};
use fanfare_client::{
    BulkItem, Device, DeviceMethod, Etag, IdentityStatus, Module, Twin, TwinPatch,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::timeout;

use super::{ADDRESS, assert_refused};
use crate::rig::{HANGS_AFTER, Rig};

/// A patch as somebody's own type.
#[derive(Serialize)]
struct Tags<'a> {
    tags: Place<'a>,
}

#[derive(Serialize)]
struct Place<'a> {
    floor: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    wing: Option<&'a str>,
}

#[tokio::test]
async fn a_twin_is_read_patched_and_replaced() {
    let rig = Rig::start(ADDRESS).await;
    let hub = rig.owner().await;
    let twins = hub.twins();
    let item = BulkItem::from(Device::new("d")).tags(json!({"building": "43"}));
    assert!(hub.registry().bulk(&[item]).await.unwrap().is_all_done());

    let first = twins.get("d").await.unwrap();
    assert_eq!((first.version, &first.tags["building"]), (1, &json!("43")));
    assert_eq!(first.status, Some(IdentityStatus::Enabled));
    assert_eq!(first.properties.desired["$version"], 1);
    assert!(
        first.device_etag.is_some() && first.other.is_empty(),
        "{:?}",
        first.other
    );

    let patch = TwinPatch::desired(json!({"locked": true})).tags(json!({"building": null}));
    let second = twins.patch("d", &patch, first.etag.clone()).await.unwrap();
    assert_eq!(
        (&second.tags, &second.properties.desired["locked"]),
        (&json!({}), &json!(true))
    );
    assert_ne!(second.etag, first.etag);
    let late = twins.patch("d", &patch, first.etag.clone()).await;
    assert_refused(late, 412, "PreconditionFailed");
    let floor = Tags {
        tags: Place {
            floor: 3,
            wing: None,
        },
    };
    let third = twins.patch("d", &floor, None).await.unwrap();
    assert_eq!(third.tags, json!({"floor": 3}));

    let whole = json!({"tags": {"ring": 1}});
    let late = twins.replace("d", &whole, first.etag).await;
    assert_refused(late, 412, "PreconditionFailed");
    let replaced = twins.replace("d", &whole, Etag::any()).await.unwrap();
    assert_eq!(replaced.tags, json!({"ring": 1}));
    assert_eq!(replaced.properties.desired["locked"], true);

    let large = TwinPatch::default().tags(json!({"text": "x".repeat(5_000)}));
    assert_refused(twins.patch("d", &large, None).await, 400, "ArgumentInvalid");
    assert_refused(twins.get("x").await, 404, "DeviceNotFound");
    assert_refused(twins.patch("x", &patch, None).await, 404, "DeviceNotFound");
    assert_refused(
        twins.replace("x", &whole, None).await,
        404,
        "DeviceNotFound",
    );

    rig.stop().await;
}

#[tokio::test]
async fn a_module_is_addressed_by_both_names_and_a_row_by_itself() {
    let rig = Rig::start(ADDRESS).await;
    let hub = rig.owner().await;
    let (registry, twins) = (hub.registry(), hub.twins());
    registry.create_device(&Device::new("d")).await.unwrap();
    registry
        .create_module(&Module::new("d", "m"))
        .await
        .unwrap();
    let whole = json!({"tags": {"ring": 1}});
    let module = twins.patch(("d", "m"), &whole, None).await.unwrap();
    assert_eq!(module.module_id.as_deref(), Some("m"));
    let text = "SELECT * FROM devices.modules WHERE tags.ring = 1";
    let rows: Vec<Twin> = hub.queries().twins(text).collect().await.unwrap();
    assert_eq!(
        twins.get(rows[0].identity()).await.unwrap().etag,
        module.etag
    );
    let replaced = twins
        .replace(("d", "m"), &json!({"tags": null}), module.etag)
        .await
        .unwrap();
    assert_eq!(replaced.tags, json!({}));
    assert_refused(twins.get(("d", "x")).await, 404, "ModuleNotFound");
    rig.stop().await;
}

#[tokio::test]
async fn a_device_is_called_and_answers_in_its_own_words() {
    #[derive(Deserialize)]
    struct Jammed {
        jammed: bool,
    }

    let rig = Rig::start(ADDRESS).await;
    let methods = rig.owner().await.methods();
    let answer = Answer::Reply {
        status: 500,
        payload: Payload::Fixed(json!({"jammed": true})),
        delay: Duration::ZERO..Duration::ZERO,
    };
    let jammed = Behaviour {
        answer,
        ..Behaviour::default()
    };
    let mut fleet = rig.devices("on", 1, json!({}), jammed).await;

    let lock = DeviceMethod::new("lockDoor").payload(json!({"hard": true}));
    let answer = methods.invoke("on-0", lock.clone()).await.unwrap();
    assert_eq!(
        (answer.status, &answer.payload),
        (500, &json!({"jammed": true}))
    );
    assert!(answer.read::<Jammed>().unwrap().jammed);

    assert_refused(
        methods.invoke("x", lock.clone()).await,
        404,
        "DeviceNotFound",
    );
    assert_refused(
        methods.invoke(("on-0", "x"), lock.clone()).await,
        404,
        "ModuleNotFound",
    );
    let hasty = lock.clone().response_timeout(Duration::from_secs(1));
    assert_refused(methods.invoke("on-0", hasty).await, 400, "ArgumentInvalid");
    let nameless = DeviceMethod::new("");
    assert_refused(methods.invoke("on-0", nameless).await, 400, "ArgumentNull");

    // Nobody is there; then somebody who is waited for comes.
    fleet.stop("on-0").await;
    rig.until_away("on-0").await;
    assert_refused(
        methods.invoke("on-0", lock.clone()).await,
        404,
        "DeviceNotOnline",
    );
    let patient = lock.connect_timeout(HANGS_AFTER);
    let call = methods.invoke("on-0", patient);
    fleet.start("on-0");
    let answer = timeout(HANGS_AFTER, call).await.unwrap().unwrap();
    assert_eq!(answer.status, 500);
    drop(fleet);
    rig.stop().await;
}

#[tokio::test]
async fn a_call_without_an_answer_may_have_been_done() {
    let rig = Rig::start(ADDRESS).await;
    let silent = Behaviour {
        answer: Answer::Silence,
        ..Behaviour::default()
    };
    let fleet = rig.devices("mute", 1, json!({}), silent).await;
    let lock = DeviceMethod::new("lockDoor").response_timeout(Duration::from_secs(5));
    let error = rig
        .owner()
        .await
        .methods()
        .invoke("mute-0", lock)
        .await
        .unwrap_err();
    assert_eq!(
        (error.status(), error.code()),
        (Some(504), Some("GatewayTimeout"))
    );
    assert_eq!(error.number(), Some(504_101));
    assert!(error.may_have_been_done());
    assert_eq!(fleet.log("mute-0").unwrap().calls.len(), 1);
    drop(fleet);
    rig.stop().await;
}
