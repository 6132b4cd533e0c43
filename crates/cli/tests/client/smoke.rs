//! The rig itself: a hub that starts, a device that is called, a hub that comes back after `kill -9`.

use fanfare_cli::fleet::Behaviour;
use serde_json::json;

use crate::rig::Rig;

#[tokio::test]
async fn a_hub_comes_back_with_its_devices() {
    let mut rig = Rig::start("127.0.0.86").await;
    let fleet = rig
        .devices("d", 2, json!({"ring": 1}), Behaviour::default())
        .await;
    rig.kill().await;
    rig.restart().await;
    let twin = rig.owner().await.twins().get("d-1").await.unwrap();
    assert_eq!(twin.tags["ring"], 1);
    drop(fleet);
    rig.stop().await;
}
