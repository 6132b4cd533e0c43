"""The device SDK: methods and twins across cuts, renewals and a crash of the hub. It never subscribes a second
time, so everything after the first connection rests on the hub's durable sessions."""

import ssl
import threading
import unittest

from azure.iot.device import Message
from azure.iot.device.exceptions import ClientError, CredentialError, ServiceError
from azure.iot.hub.models import CloudToDeviceMethod, Twin, TwinProperties

from raw_mqtt import Connection, evict
from scene import Scene


class Devices(Scene):
    def call(self, device_id, payload):
        """A direct method that may wait for the device to become ready; returns the payload that came back."""
        method = CloudToDeviceMethod(
            method_name="echo", payload=payload, response_timeout_in_seconds=20, connect_timeout_in_seconds=20
        )
        result = self.registry.invoke_device_method(device_id, method)
        self.assertEqual(result.status, 200)
        return result.payload

    def desire(self, device_id, desired):
        self.registry.update_twin(device_id, Twin(properties=TwinProperties(desired=desired)))

    def test_methods_go_on_after_a_cut(self):
        """line 1: methods go on after a cut"""
        key = self.create("py-cut")
        client = self.connect("py-cut", key)
        self.assertEqual(self.call("py-cut", {"n": 1}), {"n": 1})
        evict(self.hub, "py-cut", key)
        self.assertEqual(self.call("py-cut", {"n": 2}), {"n": 2})
        self.assertEqual(len(client.calls), 2)

    def test_twin_goes_on_after_a_cut(self):
        """line 2: the twin goes on after a cut"""
        key = self.create("py-cut-twin")
        client = self.connect("py-cut-twin", key)
        heard = Heard()
        client.on_twin_desired_properties_patch_received = heard.hear
        self.assertEqual(client.get_twin()["desired"], {"$version": 1})
        evict(self.hub, "py-cut-twin", key)
        self.desire("py-cut-twin", {"step": 1})
        self.assertEqual(heard.wait("step"), 1)
        self.assertEqual(client.get_twin()["desired"], {"step": 1, "$version": 2})

    def test_tokens_renew_twice(self):
        """line 3: tokens renew twice

        The SDK renews 120 s before the end, so a life of 124 s means a new connection every 4 s.
        """
        key = self.create("py-renew")
        client = self.connect("py-renew", key, sastoken_ttl=124)
        self.assertEqual(self.call("py-renew", "before"), "before")
        client.connections.wait_for(3)
        self.assertEqual(self.call("py-renew", "after"), "after")

    def test_an_illegal_report_raises_and_the_client_lives(self):
        """line 5, IoTHubDeviceClient.patch_twin_reported_properties, refused: an illegal report raises and the client lives"""
        client = self.connect("py-illegal", self.create("py-illegal"))
        for patch in ({"a.b": 1}, {"$own": 1}, {"long": "x" * 4097}):
            with self.assertRaises(ClientError) as raised:
                client.patch_twin_reported_properties(patch)
            self.assertIsInstance(raised.exception.__cause__, ServiceError)
        client.patch_twin_reported_properties({"fine": True})
        reported = self.registry.get_twin("py-illegal").properties.reported
        self.assertEqual((reported["fine"], reported["$version"]), (True, 2))

    def test_tls_1_2_is_enough(self):
        """line 6: TLS 1.2 is enough

        This SDK offers nothing newer (its context is PROTOCOL_TLSv1_2); the raw one proves the version.
        """
        key = self.create("py-tls")
        old = Connection(self.hub, "py-tls", key, maximum_tls=ssl.TLSVersion.TLSv1_2)
        self.assertEqual((old.tls, old.code), ("TLSv1.2", 0))
        client = self.connect("py-tls", key)
        self.assertTrue(client.connected)
        old.wait_closed()

    def test_telemetry_is_acknowledged(self):
        """IoTHubDeviceClient.send_message: telemetry is acknowledged"""
        client = self.connect("py-telemetry", self.create("py-telemetry"))
        message = Message('{"t": 1}', message_id="id 1", content_encoding="utf-8", content_type="application/json")
        message.custom_properties["a b"] = "c/d&e"
        for _ in range(10):
            client.send_message(message)

    def test_a_wrong_key_is_a_credential_error(self):
        """IoTHubDeviceClient.connect, refused: a wrong key is a credential error"""
        self.create("py-wrong")
        with self.assertRaises(CredentialError):
            self.connect("py-wrong", "d3Jvbmcga2V5IHdyb25nIGtleSB3cm9uZyBrZXkhISE=")

    def test_a_crash_of_the_hub_is_a_dropped_connection(self):
        key = self.create("py-crash")
        client = self.connect("py-crash", key, connection_retry_interval=1)
        heard = Heard()
        client.on_twin_desired_properties_patch_received = heard.hear
        client.get_twin()
        self.assertEqual(self.call("py-crash", 1), 1)
        self.hub.kill9()
        self.hub.start()
        self.assertEqual(self.call("py-crash", 2), 2)
        self.desire("py-crash", {"after": "crash"})
        self.assertEqual(heard.wait("after"), "crash")
        self.assertEqual([payload for _, payload in client.calls], [1, 2])


class Heard:
    """Desired patches as they arrive on the SDK's thread."""

    def __init__(self):
        self.patches = []
        self.changed = threading.Condition()

    def hear(self, patch):
        with self.changed:
            self.patches.append(patch)
            self.changed.notify_all()

    def wait(self, name):
        """The value of `name` in the first patch that carries it."""
        with self.changed:
            if not self.changed.wait_for(lambda: any(name in patch for patch in self.patches), 20):
                raise AssertionError(f"no patch with {name} in {self.patches}")
            return next(patch[name] for patch in self.patches if name in patch)


if __name__ == "__main__":
    unittest.main()
