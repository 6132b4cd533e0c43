//! The same calls by the client library, under the names that `conformance/node/record.js` gives them.

mod registry;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::{Duration, SystemTime};

use fanfare_client::{
    AccessToken, Authentication, BoxFuture, ClientOptions, CredentialError, DeviceMethod,
    HubClient, JobClient, JobStatus, JobType, RegistryClient, ScheduleOptions, TokenCredential,
    Trust, TwinPatch,
};
use futures_util::future::LocalBoxFuture;
use serde_json::Value;

use super::scene;
use crate::proxy::Proxy;
use crate::rig::in_an_hour;

/// Makes each call once and returns the methods that were used, as `Type::method`.
pub(crate) async fn make_every_call(proxy: &Proxy, string: String) -> BTreeSet<String> {
    let options = ClientOptions {
        trust: Trust::Only(proxy.ca_pem().into_bytes()),
        ..ClientOptions::default()
    };
    let hub = HubClient::from_connection_string(&string, options.clone()).unwrap();
    let mut calls = Calls {
        proxy,
        hub,
        string,
        options,
        used: BTreeSet::new(),
    };
    Box::pin(calls.of_jobs()).await;
    Box::pin(calls.of_devices()).await;
    Box::pin(calls.of_many_devices()).await;
    Box::pin(calls.of_modules()).await;
    Box::pin(calls.of_twins()).await;
    Box::pin(calls.of_configurations()).await;
    Box::pin(calls.of_transfers()).await;
    Box::pin(calls.of_methods()).await;
    Box::pin(calls.of_the_hub()).await;
    Box::pin(calls.by_other_ways_in()).await;
    calls.used
}

struct Calls<'p> {
    proxy: &'p Proxy,
    hub: HubClient,
    string: String,
    options: ClientOptions,
    used: BTreeSet<String>,
}

impl Calls<'_> {
    /// Makes one call by `method`, under `name`. It must succeed.
    fn call<'a, T: 'a, E: Debug + 'a>(
        &'a mut self,
        method: &'a str,
        name: &'a str,
        call: impl Future<Output = Result<T, E>> + 'a,
    ) -> LocalBoxFuture<'a, T> {
        let attempt = self.attempt(method, name, call);
        Box::pin(async move {
            let result = attempt.await;
            result.unwrap_or_else(|error| panic!("{name}: {error:?}"))
        })
    }

    /// As [`Self::call`], for a call that the hub may refuse.
    fn attempt<'a, T: 'a, E: 'a>(
        &'a mut self,
        method: &'a str,
        name: &'a str,
        call: impl Future<Output = Result<T, E>> + 'a,
    ) -> LocalBoxFuture<'a, Result<T, E>> {
        Box::pin(async move {
            self.proxy.label(name);
            self.used.insert(method.to_owned());
            let result = call.await;
            self.proxy.label("");
            result
        })
    }

    async fn of_jobs(&mut self) {
        let jobs = self.hub.jobs();
        let late = ScheduleOptions {
            start_time: Some(scene::START.parse().unwrap()),
            window: Some(Duration::from_secs(scene::WINDOW_S)),
        };
        let (method, twin) = (
            "JobClient::schedule_device_method",
            "JobClient::schedule_twin_update",
        );
        let nobody = scene::NOBODY;
        let call = jobs.schedule_device_method("job-m", nobody, blink(), None);
        self.call(method, "JobClient.scheduleDeviceMethod", call)
            .await;
        let call = jobs.schedule_device_method("job-m-late", nobody, blink(), late);
        self.call(method, "JobClient.scheduleDeviceMethod: at a time", call)
            .await;
        let call = jobs.schedule_twin_update("job-t", nobody, patch(), None);
        self.call(twin, "JobClient.scheduleTwinUpdate", call).await;
        let call = jobs.schedule_twin_update("job-t-late", nobody, patch(), late);
        self.call(twin, "JobClient.scheduleTwinUpdate: at a time", call)
            .await;
        self.call(
            "JobClient::get_job",
            "JobClient.getJob",
            jobs.get_job("job-m"),
        )
        .await;
        let call = jobs.cancel_job("job-m-late");
        self.call("JobClient::cancel_job", "JobClient.cancelJob", call)
            .await;
        let list = "JobClient::query_jobs";
        let call = jobs.query_jobs(None, None).collect();
        self.call(list, "JobClient.createQuery", call).await;
        let filtered = jobs.query_jobs(
            Some(JobType::ScheduleUpdateTwin),
            Some(JobStatus::Scheduled),
        );
        let call = filtered.page_items(1).collect();
        self.call(list, "JobClient.createQuery: filtered, in pages", call)
            .await;
        let call = jobs.device_jobs("job-t").collect();
        self.call("JobClient::device_jobs", "device_jobs", call)
            .await;
        let mut monitor = jobs.monitor("job-t");
        let ended = async {
            while monitor.try_next().await?.is_some() {}
            Ok::<(), fanfare_client::Error>(())
        };
        self.call("JobClient::monitor", "monitor", ended).await;
    }

    async fn of_twins(&mut self) {
        let (twins, queries) = (self.hub.twins(), self.hub.queries());
        let (get, change, id) = ("TwinClient::get", "TwinClient::patch", scene::KEYED);
        self.call(get, "Registry.getTwin", twins.get(id)).await;
        let patch = patch();
        let call = twins.patch(id, &patch, None);
        self.call(change, "Registry.updateTwin", call).await;
        let twin = twins.get(id).await.unwrap();
        let call = twins.patch(id, &patch, twin.etag);
        let twin = self
            .call(change, "Registry.updateTwin: with an etag", call)
            .await;
        self.call(get, "Twin.get", twins.get(id)).await;
        let call = twins.patch(id, &patch, twin.etag);
        self.call(change, "Twin.update", call).await;
        let whole = scene::twin();
        let call = twins.replace(id, &whole, None);
        self.call("TwinClient::replace", "replace", call).await;
        let call = queries.query::<Value>(scene::QUERY).collect();
        self.call("QueryClient::query", "Registry.createQuery", call)
            .await;
        let call = queries.twins(scene::QUERY).page_items(2).collect();
        self.call("QueryClient::twins", "Registry.createQuery: in pages", call)
            .await;
    }

    async fn of_methods(&mut self) {
        let methods = self.hub.methods();
        let (invoke, online) = ("MethodClient::invoke", format!("{}-0", scene::ONLINE));
        let call = methods.invoke(&online, blink());
        self.call(invoke, "Client.invokeDeviceMethod", call).await;
        let patient = blink()
            .response_timeout(Duration::from_secs(12))
            .connect_timeout(Duration::from_secs(7));
        let call = methods.invoke(&online, patient);
        self.call(invoke, "Client.invokeDeviceMethod: with time-outs", call)
            .await;
        let call = methods.invoke((&*online, scene::ONLINE_MODULE), blink());
        let name = "Client.invokeDeviceMethod: of a module";
        self.attempt(invoke, name, call)
            .await
            .expect_err("no module is there");
    }

    async fn of_the_hub(&mut self) {
        let hub = self.hub.clone();
        self.call("HubClient::metrics", "metrics", hub.metrics())
            .await;
        self.call("HubClient::profile", "profile", hub.profile())
            .await;
    }

    async fn by_other_ways_in(&mut self) {
        let (string, options) = (self.string.clone(), self.options.clone());
        let get = "JobClient::get_job";
        let list = "RegistryClient::list_devices";
        let jobs = JobClient::from_connection_string(&string, options.clone()).unwrap();
        self.call(get, "JobClient.fromConnectionString", jobs.get_job("job-m"))
            .await;
        let registry = RegistryClient::from_connection_string(&string, options.clone()).unwrap();
        let call = registry.list_devices(None);
        self.call(list, "Registry.fromConnectionString", call).await;

        let signature = signature(&string);
        let jobs = JobClient::from_shared_access_signature(&signature, options.clone()).unwrap();
        self.call(
            get,
            "JobClient.fromSharedAccessSignature",
            jobs.get_job("job-m"),
        )
        .await;
        let registry =
            RegistryClient::from_shared_access_signature(&signature, options.clone()).unwrap();
        let call = registry.list_devices(None);
        self.call(list, "Registry.fromSharedAccessSignature", call)
            .await;

        let host = scene::ADDRESS;
        let jobs = JobClient::from_token_credential(host, SignedIn, options.clone()).unwrap();
        // Whether the hub believes the token does not matter here.
        let _ = self
            .attempt(get, "JobClient.fromTokenCredential", jobs.get_job("job-m"))
            .await;
        let registry = RegistryClient::from_token_credential(host, SignedIn, options).unwrap();
        let call = registry.list_devices(None);
        let _ = self
            .attempt(list, "Registry.fromTokenCredential", call)
            .await;
    }
}

fn blink() -> DeviceMethod {
    serde_json::from_value(scene::method()).unwrap()
}

fn patch() -> TwinPatch {
    serde_json::from_value(scene::patch()).unwrap()
}

fn keys() -> Authentication {
    Authentication::keys(scene::KEY, scene::KEY)
}

/// A ready-made signature for the policy of a connection string.
fn signature(string: &str) -> String {
    let parts = fanfare_wire::connection_string::ConnectionString::parse(string).unwrap();
    let expiry = in_an_hour()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    fanfare_wire::sas::sign(&fanfare_wire::sas::SasGrant {
        resource: &parts.host_name,
        key: parts.key.as_ref().unwrap().expose(),
        policy: parts.policy.as_deref(),
        expiry: expiry.try_into().unwrap(),
    })
    .unwrap()
}

/// Always has the token of the scene.
#[derive(Debug)]
struct SignedIn;

impl TokenCredential for SignedIn {
    fn token<'a>(
        &'a self,
        _scopes: &'a [&'a str],
    ) -> BoxFuture<'a, Result<AccessToken, CredentialError>> {
        Box::pin(async move { Ok(AccessToken::new(scene::BEARER, in_an_hour())) })
    }
}
