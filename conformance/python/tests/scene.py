"""What every test needs: the hub's clients, devices that are cleaned up, and waiting for a job."""

import base64
import secrets
import threading
import time
import unittest

from azure.iot.device import IoTHubDeviceClient, MethodResponse
from azure.iot.hub import IoTHubJobManager, IoTHubRegistryManager
from azure.iot.hub.models import QuerySpecification
from msrest.exceptions import HttpOperationError

import suite

POLL_SECONDS = 0.2
WAIT_SECONDS_MAX = 30
ENDED = ("completed", "failed", "cancelled")


class Scene(unittest.TestCase):
    """A test against the running hub, as its owner, with `self.devices` closed at the end."""

    @classmethod
    def setUpClass(cls):
        cls.hub = suite.HUB
        owner = cls.hub.connection_string("iothubowner")
        cls.registry = IoTHubRegistryManager.from_connection_string(owner)
        cls.jobs = IoTHubJobManager.from_connection_string(cls.hub.connection_string("registryReadWrite"))

    def create(self, device_id):
        """Makes an identity with keys of our choice; returns its primary key."""
        primary, secondary = (base64.b64encode(secrets.token_bytes(32)).decode() for _ in range(2))
        device = self.registry.create_device_with_sas(device_id, primary, secondary, "enabled")
        self.assertEqual(device.authentication.symmetric_key.primary_key, primary)
        return primary

    def connect(self, device_id, key, **options):
        """Connects an SDK device that answers every method with status 200 and its own payload."""
        text = f"HostName={self.hub.address};DeviceId={device_id};SharedAccessKey={key}"
        client = IoTHubDeviceClient.create_from_connection_string(text, **options)
        self.addCleanup(client.shutdown)
        client.calls = []

        def answer(request):
            client.calls.append((request.name, request.payload))
            client.send_method_response(MethodResponse.create_from_method_request(request, 200, request.payload))

        client.connections = Count()
        client.on_connection_state_change = lambda: client.connected and client.connections.add()
        client.connect()
        client.on_method_request_received = answer
        return client

    def assert_refused(self, status, code, call):
        """`call` is answered with this HTTP status and the contract's name for the error."""
        self.assertIn(f"ErrorCode:{code};", self.assert_http(status, call))

    def assert_http(self, status, call):
        """`call` is answered with this HTTP status; returns the body."""
        with self.assertRaises(HttpOperationError) as raised:
            call()
        self.assertEqual(raised.exception.response.status_code, status)
        return raised.exception.response.text

    def rows(self, job_id):
        """The rows of a job by device id, read page by page."""
        query = QuerySpecification(query=f"SELECT * FROM devices.jobs WHERE devices.jobs.jobId = '{job_id}'")
        found, token = {}, None
        while True:
            page = self.registry.query_iot_hub(query, token, 2)
            self.assertEqual(page.type, "DeviceJob")
            for row in page.items:
                self.assertNotIn(row.device_id, found)
                found[row.device_id] = row
            token = page.continuation_token
            if not token:
                return found

    def wait_for_end(self, job_id):
        """Polls a job until it ends; counts must add up at every read."""

        def ended():
            job = self.jobs.get_scheduled_job(job_id)
            counts = job.device_job_statistics
            if counts is not None:
                parts = (counts.succeeded_count, counts.failed_count, counts.running_count, counts.pending_count)
                self.assertEqual(sum(parts), counts.device_count)
            return job if job.status in ENDED else None

        return until(ended, f"the end of job {job_id}")


class Count:
    """A number other threads raise and a test waits for."""

    def __init__(self):
        self.value = 0
        self.changed = threading.Condition()

    def add(self):
        with self.changed:
            self.value += 1
            self.changed.notify_all()

    def wait_for(self, value, seconds=WAIT_SECONDS_MAX):
        with self.changed:
            if not self.changed.wait_for(lambda: self.value >= value, seconds):
                raise AssertionError(f"after {seconds} s at {self.value}, waiting for {value}")


def until(probe, what, seconds=WAIT_SECONDS_MAX):
    """Calls `probe` every 200 ms until it returns something truthy, and returns that."""
    deadline = time.monotonic() + seconds
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds} s still waiting for {what}")
        time.sleep(POLL_SECONDS)
