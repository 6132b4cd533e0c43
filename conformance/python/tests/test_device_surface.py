"""The device SDK, call by call: devices and modules, each way to make a client, to hear and to tell."""

import base64
import hashlib
import hmac
import threading
import time
import unittest
import urllib.parse

from azure.iot.device import IoTHubDeviceClient, IoTHubModuleClient, Message, MethodResponse
from azure.iot.device.exceptions import ClientError, CredentialError
from azure.iot.hub.models import CloudToDeviceMethod, Twin, TwinProperties

from scene import Count, Scene


def token(resource, key, seconds=3600):
    """A token over `resource` that ends `seconds` from now."""
    expiry = int(time.time()) + seconds
    encoded = urllib.parse.quote(resource, safe="")
    digest = hmac.new(base64.b64decode(key), f"{encoded}\n{expiry}".encode(), hashlib.sha256).digest()
    signature = urllib.parse.quote(base64.b64encode(digest), safe="")
    return f"SharedAccessSignature sr={encoded}&sig={signature}&se={expiry}"


class Surface(Scene):
    """What a client of either kind does, with the SDK's names for it."""

    def method(self, payload):
        return CloudToDeviceMethod(
            method_name="echo", payload=payload, response_timeout_in_seconds=20, connect_timeout_in_seconds=20
        )

    def lives(self, client, call, desire, reported):
        """Connects, hears a method and a change by waiting for each, tells and leaves."""
        self.addCleanup(client.shutdown)
        seen = Count()
        client.on_connection_state_change = seen.add
        client.on_background_exception = lambda error: None
        client.connect()
        seen.wait_for(1)
        self.assertTrue(client.connected)
        answered = call({"n": 1}, lambda: self.answer_one(client))
        self.assertEqual((answered.status, answered.payload), (200, {"n": 1}))
        self.assertEqual(client.get_twin()["desired"]["$version"], 1)
        change = Later(lambda: client.receive_twin_desired_properties_patch(timeout=20))
        # Listening begins with the call above; what comes before it is in the twin.
        desire({"step": 1})
        patch = change.value()
        self.assertEqual(patch["step"] if patch else client.get_twin()["desired"]["step"], 1)
        client.patch_twin_reported_properties({"fw": "1.2"})
        self.assertEqual(reported()["fw"], "1.2")
        client.send_message(Message("text"))
        client.disconnect()
        self.assertFalse(client.connected)

    def renews(self, kind, resource, key):
        """A client made from a token of short life asks for another, is given it, and goes on."""
        # The SDK asks 120 s before the end.
        client = kind.create_from_sastoken(token(resource, key, 123))
        self.addCleanup(client.shutdown)
        asked = Count()

        def renew():
            client.update_sastoken(token(resource, key))
            asked.add()

        client.on_new_sastoken_required = renew
        client.connect()
        client.send_message(Message("before"))
        asked.wait_for(1)
        client.send_message(Message("after"))

    def answer_one(self, client):
        # Without a name: the SDK subscribes before it makes the queue of a name, and a request that is quick to come
        # goes to the queue of those that nobody has named.
        request = client.receive_method_request(timeout=20)
        client.send_method_response(MethodResponse.create_from_method_request(request, 200, request.payload))


class Later:
    """A call on a thread of its own, and its value."""

    def __init__(self, call):
        self.result = None
        self.thread = threading.Thread(target=lambda: setattr(self, "result", call()), daemon=True)
        self.thread.start()

    def value(self):
        self.thread.join(30)
        return self.result


class DeviceClients(Surface):
    def run_device(self, device_id, client):
        def call(payload, answer):
            answering = Later(answer)
            result = self.registry.invoke_device_method(device_id, self.method(payload))
            answering.value()
            return result

        desire = lambda desired: self.registry.update_twin(device_id, Twin(properties=TwinProperties(desired=desired)))
        self.lives(client, call, desire, lambda: self.registry.get_twin(device_id).properties.reported)

    def test_a_device_by_its_string(self):
        """IoTHubDeviceClient.create_from_connection_string, IoTHubDeviceClient.connect, IoTHubDeviceClient.connected, IoTHubDeviceClient.disconnect, IoTHubDeviceClient.shutdown, IoTHubDeviceClient.receive_method_request, IoTHubDeviceClient.send_method_response, IoTHubDeviceClient.get_twin, IoTHubDeviceClient.patch_twin_reported_properties, IoTHubDeviceClient.receive_twin_desired_properties_patch, IoTHubDeviceClient.on_connection_state_change, IoTHubDeviceClient.on_background_exception: a device lives"""
        key = self.create("py-lives")
        text = f"HostName={self.hub.address};DeviceId=py-lives;SharedAccessKey={key}"
        self.run_device("py-lives", IoTHubDeviceClient.create_from_connection_string(text))

    def test_a_device_by_its_key(self):
        """IoTHubDeviceClient.create_from_symmetric_key, IoTHubDeviceClient.on_method_request_received, IoTHubDeviceClient.on_twin_desired_properties_patch_received: handlers instead of waiting"""
        key = self.create("py-by-key")
        client = IoTHubDeviceClient.create_from_symmetric_key(key, self.hub.address, "py-by-key")
        self.addCleanup(client.shutdown)
        client.connect()
        heard = Count()
        client.on_method_request_received = lambda request: client.send_method_response(
            MethodResponse.create_from_method_request(request, 200, request.payload)
        )
        client.on_twin_desired_properties_patch_received = lambda patch: heard.add()
        client.get_twin()
        self.assertEqual(self.registry.invoke_device_method("py-by-key", self.method(7)).payload, 7)
        self.registry.update_twin("py-by-key", Twin(properties=TwinProperties(desired={"step": 1})))
        heard.wait_for(1)

    def test_a_device_by_a_token(self):
        """IoTHubDeviceClient.create_from_sastoken, IoTHubDeviceClient.update_sastoken, IoTHubDeviceClient.on_new_sastoken_required: a token made beforehand is replaced when asked for"""
        key = self.create("py-by-token")
        resource = f"{self.hub.address}/devices/py-by-token"
        self.renews(IoTHubDeviceClient, resource, key)


class ModuleClients(Surface):
    def make(self, device_id):
        self.create(device_id)
        keys = [base64.b64encode(bytes([fill]) * 32).decode() for fill in (1, 2)]
        module = self.registry.create_module_with_sas(device_id, "m", "us", *keys)
        return module.authentication.symmetric_key.primary_key

    def test_a_module_by_its_string(self):
        """line 14, IoTHubModuleClient.create_from_connection_string, IoTHubModuleClient.connect, IoTHubModuleClient.connected, IoTHubModuleClient.disconnect, IoTHubModuleClient.shutdown, IoTHubModuleClient.receive_method_request, IoTHubModuleClient.send_method_response, IoTHubModuleClient.get_twin, IoTHubModuleClient.patch_twin_reported_properties, IoTHubModuleClient.receive_twin_desired_properties_patch, IoTHubModuleClient.on_connection_state_change, IoTHubModuleClient.on_background_exception, IoTHubModuleClient.send_message: a module lives"""
        key = self.make("py-module")
        text = f"HostName={self.hub.address};DeviceId=py-module;ModuleId=m;SharedAccessKey={key}"

        def call(payload, answer):
            answering = Later(answer)
            result = self.registry.invoke_device_module_method("py-module", "m", self.method(payload))
            answering.value()
            return result

        def desire(desired):
            self.registry.update_module_twin("py-module", "m", Twin(properties=TwinProperties(desired=desired)))

        reported = lambda: self.registry.get_module_twin("py-module", "m").properties.reported
        self.lives(IoTHubModuleClient.create_from_connection_string(text), call, desire, reported)

    def test_outputs(self):
        """line 14, IoTHubModuleClient.send_message_to_output, IoTHubModuleClient.on_twin_desired_properties_patch_received: outputs are acknowledged, changes heard"""
        key = self.make("py-module-out")
        text = f"HostName={self.hub.address};DeviceId=py-module-out;ModuleId=m;SharedAccessKey={key}"
        client = IoTHubModuleClient.create_from_connection_string(text)
        self.addCleanup(client.shutdown)
        client.connect()
        message = Message('{"t": 1}')
        message.custom_properties["a b"] = "c/d"
        client.send_message_to_output(message, "out 1")
        heard = Count()
        client.on_twin_desired_properties_patch_received = lambda patch: heard.add()
        client.get_twin()
        self.registry.update_module_twin("py-module-out", "m", Twin(properties=TwinProperties(desired={"a": 1})))
        heard.wait_for(1)

    def test_a_module_by_a_token(self):
        """IoTHubModuleClient.create_from_sastoken, IoTHubModuleClient.update_sastoken, IoTHubModuleClient.on_new_sastoken_required: a token made beforehand is replaced when asked for"""
        key = self.make("py-module-token")
        resource = f"{self.hub.address}/devices/py-module-token/modules/m"
        self.renews(IoTHubModuleClient, resource, key)

    def test_a_module_is_refused(self):
        """IoTHubModuleClient.connect, IoTHubModuleClient.patch_twin_reported_properties, refused: a wrong key, an illegal report"""
        key = self.make("py-module-refused")
        text = f"HostName={self.hub.address};DeviceId=py-module-refused;ModuleId=m;SharedAccessKey="
        wrong = IoTHubModuleClient.create_from_connection_string(text + base64.b64encode(b"9" * 32).decode())
        self.addCleanup(wrong.shutdown)
        with self.assertRaises(CredentialError):
            wrong.connect()
        client = IoTHubModuleClient.create_from_connection_string(text + key)
        self.addCleanup(client.shutdown)
        client.connect()
        with self.assertRaises(ClientError):
            client.patch_twin_reported_properties({"a.b": 1})


if __name__ == "__main__":
    unittest.main()
