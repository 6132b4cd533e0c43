"""Bearer tokens of a real OpenID provider, as the service SDK fetches and sends them. The hub is one of its own, whose
issuer runs beside it, with a certificate of a private authority."""

import os
from unittest import mock

from azure.iot.hub import IoTHubConfigurationManager, IoTHubJobManager, IoTHubRegistryManager
from azure.iot.hub.models import (
    CloudToDeviceMethod,
    Configuration,
    ConfigurationContent,
    JobRequest,
    QuerySpecification,
    Twin,
    TwinProperties,
)
from msrest.exceptions import HttpOperationError

import hub as hubs
import suite
from issuer import Issuer
from scene import Scene, until
from test_service import new_job_id

ADDRESS = "127.0.0.117"
ISSUER_ADDRESS = "127.0.0.116"
# The hub asks an issuer for keys that a token names at most every 30 s.
NEW_KEYS_SECONDS_MAX = 120
NOBODY = "deviceId = 'nobody'"


class Tokens(Scene):
    @classmethod
    def setUpClass(cls):
        cls.issuer = Issuer(ISSUER_ADDRESS)
        cls.addClassCleanup(cls.issuer.close)
        cls.issuer.start()
        flags = ["--token-issuer", cls.issuer.url, "--token-ca-file", str(cls.issuer.ca_file)]
        cls.hub = hubs.Hub(suite.HUB.binary, ADDRESS, flags)
        cls.addClassCleanup(cls.hub.remove_data)
        cls.addClassCleanup(lambda: cls.hub.process.poll() is None and cls.hub.kill9())
        cls.hub.start()
        trusted = {name: str(cls.hub.ca_file) for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")}
        patched = mock.patch.dict(os.environ, trusted)
        patched.start()
        cls.addClassCleanup(patched.stop)
        cls.registry, cls.jobs, cls.configurations = cls.signed_in("contributor")
        until(lambda: is_taken(cls.registry), "the keys of the issuer", NEW_KEYS_SECONDS_MAX)

    @classmethod
    def signed_in(cls, client):
        """The service SDK's classes with a credential of this client."""
        kinds = (IoTHubRegistryManager, IoTHubJobManager, IoTHubConfigurationManager)
        return [kind.from_token_credential(ADDRESS, cls.issuer.credential(client)) for kind in kinds]

    def echo(self, payload):
        return CloudToDeviceMethod(
            method_name="echo", payload=payload, response_timeout_in_seconds=20, connect_timeout_in_seconds=20
        )

    def test_a_device_is_made_called_and_patched(self):
        """IoTHubRegistryManager.from_token_credential, IoTHubConfigurationManager.from_token_credential: a device is made, called, patched and configured"""
        device = self.connect("py-signed-in", self.create("py-signed-in"))
        self.assertEqual(self.registry.invoke_device_method("py-signed-in", self.echo("now")).payload, "now")
        self.assertEqual(device.calls, [("echo", "now")])
        patch = Twin(tags={"building": "43"}, properties=TwinProperties(desired={"floor": 3}))
        self.assertEqual(self.registry.update_twin("py-signed-in", patch).tags, {"building": "43"})
        query = QuerySpecification(query="SELECT * FROM devices WHERE tags.building = '43'")
        found = self.registry.query_iot_hub(query).items
        self.assertEqual([twin.device_id for twin in found], ["py-signed-in"])
        content = ConfigurationContent(device_content={"properties.desired.floor": 4})
        lights = Configuration(id="lights", content=content, target_condition="tags.building = '44'", priority=1)
        self.configurations.create_configuration(lights)
        self.assertEqual(self.configurations.get_configuration("lights").priority, 1)

    def test_a_method_job_and_a_twin_job(self):
        """IoTHubJobManager.from_token_credential: a method job and a twin job, which say who made them"""
        self.connect("py-on-the-job", self.create("py-on-the-job"))
        condition = "deviceId IN ['py-on-the-job']"
        patch = Twin(etag="*", properties=TwinProperties(desired={"building": "43"}))
        for request in (
            JobRequest(type="scheduleDeviceMethod", cloud_to_device_method=self.echo(1), query_condition=condition),
            JobRequest(type="scheduleUpdateTwin", update_twin=patch, query_condition=condition),
        ):
            job_id = new_job_id()
            self.jobs.create_scheduled_job(job_id, request)
            job = self.wait_for_end(job_id)
            self.assertEqual((job.status, self.rows(job_id)["py-on-the-job"].status), ("completed", "completed"))
            creator = {"issuer": self.issuer.url, "subject": "contributor", "app": "contributor"}
            self.assertEqual(job.additional_properties["fanfare"]["createdBy"], creator)
        twin = self.registry.get_twin("py-on-the-job")
        self.assertEqual(twin.properties.desired["building"], "43")

    def test_whoever_may_read_may_not_write(self):
        """IoTHubRegistryManager.from_token_credential, IoTHubJobManager.from_token_credential, IoTHubConfigurationManager.from_token_credential, refused: roles that grant less"""
        self.create("py-witness")
        patch = Twin(etag="*", tags={"a": 1})
        job_id = new_job_id()
        request = JobRequest(type="scheduleUpdateTwin", update_twin=patch, query_condition=NOBODY)
        self.jobs.create_scheduled_job(job_id, request)
        content = ConfigurationContent(device_content={})
        for client in ("reader", "nobody", "stranger"):
            registry, jobs, configurations = self.signed_in(client)
            reading = (
                lambda: registry.get_device("py-witness"),
                lambda: registry.get_twin("py-witness"),
                lambda: jobs.get_scheduled_job(job_id),
                lambda: configurations.get_configurations(),
            )
            writing = (
                lambda: registry.delete_device("py-witness"),
                lambda: registry.update_twin("py-witness", patch),
                lambda: registry.invoke_device_method("py-witness", self.echo(1)),
                lambda: jobs.create_scheduled_job(new_job_id(), request),
                lambda: jobs.cancel_scheduled_job(job_id),
                lambda: configurations.create_configuration(Configuration(id="c", content=content, priority=1)),
            )
            for call in reading:
                if client == "reader":
                    call()
                else:
                    self.assert_refused(401, "IotHubUnauthorizedAccess", call)
            for call in writing:
                self.assert_refused(401, "IotHubUnauthorizedAccess", call)
        self.assertEqual(self.registry.get_device("py-witness").device_id, "py-witness")

    def test_the_issuer_changes_its_keys_while_the_hub_runs(self):
        self.create("py-lasting")
        old = self.signed_in("contributor")[0]
        old.get_device("py-lasting")
        self.issuer.rotate()
        new = self.signed_in("contributor")[0]
        until(lambda: is_taken(new), "the new keys", NEW_KEYS_SECONDS_MAX)
        # Its token is kept by the SDK, and nobody publishes the key that signed it any more.
        self.assertFalse(is_taken(old))
        type(self).registry, type(self).jobs, type(self).configurations = self.signed_in("contributor")
        self.issuer.stop()
        self.assertEqual(new.get_device("py-lasting").device_id, "py-lasting")
        self.issuer.start()


def is_taken(registry):
    """Whether the hub takes this client's token; raises what is no refusal of it."""
    try:
        registry.get_devices(1)
    except HttpOperationError as error:
        if error.response.status_code != 401:
            raise
        return False
    return True
