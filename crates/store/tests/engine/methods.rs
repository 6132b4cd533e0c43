//! Direct methods, beside jobs.

use std::{sync::Arc, time::Duration};

use fanfare_hub::{
    Hub,
    ids::MethodName,
    json::JsonText,
    method::{AnswerPayload, CallAnswer, MethodAnswer, MethodCall, MethodError},
    registry::Precondition,
};
use tokio::task::JoinHandle;

use crate::rig::{Disk, Rig, T0, device};

crate::on_both! {
    an_answer_comes_back
    another_devices_answer_is_dropped
    a_call_waits_for_its_device
    a_call_without_patience_goes_to_whoever_is_connected
    a_silent_device_times_out
    a_call_to_nobody_says_who_is_missing
    a_closing_hub_lets_calls_end
    a_caller_that_went_away_leaves_nothing
    a_deleted_device_is_not_waited_for
    a_garbled_answer_is_told_apart
}

type Call = JoinHandle<Result<MethodAnswer, MethodError>>;

fn call(connect_seconds: u32) -> MethodCall {
    MethodCall {
        name: MethodName::parse("open").expect("it is valid"),
        payload: JsonText::null(),
        response_seconds: 10,
        connect_seconds,
    }
}

fn invoke(rig: &Rig, name: &str, connect_seconds: u32) -> Call {
    let (hub, id): (Arc<Hub>, _) = (rig.hub.clone(), device(name));
    tokio::spawn(async move { hub.methods.invoke(&id, call(connect_seconds)).await })
}

/// The end of a call, while devices answer and the clock ticks.
async fn ended(rig: &Rig, call: Call) -> Result<MethodAnswer, MethodError> {
    rig.until("the end of a call", async || {
        call.is_finished().then_some(())
    })
    .await;
    call.await.expect("it does not panic")
}

/// The answer to a call, and its payload's text.
async fn answer(rig: &Rig, call: Call) -> (i32, String) {
    let answer = ended(rig, call).await.expect("the device answers");
    let payload = answer.payload.expect("it sent one");
    (answer.status, payload.as_str().to_owned())
}

async fn an_answer_comes_back(disk: &Disk) {
    let rig = disk.start(T0);
    rig.create(&["a"]).await;
    let a = rig.connect("a", false);
    let (first, second) = (invoke(&rig, "a", 0), invoke(&rig, "a", 5));
    rig.until("two calls", async || (a.calls().len() == 2).then_some(()))
        .await;
    for (place, call) in a.calls().into_iter().enumerate() {
        rig.answer(&a, call, &format!("{place}")).await;
    }
    let mut texts = Vec::new();
    for call in [first, second] {
        let (status, text) = answer(&rig, call).await;
        assert_eq!(status, 200);
        texts.push(text);
    }
    texts.sort();
    assert_eq!(texts, ["0", "1"]);
    assert_eq!(
        a.acknowledged(),
        a.calls(),
        "at once: nothing is to be recorded"
    );
}

async fn another_devices_answer_is_dropped(disk: &Disk) {
    let rig = disk.start(T0);
    rig.create(&["a", "b"]).await;
    let (a, b) = (rig.connect("a", false), rig.connect("b", false));
    let pending = invoke(&rig, "a", 0);
    let sent = rig.called(&[&a]).await[0];
    rig.answer(&b, sent, "\"stranger\"").await;
    rig.until("the stranger is heard", async || {
        (b.acknowledged() == [sent]).then_some(())
    })
    .await;
    assert!(!pending.is_finished());
    rig.answer(&a, sent, "\"own\"").await;
    assert_eq!(answer(&rig, pending).await.1, "\"own\"");
}

async fn a_call_waits_for_its_device(disk: &Disk) {
    let rig = disk.start(T0);
    rig.create(&["a", "b"]).await;
    let (comes, stays_away) = (invoke(&rig, "a", 60), invoke(&rig, "b", 60));
    rig.settle().await;
    rig.clock.advance(Duration::from_secs(30));
    // Connected is not ready.
    let a = rig.attach("a", true, None);
    rig.settle().await;
    assert_eq!(a.calls(), []);
    rig.make_ready(&a);
    rig.until("the call", async || (a.calls().len() == 1).then_some(()))
        .await;
    assert_eq!(answer(&rig, comes).await.0, 200);
    rig.clock.advance(Duration::from_secs(29));
    rig.settle().await;
    assert!(!stays_away.is_finished());
    rig.clock.advance(Duration::from_secs(1));
    let result = ended(&rig, stays_away).await;
    assert!(
        matches!(result, Err(MethodError::NotOnline { .. })),
        "{result:?}"
    );
}

async fn a_call_without_patience_goes_to_whoever_is_connected(disk: &Disk) {
    let rig = disk.start(T0);
    rig.create(&["a", "b"]).await;
    let a = rig.attach("a", true, None);
    let there = invoke(&rig, "a", 0);
    rig.until("the call", async || (a.calls().len() == 1).then_some(()))
        .await;
    assert_eq!(answer(&rig, there).await.0, 200);
    let away = ended(&rig, invoke(&rig, "b", 0)).await;
    assert!(
        matches!(away, Err(MethodError::NotOnline { .. })),
        "{away:?}"
    );
    a.close();
    let closed = ended(&rig, invoke(&rig, "a", 0)).await;
    assert!(
        matches!(closed, Err(MethodError::NotOnline { .. })),
        "{closed:?}"
    );
}

async fn a_silent_device_times_out(disk: &Disk) {
    let rig = disk.start(T0);
    rig.create(&["a"]).await;
    let a = rig.connect("a", false);
    let pending = invoke(&rig, "a", 0);
    let sent = rig.called(&[&a]).await[0];
    rig.clock.advance(Duration::from_secs(9));
    rig.settle().await;
    assert!(!pending.is_finished());
    rig.clock.advance(Duration::from_secs(1));
    let result = ended(&rig, pending).await;
    assert!(
        matches!(result, Err(MethodError::TimedOut(_))),
        "{result:?}"
    );
    rig.answer(&a, sent, "1").await;
    rig.until("a late answer is acknowledged", async || {
        (a.acknowledged() == [sent]).then_some(())
    })
    .await;
}

async fn a_call_to_nobody_says_who_is_missing(disk: &Disk) {
    let rig = disk.start(T0);
    let result = ended(&rig, invoke(&rig, "nobody", 60)).await;
    assert!(matches!(result, Err(MethodError::Absent(_))), "{result:?}");
}

async fn a_closing_hub_lets_calls_end(disk: &Disk) {
    let rig = disk.start(T0);
    rig.create(&["a", "b"]).await;
    let a = rig.connect("a", false);
    let (sent, waiting) = (invoke(&rig, "a", 0), invoke(&rig, "b", 60));
    rig.called(&[&a]).await;
    rig.settle().await;
    rig.hub.methods.close();
    let sent = ended(&rig, sent).await;
    assert!(matches!(sent, Err(MethodError::TimedOut(_))), "{sent:?}");
    let waiting = ended(&rig, waiting).await;
    assert!(matches!(waiting, Err(MethodError::Closing)), "{waiting:?}");
    let late = ended(&rig, invoke(&rig, "a", 0)).await;
    assert!(matches!(late, Err(MethodError::Closing)), "{late:?}");
    assert_eq!(a.calls().len(), 1);
}

async fn a_caller_that_went_away_leaves_nothing(disk: &Disk) {
    let rig = disk.start(T0);
    rig.create(&["a"]).await;
    let a = rig.connect("a", false);
    let calls: Vec<Call> = (0..50).map(|_| invoke(&rig, "a", 0)).collect();
    rig.until("all calls", async || (a.calls().len() == 50).then_some(()))
        .await;
    assert_eq!(rig.hub.methods.waiting(), 50);
    for call in calls {
        call.abort();
        assert!(call.await.is_err_and(|error| error.is_cancelled()));
    }
    assert_eq!(rig.hub.methods.waiting(), 0);
}

async fn a_deleted_device_is_not_waited_for(disk: &Disk) {
    let rig = disk.start(T0);
    rig.create(&["a"]).await;
    let pending = invoke(&rig, "a", 300);
    rig.settle().await;
    let deleted = rig
        .hub
        .registry
        .delete(device("a"), Precondition::Exists)
        .await;
    deleted.expect("it exists");
    let result = ended(&rig, pending).await;
    assert!(
        matches!(result, Err(MethodError::NotOnline { .. })),
        "{result:?}"
    );
}

async fn a_garbled_answer_is_told_apart(disk: &Disk) {
    let rig = disk.start(T0);
    rig.create(&["a"]).await;
    let a = rig.connect("a", false);
    for (payload, expected) in [
        (AnswerPayload::Garbled, None),
        (AnswerPayload::Empty, Some((404, None))),
    ] {
        let pending = invoke(&rig, "a", 0);
        let before = a.calls().len();
        rig.until("the call", async || {
            (a.calls().len() > before).then_some(())
        })
        .await;
        let answer = CallAnswer {
            key: a.key,
            call: a.calls()[before],
            status: 404,
            payload,
            receipt: None,
        };
        rig.hub.methods.answer(answer).await;
        match (ended(&rig, pending).await, expected) {
            (Err(MethodError::Garbled(_)), None) => {}
            (Ok(MethodAnswer { status, payload }), expected) => {
                assert_eq!(Some((status, payload)), expected);
            }
            (other, _) => panic!("{other:?}"),
        }
    }
}
