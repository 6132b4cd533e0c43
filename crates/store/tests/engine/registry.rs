//! What a change of the registry does to those who are connected and to jobs, also when its result is lost.

use std::sync::Arc;

use fanfare_hub::{
    ids::{IdentityId, MethodName},
    jobs::ledger::Outcome,
    json::JsonText,
    limits,
    method::{MethodCall, MethodError},
    ports::store::{RegistryStore as _, Session, SignIn},
    presence::{CutReason, Link as _},
    registry::{
        AuthenticationRequest, IdentityRequest, IdentityWrite, KeyRenewal, Precondition, Status,
    },
    session::Again,
};

use crate::rig::{Disk, FakeLink, Kind, Rig, T0, device, method};

crate::on_both! {
    a_deleted_identity_does_not_stay_connected
    a_module_of_a_disabled_device_is_not_waited_for
    a_sign_in_sees_what_was_kept_and_changed_meanwhile
}

fn request(id: &IdentityId, status: Status) -> IdentityRequest {
    IdentityRequest {
        id: id.clone(),
        precondition: Precondition::Any,
        status: Some(status),
        status_reason: None,
        authentication: AuthenticationRequest::Sas {
            primary: None,
            secondary: None,
        },
        edge: false,
        device_scope: None,
        parent_scopes: Vec::new(),
        managed_by: None,
        twin: None,
    }
}

/// A hub with a device that has a module, and another device; all three are connected.
async fn connected(disk: &Disk) -> (Rig, [Arc<FakeLink>; 3]) {
    let rig = disk.start(T0);
    rig.create(&["a", "other"]).await;
    let links = [
        rig.attach("a", false, None),
        rig.add_module("a", "m").await,
        rig.attach("other", false, None),
    ];
    (rig, links)
}

fn are_cut(links: &[Arc<FakeLink>; 3]) -> [bool; 3] {
    links
        .each_ref()
        .map(|link| link.cuts() == [CutReason::AccessChanged])
}

#[tokio::test]
async fn a_deletion_cuts_and_ends_device_jobs_although_its_result_is_lost() {
    let (rig, links) = connected(&Disk::new(Kind::Inline)).await;
    rig.schedule("j", "*", method("lock")).await;
    rig.until("the job runs", async || {
        (rig.progress("j").await.total == 2).then_some(())
    })
    .await;
    rig.settle().await;
    rig.store.lose_result_after(0);
    let delete = || rig.hub.registry.delete(device("a"), Precondition::Exists);
    assert!(delete().await.is_err());
    assert!(!rig.store.is_losing_a_result(), "it was this one");
    assert_eq!(are_cut(&links), [true, true, false]);
    let outcome = rig
        .until("the device job ends", async || rig.outcome("j", "a").await)
        .await;
    assert_eq!(outcome, Outcome::Deleted);
    assert_eq!(rig.outcome("j", "other").await, None);
    assert!(delete().await.is_err(), "it is gone");
}

#[tokio::test]
async fn new_keys_cut_although_their_result_is_lost() {
    let (rig, links) = connected(&Disk::new(Kind::Inline)).await;
    let registry = &rig.hub.registry;
    rig.store.lose_result_after(0);
    let module = request(links[1].identity(), Status::Enabled);
    assert!(registry.put(module).await.is_err());
    assert_eq!(are_cut(&links), [false, true, false]);

    let other = device("other");
    registry
        .put(request(&other, Status::Enabled))
        .await
        .expect("the store works");
    let newer = rig.attach("other", false, None);
    rig.store.lose_result_after(0);
    let renewed = registry.renew_keys(&[other], KeyRenewal::Primary).await;
    assert!(renewed.is_err());
    assert_eq!(newer.cuts(), [CutReason::AccessChanged]);
}

async fn a_deleted_identity_does_not_stay_connected(disk: &Disk) {
    let (rig, links) = connected(disk).await;
    // Past the registry, as if nobody had been told.
    let write = IdentityWrite::Delete {
        id: device("a"),
        precondition: Precondition::Exists,
    };
    let written = rig.store.identity_write(vec![write], T0).await;
    assert!(written.is_ok_and(|written| written[0].is_ok()));
    rig.settle().await;
    rig.clock.advance(limits::DESIRED_SWEEP_EVERY);
    rig.until("the cuts", async || {
        (are_cut(&links) == [true, true, false]).then_some(())
    })
    .await;
    assert!(rig.hub.presence.link(rig.key("a")).is_none());
}

async fn a_module_of_a_disabled_device_is_not_waited_for(disk: &Disk) {
    let (rig, links) = connected(disk).await;
    rig.set_status("a", Status::Disabled).await;
    let call = MethodCall {
        name: MethodName::parse("open").expect("it is valid"),
        payload: JsonText::null(),
        response_seconds: 10,
        connect_seconds: 300,
    };
    // The clock stands still: a call that waits would wait for ever.
    let refused = rig.hub.methods.invoke(links[1].identity(), call).await;
    let Err(MethodError::Absent(who)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(who, device("a"), "it is the device that is to blame");
}

async fn a_sign_in_sees_what_was_kept_and_changed_meanwhile(disk: &Disk) {
    let (rig, links) = connected(disk).await;
    let (sessions, module) = (&rig.hub.sessions, links[1].identity());
    let open = async || {
        let known = sessions.open(module).await.expect("the store works");
        known.expect("it is registered")
    };
    let known = open().await;
    assert_eq!(known.session, None);
    // The older connection subscribes at the last moment.
    let kept = Some(Session {
        filters: vec![("$iothub/methods/POST/#".to_owned(), 0)],
    });
    sessions
        .keep(links[1].key, kept.clone())
        .await
        .expect("the store works");
    let again = async |known| sessions.again(known).await.expect("the store works");
    let seen = SignIn {
        session: kept,
        ..known.clone()
    };
    assert_eq!(again(&known).await, Again::Same(Box::new(seen)));
    rig.set_status("a", Status::Disabled).await;
    assert_eq!(again(&known).await, Again::Changed);
    rig.set_status("a", Status::Enabled).await;
    let deleted = rig
        .hub
        .registry
        .delete(module.clone(), Precondition::Exists);
    deleted.await.expect("it is there");
    assert_eq!(again(&known).await, Again::Gone);
}
