"""The service SDK's configurations: kept, tested, applied."""

import unittest

from azure.iot.hub import IoTHubConfigurationManager
from azure.iot.hub.models import (
    Configuration,
    ConfigurationContent,
    ConfigurationMetrics,
    ConfigurationQueriesTestInput,
)

from scene import Scene


class Configurations(Scene):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        owner = cls.hub.connection_string("iothubowner")
        cls.configurations = IoTHubConfigurationManager.from_connection_string(owner)

    def make(self, name, **more):
        content = ConfigurationContent(device_content={"properties.desired.place": {"floor": 3}})
        fields = {
            "id": name,
            "schema_version": "1.0",
            "labels": {"made": "here"},
            "content": content,
            "target_condition": f"tags.group='{name}'",
            "priority": 10,
            "metrics": ConfigurationMetrics(queries={"all": "SELECT deviceId FROM devices"}),
        }
        return Configuration(**{**fields, **more})

    def test_a_configuration_comes_and_goes(self):
        """IoTHubConfigurationManager.from_connection_string, IoTHubConfigurationManager.create_configuration, IoTHubConfigurationManager.get_configuration, IoTHubConfigurationManager.update_configuration, IoTHubConfigurationManager.delete_configuration: it comes, changes and goes"""
        sent = self.make("py-kept")
        made = self.configurations.create_configuration(sent)
        self.assertTrue(made.etag)
        read = self.configurations.get_configuration("py-kept")
        self.assertEqual(read.content.device_content, sent.content.device_content)
        self.assertEqual((read.labels, read.priority, read.target_condition), (sent.labels, 10, sent.target_condition))
        self.assertEqual(read.metrics.queries, sent.metrics.queries)
        self.assertIsNotNone(read.created_time_utc)
        changed = self.configurations.update_configuration(self.make("py-kept", priority=20), read.etag)
        self.assertEqual(changed.priority, 20)
        self.configurations.delete_configuration("py-kept")
        self.assert_refused(404, "ConfigurationNotFound", lambda: self.configurations.get_configuration("py-kept"))

    def test_a_configuration_is_refused(self):
        """IoTHubConfigurationManager.create_configuration, IoTHubConfigurationManager.get_configuration, IoTHubConfigurationManager.update_configuration, IoTHubConfigurationManager.delete_configuration, refused: taken, missing, another etag"""
        made = self.configurations.create_configuration(self.make("py-guarded"))
        make = lambda: self.configurations.create_configuration(self.make("py-guarded"))
        self.assert_refused(409, "ConfigurationAlreadyExists", make)
        self.configurations.update_configuration(self.make("py-guarded", priority=11), made.etag)
        change = lambda: self.configurations.update_configuration(self.make("py-guarded"), made.etag)
        self.assert_refused(412, "PreconditionFailed", change)
        self.assert_refused(412, "PreconditionFailed", lambda: self.configurations.delete_configuration("py-guarded", made.etag))
        self.assert_refused(404, "ConfigurationNotFound", lambda: self.configurations.delete_configuration("py-absent"))
        self.assert_refused(404, "ConfigurationNotFound", lambda: self.configurations.get_configuration("py-absent"))

    def test_the_list(self):
        """IoTHubConfigurationManager.get_configurations: all of them, or as many as asked for"""
        for name in ("py-listed-1", "py-listed-2"):
            self.configurations.create_configuration(self.make(name))
        names = [each.id for each in self.configurations.get_configurations()]
        self.assertLessEqual({"py-listed-1", "py-listed-2"}, set(names))
        self.assertEqual(len(self.configurations.get_configurations(1)), 1)

    def test_queries_are_tried(self):
        """IoTHubConfigurationManager.test_configuration_queries: errors are told, one by one"""
        tried = self.configurations.test_configuration_queries(
            ConfigurationQueriesTestInput(
                target_condition="tags.a = 1",
                custom_metric_queries={"fine": "SELECT deviceId FROM devices", "broken": "SELECT FROM"},
            )
        )
        self.assertFalse(tried.target_condition_error)
        self.assertTrue(tried.custom_metric_query_errors["broken"])
        self.assertFalse(tried.custom_metric_query_errors.get("fine"))
        tried = self.configurations.test_configuration_queries(
            ConfigurationQueriesTestInput(target_condition="tags.a =", custom_metric_queries={})
        )
        self.assertTrue(tried.target_condition_error)

    def test_content_is_applied(self):
        """IoTHubConfigurationManager.apply_configuration_on_edge_device: modules get theirs at once"""
        self.registry.create_device_with_sas("py-edge", None, None, "enabled", iot_edge=True)
        content = ConfigurationContent(
            modules_content={
                "$edgeAgent": {"properties.desired": {"schemaVersion": "1.0"}},
                "$edgeHub": {"properties.desired": {"routes": {}}},
            }
        )
        self.configurations.apply_configuration_on_edge_device("py-edge", content)
        desired = self.registry.get_module_twin("py-edge", "$edgeAgent").properties.desired
        self.assertEqual(desired["schemaVersion"], "1.0")

    def test_nothing_is_applied(self):
        """IoTHubConfigurationManager.apply_configuration_on_edge_device, IoTHubConfigurationManager.test_configuration_queries, refused: an unknown device, no rights"""
        content = ConfigurationContent(modules_content={"$edgeAgent": {"properties.desired": {"a": 1}}})
        call = lambda: self.configurations.apply_configuration_on_edge_device("nobody", content)
        self.assert_refused(404, "DeviceNotFound", call)
        stranger = IoTHubConfigurationManager.from_connection_string(self.hub.connection_string("device"))
        tried = ConfigurationQueriesTestInput(target_condition="tags.a = 1", custom_metric_queries={})
        self.assert_refused(401, "IotHubUnauthorizedAccess", lambda: stranger.test_configuration_queries(tried))


if __name__ == "__main__":
    unittest.main()
