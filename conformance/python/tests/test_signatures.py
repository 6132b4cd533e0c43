"""Shared access signatures that `fanfare sas` made: of a policy in the service SDK's hands, of a device and of a policy
in a device's, and keys that change while a device is connected."""

import base64
import secrets

from azure.iot.device import IoTHubDeviceClient, IoTHubModuleClient, MethodResponse
from azure.iot.device.exceptions import CredentialError
from azure.iot.hub import IoTHubJobManager
from azure.iot.hub.models import CloudToDeviceMethod, JobRequest
from msrest.authentication import Authentication

from scene import Scene
from test_service import new_job_id


class Signature(Authentication):
    """A token made beforehand; the service SDK itself only makes its own, from a connection string."""

    def __init__(self, token):
        self.token = token

    def signed_session(self, session=None):
        session = super().signed_session(session)
        session.headers[self.header] = self.token
        return session


def fresh_key():
    return base64.b64encode(secrets.token_bytes(32)).decode()


class Signatures(Scene):
    def echo(self, payload):
        return CloudToDeviceMethod(
            method_name="echo", payload=payload, response_timeout_in_seconds=20, connect_timeout_in_seconds=20
        )

    def echoed(self, device_id, payload):
        return self.registry.invoke_device_method(device_id, self.echo(payload)).payload

    def open(self, client):
        """Connects a client that answers every method with status 200 and its own payload."""
        self.addCleanup(client.shutdown)

        def answer(request):
            client.send_method_response(MethodResponse.create_from_method_request(request, 200, request.payload))

        client.connect()
        client.on_method_request_received = answer
        return client

    def jobs_with(self, policy):
        return IoTHubJobManager(host=self.hub.address, auth=Signature(self.hub.sas("--policy", policy)))

    def test_the_article_with_a_signature_of_registry_read_write(self):
        """IoTHubJobManager.create_scheduled_job, IoTHubJobManager.get_scheduled_job: a job with a token made beforehand"""
        self.connect("py-signed-for", self.create("py-signed-for"))
        job_id = new_job_id()
        request = JobRequest(
            type="scheduleDeviceMethod",
            cloud_to_device_method=self.echo(1),
            query_condition="deviceId IN ['py-signed-for']",
        )
        self.jobs_with("registryReadWrite").create_scheduled_job(job_id, request)
        job = self.wait_for_end(job_id)
        self.assertEqual((job.status, self.rows(job_id)["py-signed-for"].status), ("completed", "completed"))
        self.assertEqual(job.additional_properties["fanfare"]["createdBy"], {"policy": "registryReadWrite"})

    def test_a_signature_of_a_policy_without_rights(self):
        """IoTHubJobManager.get_scheduled_job, refused: a token of the policy device"""
        devices = self.jobs_with("device")
        self.assert_refused(401, "IotHubUnauthorizedAccess", lambda: devices.get_scheduled_job("j"))

    def test_devices_and_modules_with_signatures(self):
        """IoTHubDeviceClient.create_from_sastoken, IoTHubModuleClient.create_from_sastoken: tokens of an own key and of a policy"""
        key = self.create("py-signed-in")
        self.registry.create_module_with_sas("py-signed-in", "pump", "us", key, fresh_key())
        for flags in (("--device", "py-signed-in"), ("--policy", "device", "--device", "py-signed-in")):
            client = IoTHubDeviceClient.create_from_sastoken(self.hub.sas(*flags))
            self.open(client)
            self.assertEqual(self.echoed("py-signed-in", flags[0]), flags[0])
            client.disconnect()
        module = ("--device", "py-signed-in", "--module", "pump")
        for flags in (module, ("--policy", "device", *module)):
            client = IoTHubModuleClient.create_from_sastoken(self.hub.sas(*flags))
            self.open(client)
            result = self.registry.invoke_device_module_method("py-signed-in", "pump", self.echo(flags[0]))
            self.assertEqual(result.payload, flags[0])
            client.disconnect()
        without = self.hub.sas("--policy", "service", "--device", "py-signed-in")
        with self.assertRaises(CredentialError):
            self.open(IoTHubDeviceClient.create_from_sastoken(without))

    def test_keys_change_while_the_device_is_connected(self):
        """IoTHubDeviceClient.create_from_connection_string, IoTHubRegistryManager.update_device_with_sas: one key after the other"""
        old, secondary, new = fresh_key(), fresh_key(), fresh_key()
        made = self.registry.create_device_with_sas("py-rekeyed", old, secondary, "enabled")
        device = self.connect("py-rekeyed", secondary)
        changed = self.registry.update_device_with_sas("py-rekeyed", made.etag, new, secondary, "enabled")
        self.assertEqual(self.echoed("py-rekeyed", 1), 1)
        device.disconnect()
        with self.assertRaises(CredentialError):
            self.connect("py-rekeyed", old)
        self.connect("py-rekeyed", new)
        self.registry.update_device_with_sas("py-rekeyed", changed.etag, new, fresh_key(), "enabled")
        self.assertEqual(self.echoed("py-rekeyed", 2), 2)
        with self.assertRaises(CredentialError):
            self.connect("py-rekeyed", secondary)
