//! What is done once although the request went out twice, and what ends well although something was in the way.

use std::sync::Arc;
use std::time::Duration;

use fanfare_cli::fleet::Behaviour;
use fanfare_cli::hub_process::free_port;
use fanfare_client::{
    ClientOptions, Credential, Device, DeviceMethod, Error, HubClient, JobStatus, RetryPolicy,
    ScheduleOptions, TwinPatch,
};
use serde_json::json;
use tokio::sync::Notify;

use crate::own_runtime::in_own_runtime;
use crate::proxy::{Fault, Http, Proxy};
use crate::rig::Rig;

const ADDRESS: &str = "127.0.0.86";

/// A hub behind a proxy, with a credential for it.
struct Scene {
    rig: Rig,
    proxy: Proxy,
    credential: Credential,
}

impl Scene {
    async fn set(http: Http) -> Self {
        let rig = Rig::start(ADDRESS).await;
        let string = rig
            .options()
            .connection_string("iothubowner")
            .await
            .unwrap();
        Self {
            proxy: Proxy::before(rig.options(), http).await,
            credential: Credential::from_connection_string(&string).unwrap(),
            rig,
        }
    }

    fn client(&self, options: ClientOptions) -> HubClient {
        let endpoint = self.proxy.endpoint();
        HubClient::new(&endpoint, self.credential.clone(), options).unwrap()
    }

    fn quick(&self) -> ClientOptions {
        let retry = RetryPolicy {
            delay_first: Duration::from_millis(1),
            ..RetryPolicy::default()
        };
        ClientOptions {
            retry,
            ..self.proxy.client_options()
        }
    }

    async fn clear(self) {
        self.proxy.wait_all_closed().await;
        self.proxy.stop().await;
        self.rig.stop().await;
    }

    fn lines(&self) -> Vec<String> {
        let seen = self.proxy.take_seen();
        seen.iter().map(crate::proxy::Recorded::line).collect()
    }
}

fn patch() -> TwinPatch {
    TwinPatch::default().tags(json!({"ring": 1}))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_whose_reply_was_lost_makes_one_job() {
    let scene = Scene::set(Http::Both).await;
    scene.proxy.script([Fault::CutAfter]);
    let hub = scene.client(scene.quick());
    let job = hub
        .jobs()
        .schedule_twin_update("j-1", "*", patch(), None)
        .await
        .unwrap();
    assert_eq!(job.job_id, "j-1");
    let all = scene
        .rig
        .owner()
        .await
        .jobs()
        .query_jobs(None, None)
        .collect()
        .await
        .unwrap();
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(scene.lines(), ["PUT /jobs/v2/j-1"; 2]);
    drop(hub);
    scene.clear().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_tells_no_retry_from_a_conflict_is_asked_whose_job_it_is() {
    let scene = Scene::set(Http::Both).await;
    let hub = scene.client(scene.quick());
    let taken = || Fault::refusal(409, "JobAlreadyExists");
    // The first try made the job: the conflict is with ourselves.
    scene.proxy.script([Fault::CutAfter, taken()]);
    let job = hub
        .jobs()
        .schedule_twin_update("j-1", "*", patch(), None)
        .await
        .unwrap();
    assert_eq!(job.job_id, "j-1");
    assert_eq!(
        scene.lines(),
        ["PUT /jobs/v2/j-1", "PUT /jobs/v2/j-1", "GET /jobs/v2/j-1"]
    );
    // Somebody else's job of that id is a conflict, lost reply or not.
    scene.proxy.script([Fault::CutAfter, taken()]);
    let other = TwinPatch::default().tags(json!({"ring": 2}));
    let refused = hub
        .jobs()
        .schedule_twin_update("j-1", "*", other.clone(), None)
        .await;
    assert_eq!(refused.unwrap_err().code(), Some("JobAlreadyExists"));
    // Without a lost reply nobody has to ask.
    scene.proxy.take_seen();
    let refused = hub
        .jobs()
        .schedule_twin_update("j-1", "*", other, None)
        .await;
    assert_eq!(refused.unwrap_err().code(), Some("JobAlreadyExists"));
    assert_eq!(scene.lines(), ["PUT /jobs/v2/j-1"]);
    drop(hub);
    scene.clear().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_whose_reply_was_lost_has_cancelled() {
    let scene = Scene::set(Http::Both).await;
    let hub = scene.client(scene.quick());
    let start_time = Some("2031-02-03T04:05:06Z".parse().unwrap());
    let options = ScheduleOptions {
        start_time,
        window: None,
    };
    hub.jobs()
        .schedule_twin_update("j-1", "*", patch(), options)
        .await
        .unwrap();
    scene.proxy.script([Fault::CutAfter]);
    let job = hub.jobs().cancel_job("j-1").await.unwrap();
    assert_eq!(job.status, JobStatus::Cancelled);
    // The second wish to cancel it is not the first one's echo.
    let refused = hub.jobs().cancel_job("j-1").await.unwrap_err();
    assert_eq!(refused.code(), Some("OperationNotAllowedInCurrentState"));
    assert_eq!(refused.number(), Some(405_102));
    drop(hub);
    scene.clear().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delete_whose_reply_was_lost_has_deleted() {
    let scene = Scene::set(Http::Both).await;
    let hub = scene.client(scene.quick());
    let registry = hub.registry();
    registry.create_device(&Device::new("d")).await.unwrap();
    scene.proxy.script([Fault::CutAfter]);
    registry.delete_device("d", None).await.unwrap();
    let missing = registry.delete_device("d", None).await.unwrap_err();
    assert_eq!(missing.code(), Some("DeviceNotFound"));
    drop((registry, hub));
    scene.clear().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_404_of_a_stranger_does_not_make_a_delete_done() {
    let scene = Scene::set(Http::Both).await;
    let hub = scene.client(scene.quick());
    let registry = hub.registry();
    registry.create_device(&Device::new("d")).await.unwrap();
    let strange = Fault::refusal(404, "NoSuchRoute");
    scene.proxy.script([Fault::bad_gateway(), strange]);
    let error = registry.delete_device("d", None).await.unwrap_err();
    assert_eq!(error.code(), Some("NoSuchRoute"));
    assert!(error.may_have_been_done());
    registry.get_device("d").await.unwrap();
    drop((registry, hub));
    scene.clear().await;
}

// On one thread, and of few enough calls that `join_all` begins them in one go: all wait before the first one fails.
#[tokio::test]
async fn calls_that_wait_for_one_connection_share_its_failure() {
    let scene = Scene::set(Http::Both).await;
    scene.proxy.always(Fault::CutHandshake);
    let options = ClientOptions {
        retry: RetryPolicy::none(),
        ..scene.quick()
    };
    let hub = scene.client(options);
    let registry = hub.registry();
    let calls = (0..20).map(|_| registry.get_device("d"));
    for outcome in futures_util::future::join_all(calls).await {
        let error = outcome.unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
        assert!(!error.may_have_been_done() && error.can_retry_help());
    }
    // The first call's own, and the one that the others waited for.
    assert_eq!(scene.proxy.connections(), 2);
    scene.proxy.always(Fault::Pass);
    let error = registry.get_device("d").await.unwrap_err();
    assert_eq!(error.code(), Some("DeviceNotFound"), "{error:?}");
    drop((registry, hub));
    scene.clear().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_port_is_not_reachable_and_nothing_was_done() {
    let scene = Scene::set(Http::Both).await;
    let port = free_port(ADDRESS.parse().unwrap()).unwrap();
    let options = ClientOptions {
        port: Some(port),
        ..scene.quick()
    };
    let (endpoint, credential) = (scene.proxy.endpoint(), scene.credential.clone());
    let refused = in_own_runtime("a closed port".to_owned(), move || async move {
        let hub = HubClient::new(&endpoint, credential, options).unwrap();
        hub.registry()
            .create_device(&Device::new("d"))
            .await
            .map(drop)
    })
    .await;
    let error = refused.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    assert!(!error.may_have_been_done() && error.can_retry_help());
    scene.clear().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_with_a_certificate_of_his_own_gets_no_signature() {
    let scene = Scene::set(Http::Both).await;
    // The hub's authority is trusted, the proxy's is not.
    let options = ClientOptions {
        trust: scene.rig.options().client_options().unwrap().trust,
        ..scene.quick()
    };
    let hub = scene.client(options);
    let error = hub.registry().get_device("d").await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    assert!(scene.lines().is_empty(), "a request went to a stranger");
    drop(hub);
    scene.clear().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_wound_down_costs_no_call() {
    for http in [Http::One, Http::Two] {
        let scene = Scene::set(http).await;
        let hub = scene.client(scene.quick());
        scene.proxy.script([Fault::WindDown, Fault::WindDown]);
        for id in ["a", "b", "c", "d"] {
            // Not to be repeated, and yet each is done: the connection is looked at before it is used.
            hub.registry()
                .create_device(&Device::new(id))
                .await
                .unwrap();
        }
        let lines = ["a", "b", "c", "d"].map(|id| format!("PUT /devices/{id}"));
        assert_eq!(scene.lines(), lines);
        drop(hub);
        scene.clear().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_share_one_connection() {
    // Both: one for whoever calls alone and one for all others. Two: the hub refused the first.
    for http in [Http::Both, Http::Two] {
        let scene = Scene::set(http).await;
        let hub = scene.client(scene.quick());
        hub.registry()
            .create_device(&Device::new("d"))
            .await
            .unwrap();
        for _ in 0..2 {
            let calls = (0..50).map(|_| async { hub.registry().get_device("d").await.map(drop) });
            for result in futures_util::future::join_all(calls).await {
                result.unwrap();
            }
        }
        assert_eq!(scene.proxy.connections(), 2, "{http:?}");
        drop(hub);
        scene.clear().await;
    }

    let scene = Scene::set(Http::One).await;
    let hub = scene.client(scene.quick());
    hub.registry()
        .create_device(&Device::new("d"))
        .await
        .unwrap();
    for _ in 0..50 {
        hub.registry().get_device("d").await.unwrap();
    }
    assert_eq!(scene.proxy.connections(), 1, "keep-alive");
    drop(hub);
    scene.clear().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_without_an_end_is_given_up() {
    let scene = Scene::set(Http::Both).await;
    scene.proxy.always(Fault::Endless);
    let options = ClientOptions {
        retry: RetryPolicy::none(),
        timeout: Duration::from_secs(5),
        ..scene.proxy.client_options()
    };
    let (endpoint, credential) = (scene.proxy.endpoint(), scene.credential.clone());
    let outcome = in_own_runtime("an endless reply".to_owned(), move || async move {
        let hub = HubClient::new(&endpoint, credential, options).unwrap();
        hub.registry().list_devices(None).await.map(drop)
    })
    .await;
    let error = outcome.unwrap_err();
    assert!(
        matches!(error, Error::Reply { .. } | Error::NoReply { .. }),
        "{error:?}"
    );
    scene.clear().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_that_comes_too_late_is_nobodys() {
    for http in [Http::One, Http::Two] {
        let scene = Scene::set(http).await;
        let options = ClientOptions {
            timeout: Duration::from_secs(3),
            retry: RetryPolicy::none(),
            ..scene.quick()
        };
        let hub = scene.client(options);
        let registry = hub.registry();
        for id in ["a", "b"] {
            registry.create_device(&Device::new(id)).await.unwrap();
        }
        let released = Arc::new(Notify::new());
        scene.proxy.script([Fault::Late(Arc::clone(&released))]);
        let error = registry.get_device("a").await.unwrap_err();
        assert!(matches!(error, Error::NoReply { .. }), "{error:?}");
        released.notify_one();
        for _ in 0..5 {
            assert_eq!(registry.get_device("b").await.unwrap().device_id, "b");
        }
        drop((registry, hub));
        scene.clear().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_says_when_to_come_again() {
    let scene = Scene::set(Http::Both).await;
    scene.proxy.script([Fault::throttled(Some("7".to_owned()))]);
    let options = ClientOptions {
        retry: RetryPolicy::none(),
        ..scene.quick()
    };
    let hub = scene.client(options);
    let error = hub.registry().get_device("d").await.unwrap_err();
    let refusal = error.refusal().expect("the hub said no");
    assert_eq!(refusal.retry_after, Some(Duration::from_secs(7)));
    assert!(error.can_retry_help());
    drop(hub);
    scene.clear().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_method_call_waits_for_the_device_and_not_for_the_hub_alone() {
    let scene = Scene::set(Http::Both).await;
    let slow = Duration::from_secs(3);
    let fleet = scene
        .rig
        .devices("slow", 1, json!({}), Behaviour::answers(slow..slow))
        .await;
    let options = ClientOptions {
        timeout: Duration::from_secs(1),
        ..scene.quick()
    };
    let hub = scene.client(options);
    let method = DeviceMethod::new("m").response_timeout(Duration::from_secs(30));
    assert_eq!(
        hub.methods().invoke("slow-0", method).await.unwrap().status,
        200
    );
    drop((hub, fleet));
    scene.clear().await;
}

/// A call's future, bytes: it lies on the stack of whoever waits for it, or within the future that does.
const CALL_BYTES_MAX: usize = 16 * 1024;

#[test]
fn the_future_of_a_call_fits_on_a_stack() {
    let credential = Credential::shared_access_key("p", "a2V5");
    let options = ClientOptions::default();
    let hub = HubClient::new("https://127.0.0.86", credential, options).unwrap();
    let (jobs, registry, methods) = (hub.jobs(), hub.registry(), hub.methods());
    let sizes = [
        ("get_job", size_of_val(&jobs.get_job("j"))),
        (
            "schedule",
            size_of_val(&jobs.schedule_twin_update("j", "*", patch(), None)),
        ),
        ("bulk", size_of_val(&registry.bulk(&[]))),
        (
            "invoke",
            size_of_val(&methods.invoke("d", DeviceMethod::new("m"))),
        ),
        ("monitor", size_of_val(&jobs.monitor("j").try_next())),
    ];
    assert!(
        sizes.iter().all(|(_, bytes)| *bytes <= CALL_BYTES_MAX),
        "{sizes:?}"
    );
}
