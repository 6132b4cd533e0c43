"""The service SDK's registry, call by call: every way to make a device or module, twins replaced whole, methods
of modules, statistics; each with its likeliest refusal."""

import base64
import secrets
import unittest

from azure.iot.device import IoTHubModuleClient, MethodResponse
from azure.iot.hub import IoTHubRegistryManager
from azure.iot.hub.models import CloudToDeviceMethod, ExportImportDevice, QuerySpecification, Twin, TwinProperties

from scene import Scene

THUMBPRINT = "0123456789ABCDEF0123456789ABCDEF01234567"
OTHER_THUMBPRINT = "F" * 40


def new_key():
    return base64.b64encode(secrets.token_bytes(32)).decode()


class Devices(Scene):
    def test_the_manager_is_made_from_a_connection_string(self):
        """IoTHubRegistryManager.from_connection_string: a policy that may read reads"""
        reader = IoTHubRegistryManager.from_connection_string(self.hub.connection_string("registryRead"))
        self.create("py-reader")
        self.assertEqual(reader.get_device("py-reader").device_id, "py-reader")
        self.assert_refused(401, "IotHubUnauthorizedAccess", lambda: reader.delete_device("py-reader"))

    def test_keys(self):
        """IoTHubRegistryManager.create_device_with_sas, IoTHubRegistryManager.update_device_with_sas, IoTHubRegistryManager.delete_device, refused: taken, another etag, missing"""
        key = self.create("py-sas")
        make = lambda: self.registry.create_device_with_sas("py-sas", key, key, "enabled")
        self.assert_refused(409, "DeviceAlreadyExists", make)
        stale = self.registry.get_device("py-sas").etag
        self.registry.update_device_with_sas("py-sas", stale, key, new_key(), "enabled")
        change = lambda: self.registry.update_device_with_sas("py-sas", stale, key, key, "enabled")
        self.assert_refused(412, "PreconditionFailed", change)
        self.assert_refused(412, "PreconditionFailed", lambda: self.registry.delete_device("py-sas", stale))
        self.registry.delete_device("py-sas")
        self.assert_refused(404, "DeviceNotFound", lambda: self.registry.delete_device("py-sas"))

    def test_thumbprints(self):
        """IoTHubRegistryManager.create_device_with_x509, IoTHubRegistryManager.update_device_with_x509: thumbprints are kept"""
        made = self.registry.create_device_with_x509("py-x509", THUMBPRINT, THUMBPRINT, "enabled")
        self.assertEqual(made.authentication.type, "selfSigned")
        changed = self.registry.update_device_with_x509("py-x509", made.etag, THUMBPRINT, OTHER_THUMBPRINT, "disabled")
        self.assertEqual(changed.authentication.x509_thumbprint.secondary_thumbprint, OTHER_THUMBPRINT)
        self.assertEqual(changed.status, "disabled")

    def test_thumbprints_refused(self):
        """IoTHubRegistryManager.create_device_with_x509, IoTHubRegistryManager.update_device_with_x509, refused: no thumbprint, another etag"""
        make = lambda: self.registry.create_device_with_x509("py-x509-bad", "no hex", None, "enabled")
        self.assert_refused(400, "ArgumentInvalid", make)
        made = self.registry.create_device_with_x509("py-x509-old", THUMBPRINT, THUMBPRINT, "enabled")
        self.registry.update_device_with_x509("py-x509-old", made.etag, THUMBPRINT, THUMBPRINT, "disabled")
        change = lambda: self.registry.update_device_with_x509("py-x509-old", made.etag, THUMBPRINT, THUMBPRINT, "enabled")
        self.assert_refused(412, "PreconditionFailed", change)

    def test_authorities(self):
        """IoTHubRegistryManager.create_device_with_certificate_authority, IoTHubRegistryManager.update_device_with_certificate_authority: the kind is kept"""
        made = self.registry.create_device_with_certificate_authority("py-ca", "enabled")
        self.assertEqual(made.authentication.type, "certificateAuthority")
        changed = self.registry.update_device_with_certificate_authority("py-ca", made.etag, "disabled")
        self.assertEqual((changed.status, changed.authentication.type), ("disabled", "certificateAuthority"))

    def test_authorities_refused(self):
        """IoTHubRegistryManager.create_device_with_certificate_authority, IoTHubRegistryManager.update_device_with_certificate_authority, refused: taken, missing"""
        made = self.registry.create_device_with_certificate_authority("py-ca-2", "enabled")
        make = lambda: self.registry.create_device_with_certificate_authority("py-ca-2", "enabled")
        self.assert_refused(409, "DeviceAlreadyExists", make)
        change = lambda: self.registry.update_device_with_certificate_authority("py-ca-absent", made.etag, "enabled")
        self.assert_refused(404, "DeviceNotFound", change)

    def test_a_bulk_call_that_fails_says_where(self):
        """IoTHubRegistryManager.bulk_create_or_update_devices, refused: each bad item has its error, the others are done"""
        self.create("py-bulk-there")
        items = [
            ExportImportDevice(id="py-bulk-there", import_mode="create"),
            ExportImportDevice(id="py-bulk-fine", import_mode="create"),
            ExportImportDevice(id="py-bulk-absent", import_mode="delete"),
        ]
        result = self.registry.bulk_create_or_update_devices(items)
        self.assertFalse(result.is_successful)
        errors = {error.device_id: error.error_code for error in result.errors}
        self.assertEqual(errors, {"py-bulk-there": "DeviceAlreadyExists", "py-bulk-absent": "DeviceNotFound"})
        self.assertEqual(self.registry.get_device("py-bulk-fine").status, "enabled")

    def test_statistics(self):
        """IoTHubRegistryManager.get_device_registry_statistics, IoTHubRegistryManager.get_service_statistics: devices and connections in numbers"""
        before = self.registry.get_device_registry_statistics()
        self.connect("py-counted", self.create("py-counted"))
        after = self.registry.get_device_registry_statistics()
        self.assertGreater(after.total_device_count, before.total_device_count)
        self.assertGreaterEqual(self.registry.get_service_statistics().connected_device_count, 1)

    def test_a_query_of_no_meaning(self):
        """IoTHubRegistryManager.query_iot_hub, refused: a text that is no query"""
        query = QuerySpecification(query="SELECT FROM devices")
        self.assert_refused(400, "ArgumentInvalid", lambda: self.registry.query_iot_hub(query))


class Twins(Scene):
    def test_a_twin_is_replaced(self):
        """IoTHubRegistryManager.replace_twin: what is not sent goes, a section that is not sent stays"""
        self.create("py-replace")
        whole = Twin(tags={"a": 1, "b": {"c": 2}}, properties=TwinProperties(desired={"x": 1, "y": 2}))
        twin = self.registry.update_twin("py-replace", whole)
        replaced = self.registry.replace_twin("py-replace", Twin(tags={"b": {"d": 3}}), twin.etag)
        self.assertEqual(replaced.tags, {"b": {"d": 3}})
        self.assertEqual(replaced.properties.desired["x"], 1)
        replaced = self.registry.replace_twin("py-replace", Twin(properties=TwinProperties(desired={"y": 5})))
        self.assertEqual(self.values(replaced.properties.desired), {"y": 5})
        self.assertEqual(replaced.properties.desired["$version"], 3)

    def test_a_twin_is_not_replaced(self):
        """IoTHubRegistryManager.replace_twin, IoTHubRegistryManager.update_twin, IoTHubRegistryManager.get_twin, refused: another etag, a bad key, missing"""
        self.create("py-replace-not")
        stale = self.registry.get_twin("py-replace-not").etag
        self.registry.update_twin("py-replace-not", Twin(tags={"a": 1}))
        for change in (self.registry.replace_twin, self.registry.update_twin):
            self.assert_refused(412, "PreconditionFailed", lambda: change("py-replace-not", Twin(tags={"a": 2}), stale))
            self.assert_refused(400, "ArgumentInvalid", lambda: change("py-replace-not", Twin(tags={"a.b": 2})))
            self.assert_refused(404, "DeviceNotFound", lambda: change("nobody", Twin(tags={"a": 2})))
        self.assert_refused(404, "DeviceNotFound", lambda: self.registry.get_twin("nobody"))
        self.assertEqual(self.registry.get_twin("py-replace-not").tags, {"a": 1})

    @staticmethod
    def values(section):
        return {name: value for name, value in section.items() if not name.startswith("$")}


class Modules(Scene):
    def make(self, device_id, module_id="m"):
        self.create(device_id)
        key = new_key()
        return self.registry.create_module_with_sas(device_id, module_id, "us", key, new_key())

    def test_modules_come_and_go(self):
        """IoTHubRegistryManager.create_module_with_sas, IoTHubRegistryManager.update_module_with_sas, IoTHubRegistryManager.get_module, IoTHubRegistryManager.get_modules, IoTHubRegistryManager.delete_module: a module comes, changes and goes"""
        made = self.make("py-host")
        self.assertEqual((made.device_id, made.module_id, made.managed_by), ("py-host", "m", "us"))
        key = new_key()
        changed = self.registry.update_module_with_sas("py-host", "m", "them", made.etag, key, key)
        self.assertEqual(changed.managed_by, "them")
        read = self.registry.get_module("py-host", "m")
        self.assertEqual(read.authentication.symmetric_key.primary_key, key)
        self.assertEqual([module.module_id for module in self.registry.get_modules("py-host")], ["m"])
        self.registry.delete_module("py-host", "m")
        self.assertEqual(self.registry.get_modules("py-host"), [])

    def test_modules_refused(self):
        """IoTHubRegistryManager.create_module_with_sas, IoTHubRegistryManager.update_module_with_sas, IoTHubRegistryManager.get_module, IoTHubRegistryManager.get_modules, IoTHubRegistryManager.delete_module, refused: taken, missing, another etag"""
        made = self.make("py-host-2")
        key = new_key()
        again = lambda device_id: self.registry.create_module_with_sas(device_id, "m", "us", key, key)
        self.assert_refused(409, "ModuleAlreadyExistsOnDevice", lambda: again("py-host-2"))
        self.assert_refused(404, "DeviceNotFound", lambda: again("nobody"))
        self.registry.update_module_with_sas("py-host-2", "m", "them", made.etag, key, key)
        change = lambda: self.registry.update_module_with_sas("py-host-2", "m", "x", made.etag, key, key)
        self.assert_refused(412, "PreconditionFailed", change)
        self.assert_refused(412, "PreconditionFailed", lambda: self.registry.delete_module("py-host-2", "m", made.etag))
        self.assert_refused(404, "ModuleNotFound", lambda: self.registry.get_module("py-host-2", "absent"))
        self.assert_refused(404, "ModuleNotFound", lambda: self.registry.delete_module("py-host-2", "absent"))
        self.assert_refused(404, "DeviceNotFound", lambda: self.registry.get_modules("nobody"))

    def test_modules_with_certificates(self):
        """IoTHubRegistryManager.create_module_with_x509, IoTHubRegistryManager.update_module_with_x509, IoTHubRegistryManager.create_module_with_certificate_authority, IoTHubRegistryManager.update_module_with_certificate_authority: the kind is kept"""
        self.create("py-host-x")
        made = self.registry.create_module_with_x509("py-host-x", "t", "us", THUMBPRINT, THUMBPRINT)
        self.assertEqual(made.authentication.type, "selfSigned")
        changed = self.registry.update_module_with_x509("py-host-x", "t", "us", made.etag, THUMBPRINT, OTHER_THUMBPRINT)
        self.assertEqual(changed.authentication.x509_thumbprint.secondary_thumbprint, OTHER_THUMBPRINT)
        made = self.registry.create_module_with_certificate_authority("py-host-x", "c", "us")
        self.assertEqual(made.authentication.type, "certificateAuthority")
        changed = self.registry.update_module_with_certificate_authority("py-host-x", "c", "them", made.etag)
        self.assertEqual(changed.managed_by, "them")

    def test_modules_with_certificates_refused(self):
        """IoTHubRegistryManager.create_module_with_x509, IoTHubRegistryManager.update_module_with_x509, IoTHubRegistryManager.create_module_with_certificate_authority, IoTHubRegistryManager.update_module_with_certificate_authority, refused: missing, another etag"""
        self.create("py-host-y")
        made = self.registry.create_module_with_x509("py-host-y", "t", "us", THUMBPRINT, THUMBPRINT)
        self.registry.update_module_with_x509("py-host-y", "t", "them", made.etag, THUMBPRINT, THUMBPRINT)
        change = lambda: self.registry.update_module_with_x509("py-host-y", "t", "x", made.etag, THUMBPRINT, THUMBPRINT)
        self.assert_refused(412, "PreconditionFailed", change)
        make = lambda: self.registry.create_module_with_x509("nobody", "t", "us", THUMBPRINT, THUMBPRINT)
        self.assert_refused(404, "DeviceNotFound", make)
        make = lambda: self.registry.create_module_with_certificate_authority("nobody", "t", "us")
        self.assert_refused(404, "DeviceNotFound", make)
        change = lambda: self.registry.update_module_with_certificate_authority("py-host-y", "absent", "us", made.etag)
        self.assert_refused(404, "ModuleNotFound", change)

    def test_twins_of_modules(self):
        """IoTHubRegistryManager.get_module_twin, IoTHubRegistryManager.update_module_twin, IoTHubRegistryManager.replace_module_twin: merge and replace"""
        self.make("py-host-t")
        twin = self.registry.get_module_twin("py-host-t", "m")
        self.assertEqual((twin.module_id, twin.properties.desired["$version"]), ("m", 1))
        twin = self.registry.update_module_twin("py-host-t", "m", Twin(tags={"a": 1, "b": 2}), twin.etag)
        self.assertEqual(twin.tags, {"a": 1, "b": 2})
        twin = self.registry.replace_module_twin("py-host-t", "m", Twin(tags={"c": 3}), twin.etag)
        self.assertEqual(twin.tags, {"c": 3})

    def test_twins_of_modules_refused(self):
        """IoTHubRegistryManager.get_module_twin, IoTHubRegistryManager.update_module_twin, IoTHubRegistryManager.replace_module_twin, refused: missing, another etag"""
        self.make("py-host-u")
        stale = self.registry.get_module_twin("py-host-u", "m").etag
        self.registry.update_module_twin("py-host-u", "m", Twin(tags={"a": 1}))
        for change in (self.registry.update_module_twin, self.registry.replace_module_twin):
            self.assert_refused(412, "PreconditionFailed", lambda: change("py-host-u", "m", Twin(tags={"a": 2}), stale))
            self.assert_refused(404, "ModuleNotFound", lambda: change("py-host-u", "absent", Twin(tags={"a": 2})))
        self.assert_refused(404, "ModuleNotFound", lambda: self.registry.get_module_twin("py-host-u", "absent"))

    def test_a_method_of_a_module(self):
        """IoTHubRegistryManager.invoke_device_module_method, IoTHubModuleClient.create_from_connection_string, IoTHubModuleClient.on_method_request_received: a module answers"""
        made = self.make("py-host-m")
        key = made.authentication.symmetric_key.primary_key
        text = f"HostName={self.hub.address};DeviceId=py-host-m;ModuleId=m;SharedAccessKey={key}"
        client = IoTHubModuleClient.create_from_connection_string(text)
        self.addCleanup(client.shutdown)
        client.connect()
        client.on_method_request_received = lambda request: client.send_method_response(
            MethodResponse.create_from_method_request(request, 207, request.payload)
        )
        method = CloudToDeviceMethod(
            method_name="echo", payload={"n": 1}, response_timeout_in_seconds=20, connect_timeout_in_seconds=20
        )
        result = self.registry.invoke_device_module_method("py-host-m", "m", method)
        self.assertEqual((result.status, result.payload), (207, {"n": 1}))

    def test_methods_refused(self):
        """IoTHubRegistryManager.invoke_device_module_method, IoTHubRegistryManager.invoke_device_method, refused: unknown, offline"""
        self.make("py-host-n")
        method = CloudToDeviceMethod(method_name="echo", payload=None, response_timeout_in_seconds=5)
        call = lambda: self.registry.invoke_device_module_method("py-host-n", "absent", method)
        self.assert_refused(404, "ModuleNotFound", call)
        self.assert_refused(404, "DeviceNotFound", lambda: self.registry.invoke_device_method("nobody", method))
        for call in (
            lambda: self.registry.invoke_device_module_method("py-host-n", "m", method),
            lambda: self.registry.invoke_device_method("py-host-n", method),
        ):
            self.assertIn("404103", self.assert_http(404, call))


if __name__ == "__main__":
    unittest.main()
