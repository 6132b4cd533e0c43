//! Modules over MQTT: who lets them in, what they say and hear, and when they are cut.

use std::time::Duration;

use fanfare_hub::{
    ids::{JobId, MethodName},
    jobs::{
        JobRequest,
        job::{MethodOperation, Operation, TwinOperation},
    },
    json::JsonText,
    method::MethodError,
    registry::{Precondition, Status},
    twin::document::{SectionPatch, TwinPatch},
};
use rmqtt_codec::{
    types::QoS,
    v3::{Connect, Packet, SubscribeReturnCode},
};

use crate::{
    methods::{answer_topic, lock_door, ready_after, rid},
    rig::{
        ANSWERS, DESIRED, Door, HOST, KEY, METHODS, MODULE_KEY, OTHER_KEY, Rig, START_SECONDS,
        connect, id, token_of,
    },
};

const LOCK: &str = "door-1/lock";

/// A rig whose first door has two modules.
async fn with_modules() -> (Rig, tempfile::TempDir) {
    let (rig, folder) = Rig::with(Door::Plain, ready_after(Duration::from_millis(10))).await;
    for name in [LOCK, "door-1/$bell"] {
        rig.put(name, Precondition::Absent, Status::Enabled, MODULE_KEY)
            .await;
    }
    (rig, folder)
}

#[tokio::test]
async fn a_module_signs_in_with_its_own_key_or_as_a_policy_allows() {
    let (rig, _folder) = with_modules().await;
    let lock = format!("{HOST}/devices/door-1/modules/lock");
    let bell = format!("{HOST}/devices/door-1/modules/$bell");
    let door = format!("{HOST}/devices/door-1");
    for (at, (code, name, resource, key, policy)) in [
        (0, LOCK, &*lock, MODULE_KEY, None),
        (0, LOCK, &lock, OTHER_KEY, None),
        (0, "door-1/$bell", &bell, MODULE_KEY, None),
        (0, LOCK, HOST, KEY, Some("device")),
        (0, LOCK, &door, KEY, Some("iothubowner")),
        (0, LOCK, &lock, OTHER_KEY, Some("device")),
        // The key of the device opens no module, however far it says it reaches, and the other way round.
        (5, LOCK, &lock, KEY, None),
        (5, LOCK, &door, KEY, None),
        (5, "door-1", &door, MODULE_KEY, None),
        (5, "door-1", &lock, MODULE_KEY, None),
        (5, LOCK, &bell, MODULE_KEY, None),
        (5, LOCK, &lock, KEY, Some("service")),
        (5, LOCK, &bell, KEY, Some("device")),
        (5, "door-1/nothing", &door, KEY, Some("device")),
        (5, "nobody/lock", HOST, KEY, Some("device")),
        (5, "door-2/lock", HOST, KEY, Some("device")),
    ]
    .into_iter()
    .enumerate()
    {
        let token = token_of(resource, key, policy, START_SECONDS + 3_600);
        let (_, connack) = rig
            .knock(Connect {
                password: Some(token.into()),
                ..connect(name)
            })
            .await;
        assert_eq!(u8::from(connack.return_code), code, "case {at}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_module_has_a_twin_and_methods_of_its_own() {
    let (rig, _folder) = with_modules().await;
    let mut device = rig.connect("door-1", false).await;
    let mut module = rig.connect(LOCK, false).await;
    for client in [&mut device, &mut module] {
        client.subscribe(&[METHODS, DESIRED, ANSWERS]).await;
    }
    let version = rig.desire(LOCK, "{\"speed\":3}").await;
    let (topic, body) = module.hear().await;
    assert_eq!(
        topic,
        format!("$iothub/twin/PATCH/properties/desired/?$version={version}")
    );
    assert_eq!(body, format!("{{\"speed\":3,\"$version\":{version}}}"));
    module
        .publish(
            "$iothub/twin/PATCH/properties/reported/?$rid=r",
            Some(3),
            b"{\"fw\":\"2\"}",
        )
        .await;
    assert_eq!(
        module.hear().await.0,
        "$iothub/twin/res/204/?$rid=r&$version=2"
    );
    module.hear_puback(3).await;
    module.publish("$iothub/twin/GET/?$rid=g", None, b"").await;
    let (topic, body) = module.hear().await;
    assert_eq!(topic, "$iothub/twin/res/200/?$rid=g");
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    let expected = serde_json::json!({
        "desired": { "speed": 3, "$version": version },
        "reported": { "fw": "2", "$version": 2 },
    });
    assert_eq!(body, expected);

    let lock = id(LOCK);
    let answering = async {
        let (topic, _) = module.hear().await;
        let topic = answer_topic("201", &rid(&topic));
        module.publish(&topic, None, b"\"locked\"").await;
    };
    let (answer, ()) = tokio::join!(rig.hub.methods.invoke(&lock, lock_door(0)), answering);
    assert_eq!(answer.unwrap().status, 201);
    let bell = rig
        .hub
        .methods
        .invoke(&id("door-1/$bell"), lock_door(0))
        .await;
    assert!(matches!(bell, Err(MethodError::NotOnline { .. })));
    device.hears_nothing().await;
    rig.stop().await;
}

#[tokio::test]
async fn a_session_of_a_module_is_kept() {
    let (rig, folder) = with_modules().await;
    let mut module = rig.connect(LOCK, false).await;
    module.subscribe(&[METHODS]).await;
    drop(module);
    rig.connect("door-1", false).await;
    rig.stop().await;
    let limits = ready_after(Duration::from_millis(10));
    let rig = Rig::open(folder.path(), Door::Plain, limits).await;
    let mut module = rig.connect(LOCK, true).await;
    let lock = id(LOCK);
    let answering = async {
        let (topic, _) = module.hear().await;
        let topic = answer_topic("200", &rid(&topic));
        module.publish(&topic, None, b"").await;
    };
    let (answer, ()) = tokio::join!(rig.hub.methods.invoke(&lock, lock_door(20)), answering);
    assert_eq!(answer.unwrap().status, 200);
    rig.stop().await;
}

#[tokio::test]
async fn a_module_sends_from_its_outputs_and_hears_its_inputs() {
    let (rig, _folder) = with_modules().await;
    let mut module = rig.connect(LOCK, false).await;
    let events = "devices/door-1/modules/lock/messages/events";
    for (id, topic) in (1..).zip([
        events.to_owned(),
        format!("{events}/"),
        format!("{events}/%24.on=out1/"),
        format!("{events}/%24.on=out1&a=b"),
    ]) {
        module.publish(&topic, Some(id), b"{}").await;
        module.hear_puback(id).await;
    }
    let codes = module
        .subscribe(&[
            "devices/door-1/modules/lock/inputs/#",
            "devices/door-1/modules/lock/#",
            "devices/door-1/modules/lock/messages/devicebound/#",
        ])
        .await;
    let granted = SubscribeReturnCode::Success(QoS::AtMostOnce);
    assert_eq!(codes, [granted, granted, SubscribeReturnCode::Failure]);
    rig.stop().await;
}

#[tokio::test]
async fn a_module_speaks_for_nobody_else() {
    let (rig, _folder) = with_modules().await;
    for topic in [
        "devices/door-1/messages/events/",
        "devices/door-1/modules/$bell/messages/events/",
        "devices/door-2/modules/lock/messages/events/",
    ] {
        let mut module = rig.connect(LOCK, false).await;
        module.publish(topic, Some(1), b"{}").await;
        assert_eq!(module.try_receive().await, None, "{topic}");
    }
    for (name, filter) in [
        (LOCK, "devices/door-1/messages/devicebound/#"),
        (LOCK, "devices/door-1/modules/$bell/inputs/#"),
        ("door-1", "devices/door-1/modules/lock/inputs/#"),
    ] {
        let mut client = rig.connect(name, false).await;
        let packet_id = 1.try_into().unwrap();
        let topic_filters = vec![(filter.into(), QoS::AtMostOnce)];
        client
            .send(Packet::Subscribe {
                packet_id,
                topic_filters,
            })
            .await;
        assert_eq!(client.try_receive().await, None, "{filter}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_module_is_cut_with_its_device_and_alone() {
    let (rig, _folder) = with_modules().await;
    let code = async |name: &str| u8::from(rig.knock(connect(name)).await.1.return_code);
    let mut other = rig.connect("door-2", false).await;
    let mut module = rig.connect(LOCK, false).await;
    rig.put("door-1", Precondition::Exists, Status::Disabled, KEY)
        .await;
    module.ends().await;
    assert_eq!(code(LOCK).await, 5);
    rig.put("door-1", Precondition::Exists, Status::Enabled, KEY)
        .await;

    let mut device = rig.connect("door-1", false).await;
    let mut module = rig.connect(LOCK, false).await;
    let renewed = "YSBuZXcga2V5IG9mIGl0cyBvd24=";
    rig.put(LOCK, Precondition::Exists, Status::Enabled, renewed)
        .await;
    module.ends().await;
    assert_eq!(code(LOCK).await, 5);
    rig.put(LOCK, Precondition::Exists, Status::Enabled, MODULE_KEY)
        .await;

    let mut module = rig.connect(LOCK, false).await;
    let registry = &rig.hub.registry;
    registry
        .delete(id(LOCK), Precondition::Exists)
        .await
        .unwrap();
    module.ends().await;
    assert_eq!(code(LOCK).await, 5);
    device.hears_nothing().await;

    rig.put(LOCK, Precondition::Absent, Status::Enabled, MODULE_KEY)
        .await;
    let mut module = rig.connect(LOCK, false).await;
    module.subscribe(&[METHODS]).await;
    registry
        .delete(id("door-1"), Precondition::Exists)
        .await
        .unwrap();
    module.ends().await;
    device.ends().await;
    rig.register("door-1").await;
    assert_eq!(code(LOCK).await, 5);
    rig.put(LOCK, Precondition::Absent, Status::Enabled, MODULE_KEY)
        .await;
    // Neither the session nor the subscriptions of the one before.
    let mut module = rig.connect(LOCK, false).await;
    module.hears_nothing().await;
    other.hears_nothing().await;
    rig.stop().await;
}

fn job(name: &str, condition: &str, operation: Operation) -> JobRequest {
    JobRequest {
        id: JobId::parse(name).expect("a valid id"),
        condition: condition.into(),
        operation,
        start: None,
        window_seconds: 60,
        creator: None,
    }
}

#[tokio::test]
async fn a_method_job_calls_modules_as_they_come() {
    let (rig, _folder) = with_modules().await;
    let mut device = rig.connect("door-1", false).await;
    let mut lock = rig.connect(LOCK, false).await;
    for client in [&mut device, &mut lock] {
        client.subscribe(&[METHODS]).await;
    }
    let operation = Operation::Method(MethodOperation {
        name: MethodName::parse("lockDoor").unwrap(),
        payload: JsonText::null(),
        response_seconds: 30,
        connect_seconds: None,
    });
    let condition = "FROM devices.modules WHERE deviceId = 'door-1'";
    let request = job("lock", condition, operation);
    let name = request.id.clone();
    rig.hub.jobs.schedule(request).await.unwrap();
    let answer = async |client: &mut crate::rig::Client| {
        let (topic, _) = client.hear().await;
        let topic = answer_topic("200", &rid(&topic));
        client.publish(&topic, Some(5), b"{}").await;
        client.hear_puback(5).await;
    };
    answer(&mut lock).await;
    let progress = async || {
        let job = rig.hub.jobs.get(&name).await.unwrap().unwrap();
        let progress = job.progress.unwrap();
        (progress.total, progress.succeeded)
    };
    assert_eq!(progress().await, (2, 1), "the other one is waited for");
    let mut bell = rig.connect("door-1/$bell", false).await;
    bell.subscribe(&[METHODS]).await;
    answer(&mut bell).await;
    assert_eq!(progress().await, (2, 2));
    device.hears_nothing().await;
    rig.stop().await;
}

#[tokio::test]
async fn a_twin_job_tells_modules_that_listen() {
    let (rig, _folder) = with_modules().await;
    let mut device = rig.connect("door-1", false).await;
    let mut lock = rig.connect(LOCK, false).await;
    for client in [&mut device, &mut lock] {
        client.subscribe(&[DESIRED]).await;
    }
    let desired = serde_json::from_str("{\"speed\":7}").unwrap();
    let patch = TwinPatch::new(SectionPatch::Absent, SectionPatch::Merge(desired)).unwrap();
    let operation = Operation::Twin(TwinOperation {
        patch,
        echo: JsonText::null(),
    });
    let request = job("speed", "FROM devices.modules", operation);
    rig.hub.jobs.schedule(request).await.unwrap();
    assert_eq!(lock.hear().await.1, "{\"speed\":7,\"$version\":2}");
    let bell = rig.hub.twins.get(&id("door-1/$bell")).await;
    let bell = bell.unwrap().unwrap().twin.document;
    assert_eq!(bell.desired.version, 2);
    device.hears_nothing().await;
    rig.stop().await;
}
