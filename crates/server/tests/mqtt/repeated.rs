//! Tokens that were refused a moment ago, and the moment in which they become right.

use fanfare_hub::registry::{Precondition, Status};
use fanfare_server::telemetry::{COUNTS, FrontEnd, TurnedAway};
use rmqtt_codec::v3::ConnectAckReason;

use crate::rig::{KEY, Rig, connect};

/// How often a token was known to be wrong; other tests of this process only add to it.
fn repeated() -> u64 {
    COUNTS.turned_away[FrontEnd::Mqtt as usize][TurnedAway::Repeated as usize].get()
}

#[tokio::test]
async fn a_wrong_token_is_known_until_the_very_change_that_makes_it_right() {
    let (rig, _folder) = Rig::new().await;
    let knock = async || {
        let (_client, answer) = rig.knock(connect("door-1")).await;
        answer.return_code
    };
    let put = async |status, key| {
        rig.put("door-1", Precondition::Any, status, key).await;
    };
    // Disabled and enabled again, deprived of its key and given it back: often, since it has to be at once.
    for _ in 0..5 {
        for (status, key) in [
            (Status::Disabled, KEY),
            (Status::Enabled, "bm90IHRoZSBrZXkgb2YgYW55IGRldmljZQ=="),
        ] {
            put(status, key).await;
            let before = repeated();
            for _ in 0..3 {
                assert_eq!(knock().await, ConnectAckReason::NotAuthorized);
            }
            assert!(repeated() >= before + 2, "the second and third are known");
            put(Status::Enabled, KEY).await;
            assert_eq!(knock().await, ConnectAckReason::ConnectionAccepted);
        }
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_wrong_token_of_somebody_else_keeps_no_device_out() {
    let (rig, _folder) = Rig::new().await;
    for _ in 0..3 {
        let mut stranger = connect("door-1");
        stranger.password = Some(crate::rig::token("door-2").into());
        let (_client, answer) = rig.knock(stranger).await;
        assert_eq!(answer.return_code, ConnectAckReason::NotAuthorized);
        let (_client, answer) = rig.knock(connect("door-1")).await;
        assert_eq!(answer.return_code, ConnectAckReason::ConnectionAccepted);
    }
    rig.stop().await;
}
