//! What happens because time passed.

use std::time::Duration;

use fanfare_hub::{limits, ports::store::JobFilter, twin::TwinView};

use crate::rig::{Disk, Rig, T0, device, floor, job_id, method, second};

crate::on_both! {
    history_goes_after_thirty_days
    a_sweep_sends_what_a_device_missed
    last_activity_is_written_and_survives
}

const DAY: Duration = Duration::from_secs(24 * 3_600);

async fn exists(rig: &Rig, id: &str) -> bool {
    let job = rig.hub.jobs.get(&job_id(id)).await;
    job.expect("the store works").is_some()
}

async fn history_goes_after_thirty_days(disk: &Disk) {
    let rig = disk.start(T0);
    rig.create(&["a"]).await;
    rig.connect("a", true);
    for number in 0..25 {
        rig.schedule(&format!("m{number}"), "*", method("lock"))
            .await;
    }
    rig.schedule("t", "*", floor(1)).await;
    let later = second(40 * 24 * 3_600);
    rig.schedule_at("waits", "*", method("lock"), Some(later))
        .await;
    for number in 0..25 {
        rig.ended(&format!("m{number}")).await;
    }
    rig.ended("t").await;

    rig.clock.advance(29 * DAY);
    rig.settle().await;
    assert!(exists(&rig, "m0").await && exists(&rig, "t").await);
    rig.clock
        .advance(DAY + limits::SWEEP_EVERY + Duration::from_secs(60));
    rig.until("the history goes", async || {
        let left = rig.hub.jobs.list(JobFilter::default(), 100).await;
        (left.expect("the store works").len() == 1).then_some(())
    })
    .await;
    assert!(exists(&rig, "waits").await);
    assert!(rig.rows("m3").await.is_empty());
    assert_eq!(rig.desired_version("a").await, 2, "twins stay");
}

async fn a_sweep_sends_what_a_device_missed(disk: &Disk) {
    let rig = disk.start(T0);
    rig.create(&["behind", "level", "deaf"]).await;
    rig.schedule("t", "*", floor(1)).await;
    rig.ended("t").await;
    // Its own notices go out after the commit that ends it; nobody is connected to hear them.
    rig.settle().await;
    let behind = rig.attach("behind", false, Some(2));
    let level = rig.attach("level", false, Some(2));
    let deaf = rig.attach("deaf", false, None);
    behind.forget_told(1);
    rig.settle().await;
    assert_eq!(behind.notices(), []);
    rig.clock.advance(limits::DESIRED_SWEEP_EVERY);
    rig.until("the whole section", async || {
        (behind.notices() == [(2, true)]).then_some(())
    })
    .await;
    rig.clock.advance(limits::DESIRED_SWEEP_EVERY);
    rig.settle().await;
    assert_eq!(behind.notices().len(), 1, "once is enough");
    assert_eq!((level.notices(), deaf.notices()), (vec![], vec![]));
}

async fn last_activity_is_written_and_survives(disk: &Disk) {
    let rig = disk.start(T0);
    rig.create(&["a"]).await;
    let etag = {
        let twin = view(&rig).await;
        twin.twin.document.etag
    };
    let a = rig.connect("a", true);
    rig.settle().await;
    rig.clock.advance(limits::ACTIVITY_WRITE_EVERY);
    let heard = rig.now();
    rig.until("the write", async || {
        let twin = view(&rig).await.twin;
        (twin.last_activity >= heard).then_some(())
    })
    .await;
    drop(a);
    rig.crash().await;
    let rig = disk.start(second(3_600));
    let view = view(&rig).await;
    assert!(view.twin.last_activity >= heard);
    assert!(!view.presence.connected);
    assert_eq!(view.twin.document.etag, etag);
}

async fn view(rig: &Rig) -> TwinView {
    let view = rig.hub.twins.get(&device("a")).await;
    view.expect("the store works").expect("it exists")
}
