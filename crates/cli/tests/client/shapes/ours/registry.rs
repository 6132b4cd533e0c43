//! The calls of the registry: identities one by one and many at once, configurations, transfers.

use fanfare_client::{
    Configuration, Device, ExportOptions, IdentityId, IdentityStatus, ImportOptions, KeyRenewal,
    Module, RegistryClient, StorageAccess, StorageAuthentication, TransferJob,
};

use super::{Calls, keys, patch};
use crate::shapes::scene;

impl Calls<'_> {
    pub(super) async fn of_devices(&mut self) {
        let registry = self.hub.registry();
        let (create, update) = (
            "RegistryClient::create_device",
            "RegistryClient::update_device",
        );
        let (plain, id) = (Device::new(scene::ID), scene::ID);
        self.call(create, "Registry.create", registry.create_device(&plain))
            .await;
        let keyed = Device::new(scene::KEYED).authentication(keys());
        self.call(
            create,
            "Registry.create: with keys",
            registry.create_device(&keyed),
        )
        .await;
        self.call(
            "RegistryClient::get_device",
            "Registry.get",
            registry.get_device(id),
        )
        .await;
        let disabled = plain.status(IdentityStatus::Disabled, "tested");
        let call = registry.update_device(&disabled, None);
        self.call(update, "Registry.update", call).await;
        let made = registry.get_device(id).await.unwrap();
        let call = registry.update_device(&disabled, made.etag);
        self.call(update, "update_device: with an etag", call).await;
        let list = "RegistryClient::list_devices";
        self.call(list, "Registry.list", registry.list_devices(None))
            .await;
        self.call(list, "list_devices: some", registry.list_devices(5))
            .await;
        let call = registry.device_statistics();
        let method = "RegistryClient::device_statistics";
        self.call(method, "Registry.getRegistryStatistics", call)
            .await;
        let call = registry.service_statistics();
        self.call(
            "RegistryClient::service_statistics",
            "service_statistics",
            call,
        )
        .await;
        let call = registry.purge_messages(scene::KEYED);
        self.call("RegistryClient::purge_messages", "purge_messages", call)
            .await;
        let ids = [IdentityId::device(scene::ID)];
        let call = registry.regenerate_keys(&ids, KeyRenewal::Primary);
        self.call("RegistryClient::regenerate_keys", "regenerate_keys", call)
            .await;
        let delete = "RegistryClient::delete_device";
        self.call(delete, "Registry.delete", registry.delete_device(id, None))
            .await;
    }

    pub(super) async fn of_many_devices(&mut self) {
        let registry = self.hub.registry();
        let many = ["b-1", "b-2"].map(Device::new);
        let call = registry.create_devices(&many);
        let made = self
            .call(
                "RegistryClient::create_devices",
                "Registry.addDevices",
                call,
            )
            .await;
        assert!(made.is_all_done(), "{made:?}");
        let keyed = many.map(|device| device.authentication(keys()));
        let call = registry.update_devices(&keyed);
        self.call(
            "RegistryClient::update_devices",
            "Registry.updateDevices",
            call,
        )
        .await;
        let mut first = keyed[0].clone();
        first.etag = registry.get_device("b-1").await.unwrap().etag;
        let marked = [first];
        let call = registry.update_devices_if_unchanged(&marked);
        let method = "RegistryClient::update_devices_if_unchanged";
        let done = self
            .call(method, "Registry.updateDevices: with an etag", call)
            .await;
        assert!(done.is_all_done(), "{done:?}");
        let call = registry.delete_devices(&["b-1"]);
        self.call(
            "RegistryClient::delete_devices",
            "Registry.removeDevices",
            call,
        )
        .await;
        let mut last = Device::new("b-2");
        last.etag = registry.get_device("b-2").await.unwrap().etag;
        let last = [last];
        let call = registry.delete_devices_if_unchanged(&last);
        let method = "RegistryClient::delete_devices_if_unchanged";
        let done = self
            .call(method, "Registry.removeDevices: with an etag", call)
            .await;
        assert!(done.is_all_done(), "{done:?}");
        let items = scene::bulk_items().map(|item| serde_json::from_value(item).unwrap());
        self.call("RegistryClient::bulk", "bulk", registry.bulk(&items))
            .await;
    }

    pub(super) async fn of_modules(&mut self) {
        let (registry, twins) = (self.hub.registry(), self.hub.twins());
        let (device, module) = (scene::KEYED, "m#1");
        let update = "RegistryClient::update_module";
        let new = Module::new(device, module);
        let call = registry.create_module(&new);
        self.call("RegistryClient::create_module", "Registry.addModule", call)
            .await;
        let call = registry.list_modules(device);
        self.call(
            "RegistryClient::list_modules",
            "Registry.getModulesOnDevice",
            call,
        )
        .await;
        let call = registry.get_module(device, module);
        self.call("RegistryClient::get_module", "Registry.getModule", call)
            .await;
        let changed = new.authentication(keys());
        let call = registry.update_module(&changed, None);
        self.call(update, "Registry.updateModule", call).await;
        let etag = registry.get_module(device, module).await.unwrap().etag;
        let call = registry.update_module(&changed, etag);
        self.call(update, "Registry.updateModule: with an etag", call)
            .await;
        let call = twins.get((device, module));
        self.call("TwinClient::get", "Registry.getModuleTwin", call)
            .await;
        let patch = patch();
        let call = twins.patch((device, module), &patch, None);
        self.call("TwinClient::patch", "Registry.updateModuleTwin", call)
            .await;
        let whole = scene::twin();
        let call = twins.replace((device, module), &whole, None);
        self.call("TwinClient::replace", "replace: module", call)
            .await;
        let call = registry.delete_module(device, module, None);
        self.call(
            "RegistryClient::delete_module",
            "Registry.removeModule",
            call,
        )
        .await;
    }

    pub(super) async fn of_configurations(&mut self) {
        let registry = self.hub.registry();
        let mut configuration: Configuration =
            serde_json::from_value(scene::configuration()).unwrap();
        let id = configuration.id.clone();
        let update = "RegistryClient::update_configuration";
        let call = registry.create_configuration(&configuration);
        self.call(
            "RegistryClient::create_configuration",
            "Registry.addConfiguration",
            call,
        )
        .await;
        let call = registry.get_configuration(&id);
        self.call(
            "RegistryClient::get_configuration",
            "Registry.getConfiguration",
            call,
        )
        .await;
        let list = "RegistryClient::list_configurations";
        let call = registry.list_configurations(None);
        self.call(list, "Registry.getConfigurations", call).await;
        let call = registry.list_configurations(7);
        self.call(list, "list_configurations: some", call).await;
        configuration.priority = 3;
        let call = registry.update_configuration(&configuration, None);
        self.call(update, "Registry.updateConfiguration", call)
            .await;
        let etag = registry.get_configuration(&id).await.unwrap().etag;
        configuration.priority = 4;
        let call = registry.update_configuration(&configuration, etag);
        self.call(update, "Registry.updateConfiguration: with an etag", call)
            .await;
        let call = registry.delete_configuration(&id, None);
        self.call(
            "RegistryClient::delete_configuration",
            "Registry.removeConfiguration",
            call,
        )
        .await;
        let content = configuration.content.unwrap();
        let call = registry.apply_configuration_content(scene::KEYED, &content);
        let name = "Registry.applyConfigurationContentOnDevice";
        self.call("RegistryClient::apply_configuration_content", name, call)
            .await;
        let metrics = [("all", scene::QUERY)];
        let call = registry.test_configuration_queries("tags.ring = 7", &metrics);
        let name = "test_configuration_queries";
        self.call("RegistryClient::test_configuration_queries", name, call)
            .await;
    }

    pub(super) async fn of_transfers(&mut self) {
        let registry = self.hub.registry();
        let [into, from] = scene::CONTAINERS;
        let by_identity = |user: Option<&str>| StorageAccess {
            authentication: Some(StorageAuthentication::IdentityBased),
            user_assigned_identity: user.map(str::to_owned),
        };
        let export = |exclude_keys, storage| ExportOptions {
            exclude_keys,
            storage,
            ..ExportOptions::default()
        };
        let import = |storage| ImportOptions {
            storage,
            ..ImportOptions::default()
        };
        let out = "RegistryClient::export_devices_to_blob";
        let inward = "RegistryClient::import_devices_from_blob";
        let call = registry.export_devices_to_blob(into, export(true, StorageAccess::default()));
        let first = self.call(out, "Registry.exportDevicesToBlob", call).await;
        ended(&registry, &first).await;
        let call = registry.export_devices_to_blob(into, export(false, by_identity(None)));
        let job = self
            .call(out, "Registry.exportDevicesToBlobByIdentity", call)
            .await;
        ended(&registry, &job).await;
        let call = registry.import_devices_from_blob(from, into, None);
        let job = self
            .call(inward, "Registry.importDevicesFromBlob", call)
            .await;
        ended(&registry, &job).await;
        let call = registry.import_devices_from_blob(from, into, import(by_identity(None)));
        let job = self
            .call(inward, "Registry.importDevicesFromBlobByIdentity", call)
            .await;
        ended(&registry, &job).await;
        let user = by_identity(Some(scene::IDENTITY));
        let call = registry.import_devices_from_blob(from, into, import(user.clone()));
        let name = "Registry.importDevicesFromBlobByIdentity: of a user";
        self.attempt(inward, name, call)
            .await
            .expect_err("an identity of another cloud");
        let call = registry.export_devices_to_blob(into, export(true, user));
        let name = "Registry.exportDevicesToBlobByIdentity: of a user";
        self.attempt(out, name, call)
            .await
            .expect_err("an identity of another cloud");
        let call = registry.transfer_jobs();
        self.call("RegistryClient::transfer_jobs", "Registry.listJobs", call)
            .await;
        let call = registry.transfer_job(&first.job_id);
        self.call("RegistryClient::transfer_job", "Registry.getJob", call)
            .await;
        let call = registry.cancel_transfer_job(&first.job_id);
        let method = "RegistryClient::cancel_transfer_job";
        // It has ended: what the hub says to that does not matter here.
        let _ = self.attempt(method, "Registry.cancelJob", call).await;
    }
}

/// Waits for a transfer: the hub runs one at a time.
async fn ended(registry: &RegistryClient, job: &TransferJob) {
    while !registry
        .transfer_job(&job.job_id)
        .await
        .unwrap()
        .status
        .is_terminal()
    {}
}
