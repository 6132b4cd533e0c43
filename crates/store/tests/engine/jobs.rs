//! Jobs from acceptance to end.

use std::time::Duration;

use fanfare_hub::{
    jobs::{
        job::{JobEnd, JobState, Progress},
        ledger::Outcome,
    },
    presence::CutReason,
    registry::{Precondition, Status},
};

use crate::rig::{
    Disk, RESPONSE_SECONDS, T0, WINDOW_SECONDS, answered, device, floor, method, names, second,
};

crate::on_both! {
    a_method_job_goes_from_acceptance_to_its_end
    an_offline_device_is_called_when_it_comes
    a_device_that_never_comes_was_unreachable
    a_device_that_never_answers_times_out
    an_answer_is_acknowledged_once_it_is_durable
    a_job_starts_at_its_moment
    a_late_job_starts_at_once
    a_job_over_nobody_is_completed
    a_job_over_a_condition_is_sealed
    a_twin_job_patches_everyone_and_tells_who_listens
    notices_come_in_order_and_a_gap_is_filled
    a_small_job_does_not_wait_for_two_large_ones
    many_jobs_start_at_the_same_moment
    a_deleted_device_ends_with_its_calls
    a_deleted_device_takes_the_jobs_of_its_modules_along
    a_disabled_device_keeps_waiting
    a_call_to_a_closed_link_waits_for_the_next_connection
    a_device_gets_four_calls_at_once_and_the_oldest_first
    two_twin_jobs_take_turns
}

async fn a_method_job_goes_from_acceptance_to_its_end(disk: &Disk) {
    let rig = disk.start(T0);
    rig.create(&["a", "b"]).await;
    let (a, _b) = (rig.connect("a", true), rig.connect("b", true));
    let job = rig.schedule("j", "*", method("lock")).await;
    assert_eq!(job.state, JobState::Waiting);
    let ended = rig.ended("j").await;
    assert_eq!(ended.end, JobEnd::Completed);
    assert_eq!(ended.counts(), (2, 0, 0));
    assert_eq!(rig.outcome("j", "a").await, answered());
    assert_eq!(a.named_calls()[0].1, "lock");
    assert_eq!(a.calls().len(), 1);
}

async fn an_offline_device_is_called_when_it_comes(disk: &Disk) {
    let rig = disk.start(T0);
    rig.create(&["a", "b"]).await;
    rig.connect("a", true);
    rig.schedule("j", "*", method("lock")).await;
    rig.until("the first answer", async || {
        (rig.progress("j").await.succeeded == 1).then_some(())
    })
    .await;
    rig.clock.advance(Duration::from_secs(300));
    // Connected is not enough: it must be ready.
    let b = rig.attach("b", true, None);
    rig.settle().await;
    assert_eq!(b.calls(), []);
    assert_eq!(rig.progress("j").await.pending(), 1);
    rig.make_ready(&b);
    assert_eq!(rig.ended("j").await.counts(), (2, 0, 0));
    assert_eq!(b.calls().len(), 1);
}

async fn a_device_that_never_comes_was_unreachable(disk: &Disk) {
    let rig = disk.start(T0);
    rig.create(&["a", "b"]).await;
    rig.connect("a", true);
    rig.schedule("j", "*", method("lock")).await;
    rig.until("the first answer", async || {
        (rig.progress("j").await.succeeded == 1).then_some(())
    })
    .await;
    rig.clock.advance_to(second(u64::from(WINDOW_SECONDS) - 1));
    rig.settle().await;
    assert!(rig.job("j").await.is_running());
    rig.clock.advance_to(second(u64::from(WINDOW_SECONDS)));
    let ended = rig.ended("j").await;
    assert_eq!(ended.counts(), (1, 1, 0));
    assert!(ended.at.since(second(u64::from(WINDOW_SECONDS))) < Duration::from_secs(1));
    assert_eq!(rig.outcome("j", "b").await, Some(Outcome::Unreachable));
    let b = rig.connect("b", true);
    rig.settle().await;
    assert_eq!(b.calls(), [], "nothing leaves after the end");
}

async fn a_device_that_never_answers_times_out(disk: &Disk) {
    let rig = disk.start(T0);
    rig.create(&["a"]).await;
    let a = rig.connect("a", false);
    rig.schedule("j", "*", method("lock")).await;
    let call = rig.called(&[&a]).await[0];
    let sent = rig.now();
    rig.clock
        .advance(Duration::from_secs(u64::from(RESPONSE_SECONDS) - 1));
    rig.settle().await;
    assert_eq!(rig.progress("j").await.running, 1);
    rig.clock.advance(Duration::from_secs(1));
    let ended = rig.ended("j").await;
    assert_eq!(ended.counts(), (0, 1, 0));
    assert!(ended.at.since(sent) < Duration::from_secs(u64::from(RESPONSE_SECONDS) + 1));
    rig.answer(&a, call, "1").await;
    rig.until("a late answer is acknowledged too", async || {
        (a.acknowledged() == [call]).then_some(())
    })
    .await;
    assert_eq!(rig.outcome("j", "a").await, Some(Outcome::TimedOut));
}

async fn an_answer_is_acknowledged_once_it_is_durable(disk: &Disk) {
    let rig = disk.start(T0);
    rig.create(&["a", "b"]).await;
    let (a, b) = (rig.connect("a", false), rig.connect("b", false));
    rig.schedule("j", "*", method("lock")).await;
    let calls = rig.called(&[&a, &b]).await;
    rig.answer(&a, calls[0], "1").await;
    rig.answer(&a, calls[0], "2").await;
    rig.answer(&b, calls[0], "3").await;
    rig.settle().await;
    assert_eq!(a.acknowledged(), [], "the answer still waits for company");
    rig.until("acknowledgements", async || {
        (a.acknowledged().len() == 2 && b.acknowledged().len() == 1).then_some(())
    })
    .await;
    assert_eq!(rig.progress("j").await.succeeded, 1);
    let first = rig.outcome("j", "a").await;
    assert!(
        matches!(&first, Some(Outcome::Answered { payload: Some(text), .. }) if text.as_str() == "1"),
        "{first:?}"
    );
    assert_eq!(rig.outcome("j", "b").await, None, "it answered for another");
}

async fn a_job_starts_at_its_moment(disk: &Disk) {
    let rig = disk.start(T0);
    rig.create(&["a"]).await;
    let a = rig.connect("a", true);
    rig.schedule_at("j", "*", method("lock"), Some(second(3_600)))
        .await;
    rig.schedule_at("k", "*", method("open"), Some(second(7_200)))
        .await;
    rig.settle().await;
    rig.clock.advance_to(second(3_599));
    rig.settle().await;
    assert_eq!(a.calls(), []);
    assert_eq!(rig.job("j").await.state, JobState::Waiting);
    // Whoever is registered before the start belongs to the target set.
    rig.create(&["b"]).await;
    rig.connect("b", true);
    rig.clock.advance_to(second(3_600));
    assert_eq!(rig.ended("j").await.counts(), (2, 0, 0));
    assert_eq!(rig.job("k").await.state, JobState::Waiting);
    rig.clock.advance_to(second(7_200));
    assert_eq!(rig.ended("k").await.counts(), (2, 0, 0));
}

async fn a_late_job_starts_at_once(disk: &Disk) {
    let rig = disk.start(T0);
    rig.create(&["a", "b"]).await;
    rig.schedule_at("j", "*", method("lock"), Some(second(100)))
        .await;
    rig.schedule_at("k", "*", method("lock"), Some(second(110)))
        .await;
    rig.crash().await;

    let rig = disk.start(second(105));
    rig.create(&["a", "b"]).await;
    rig.connect("a", true);
    rig.until("the answer", async || {
        (rig.progress("j").await.succeeded == 1).then_some(())
    })
    .await;
    rig.crash().await;

    // The whole window of the second job passed while nobody was there.
    let rig = disk.start(second(111 + u64::from(WINDOW_SECONDS)));
    assert_eq!(rig.ended("j").await.counts(), (1, 1, 0));
    assert_eq!(rig.ended("k").await.counts(), (0, 2, 0));
}

async fn a_job_over_nobody_is_completed(disk: &Disk) {
    let rig = disk.start(T0);
    rig.create(&["a"]).await;
    for (id, operation) in [("m", method("lock")), ("t", floor(1))] {
        rig.schedule(id, "deviceId = 'nobody'", operation).await;
        let ended = rig.ended(id).await;
        assert_eq!(ended.end, JobEnd::Completed);
        assert_eq!(ended.progress, Progress::default());
    }
}

async fn a_job_over_a_condition_is_sealed(disk: &Disk) {
    let rig = disk.start(T0);
    rig.create(&["a", "b", "c"]).await;
    rig.schedule("t", "deviceId IN ['a', 'b']", floor(3)).await;
    assert_eq!(rig.ended("t").await.counts(), (2, 0, 0));
    let condition = "properties.desired.floor = 3";
    rig.schedule("m", condition, method("lock")).await;
    rig.until("the seal", async || rig.job("m").await.sealed())
        .await;
    // Later changes of twins, and later devices, do not alter it.
    rig.schedule("u", "*", floor(4)).await;
    assert_eq!(rig.ended("u").await.counts(), (3, 0, 0));
    for name in ["a", "b", "c"] {
        rig.connect(name, true);
    }
    assert_eq!(rig.ended("m").await.counts(), (2, 0, 0));
    assert_eq!(rig.outcome("m", "c").await, None);
}

async fn a_twin_job_patches_everyone_and_tells_who_listens(disk: &Disk) {
    let rig = disk.start(T0);
    rig.create(&["listens", "deaf", "offline"]).await;
    let listens = rig.attach("listens", false, Some(1));
    let deaf = rig.attach("deaf", false, None);
    rig.schedule("t", "*", floor(3)).await;
    let ended = rig.ended("t").await;
    assert_eq!(ended.counts(), (3, 0, 0));
    for name in ["listens", "deaf", "offline"] {
        assert_eq!(rig.desired_version(name).await, 2);
        assert_eq!(rig.outcome("t", name).await, Some(Outcome::Applied));
    }
    rig.until("the notice", async || {
        (listens.notices() == [(2, false)]).then_some(())
    })
    .await;
    assert_eq!(deaf.notices(), []);
}

async fn notices_come_in_order_and_a_gap_is_filled(disk: &Disk) {
    let rig = disk.start(T0);
    rig.create(&["a", "b"]).await;
    let a = rig.attach("a", false, Some(1));
    let ids: Vec<String> = (0..10).map(|number| format!("t{number}")).collect();
    for (number, id) in ids.iter().enumerate() {
        rig.schedule(id, "*", floor(number as u32)).await;
    }
    for id in &ids {
        rig.ended(id).await;
    }
    rig.until("the last notice", async || {
        (a.notices().last()?.0 == 11).then_some(())
    })
    .await;
    let versions: Vec<u64> = a.notices().iter().map(|(version, _)| *version).collect();
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");

    // It missed some: the whole section comes instead of the next patch.
    let b = rig.attach("b", false, Some(9));
    rig.schedule("last", "*", floor(99)).await;
    rig.until("the whole section", async || {
        (b.notices() == [(12, true)]).then_some(())
    })
    .await;
}

async fn a_small_job_does_not_wait_for_two_large_ones(disk: &Disk) {
    let rig = disk.start(T0);
    let names = names(3_000);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    rig.create(&names).await;
    rig.create(&["x", "y", "z"]).await;
    let links: Vec<_> = names.iter().map(|name| rig.connect(name, false)).collect();
    let others = ["x", "y", "z"];
    let others = others.map(|name| rig.connect(name, true));
    rig.schedule("large-1", "STARTSWITH(deviceId, 'd-')", method("slow"))
        .await;
    rig.schedule("large-2", "STARTSWITH(deviceId, 'd-')", method("slow"))
        .await;
    for id in ["large-1", "large-2"] {
        rig.until("many calls in flight", async || {
            (rig.progress(id).await.running > 500).then_some(())
        })
        .await;
    }
    rig.schedule("small", "deviceId IN ['x', 'y', 'z']", method("quick"))
        .await;
    assert_eq!(rig.ended("small").await.counts(), (3, 0, 0));
    assert!(others.iter().all(|link| link.calls().len() == 1));
    assert!(rig.job("large-1").await.is_running());
    links.iter().for_each(|link| link.let_answer());
    assert_eq!(rig.ended("large-1").await.counts(), (3_000, 0, 0));
    assert_eq!(rig.ended("large-2").await.counts(), (3_000, 0, 0));
    assert!(links.iter().all(|link| link.calls().len() == 2));
}

async fn many_jobs_start_at_the_same_moment(disk: &Disk) {
    let rig = disk.start(T0);
    rig.create(&["a", "b", "c"]).await;
    let links = ["a", "b", "c"].map(|name| rig.connect(name, true));
    let ids: Vec<String> = (0..300).map(|number| format!("j{number}")).collect();
    for id in &ids {
        rig.schedule_at(id, "*", method("lock"), Some(second(60)))
            .await;
    }
    rig.clock.advance_to(second(60));
    for id in &ids {
        assert_eq!(rig.ended(id).await.counts(), (3, 0, 0), "{id}");
    }
    assert!(links.iter().all(|link| link.calls().len() == ids.len()));
}

async fn a_deleted_device_ends_with_its_calls(disk: &Disk) {
    let rig = disk.start(T0);
    rig.create(&["pending", "calling", "stays"]).await;
    let calling = rig.connect("calling", false);
    rig.schedule("j", "*", method("lock")).await;
    let call = rig.called(&[&calling]).await[0];
    for name in ["pending", "calling"] {
        let deleted = rig
            .hub
            .registry
            .delete(device(name), Precondition::Exists)
            .await;
        deleted.expect("it exists");
    }
    assert_eq!(calling.cuts(), [CutReason::AccessChanged]);
    rig.until("both have ended", async || {
        (rig.progress("j").await.failed == 2).then_some(())
    })
    .await;
    rig.answer(&calling, call, "1").await;
    rig.connect("stays", true);
    assert_eq!(rig.ended("j").await.counts(), (1, 2, 0));
    for name in ["pending", "calling"] {
        assert_eq!(rig.outcome("j", name).await, Some(Outcome::Deleted));
    }
}

async fn a_deleted_device_takes_the_jobs_of_its_modules_along(disk: &Disk) {
    let rig = disk.start(T0);
    rig.create(&["a"]).await;
    let link = rig.add_module("a", "m").await;
    let condition = "FROM devices.modules WHERE deviceId = 'a'";
    rig.schedule("j", condition, method("lock")).await;
    rig.until("the seal", async || rig.job("j").await.sealed())
        .await;
    let deleted = rig
        .hub
        .registry
        .delete(device("a"), Precondition::Exists)
        .await;
    deleted.expect("it exists");
    assert_eq!(rig.ended("j").await.counts(), (0, 1, 0));
    assert_eq!(link.cuts(), [CutReason::AccessChanged]);
}

async fn a_disabled_device_keeps_waiting(disk: &Disk) {
    let rig = disk.start(T0);
    rig.create(&["a"]).await;
    rig.set_status("a", Status::Disabled).await;
    rig.schedule("t", "*", floor(3)).await;
    rig.schedule("m", "*", method("lock")).await;
    assert_eq!(rig.ended("t").await.counts(), (1, 0, 0));
    rig.until("the seal", async || rig.job("m").await.sealed())
        .await;
    rig.clock.advance(Duration::from_secs(60));
    rig.settle().await;
    assert_eq!(rig.progress("m").await.pending(), 1);
    rig.set_status("a", Status::Enabled).await;
    rig.connect("a", true);
    assert_eq!(rig.ended("m").await.counts(), (1, 0, 0));
}

async fn a_call_to_a_closed_link_waits_for_the_next_connection(disk: &Disk) {
    let rig = disk.start(T0);
    rig.create(&["a"]).await;
    let closed = rig.connect("a", false);
    closed.close();
    rig.schedule("j", "*", method("lock")).await;
    let withdrawn = async || {
        let was_tried = closed.tried_in_vain() > 0;
        (was_tried && rig.progress("j").await.running == 0).then_some(())
    };
    rig.until("the call that is taken back", withdrawn).await;
    rig.settle().await;
    assert_eq!(closed.tried_in_vain(), 1, "it is not tried again and again");
    let progress = rig.progress("j").await;
    assert_eq!((progress.running, progress.pending()), (0, 1));
    let next = rig.connect("a", true);
    rig.disconnect(&closed);
    assert_eq!(rig.ended("j").await.counts(), (1, 0, 0));
    assert_eq!((closed.calls().len(), next.calls().len()), (0, 1));
}

async fn a_device_gets_four_calls_at_once_and_the_oldest_first(disk: &Disk) {
    let rig = disk.start(T0);
    rig.create(&["a"]).await;
    let ids: Vec<String> = (1..=9).map(|number| format!("j{number}")).collect();
    for id in &ids {
        rig.schedule(id, "*", method(id)).await;
        rig.until("the seal", async || rig.job(id).await.sealed())
            .await;
    }
    rig.settle().await;
    let a = rig.connect("a", false);
    rig.until("four calls", async || (a.calls().len() >= 4).then_some(()))
        .await;
    rig.settle().await;
    let methods = || {
        let calls = a.named_calls();
        calls.into_iter().map(|(_, name)| name).collect::<Vec<_>>()
    };
    assert_eq!(methods(), ["j1", "j2", "j3", "j4"]);
    a.let_answer();
    for id in &ids {
        assert_eq!(rig.ended(id).await.counts(), (1, 0, 0));
    }
    assert_eq!(methods(), ids);
}

async fn two_twin_jobs_take_turns(disk: &Disk) {
    let rig = disk.start(T0);
    let names = names(2_500);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    rig.create(&names).await;
    rig.schedule("t1", "*", floor(1)).await;
    rig.schedule("t2", "*", floor(2)).await;
    assert_eq!(rig.ended("t1").await.counts(), (2_500, 0, 0));
    assert_eq!(rig.ended("t2").await.counts(), (2_500, 0, 0));
    for name in [names[0], names[1_250], names[2_499]] {
        assert_eq!(rig.desired_version(name).await, 3);
    }
}
