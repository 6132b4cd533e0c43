"""The service SDK: one method job, one twin job, their rows, the list, a cancel, and the registry around them."""

import unittest
import uuid
from datetime import datetime, timedelta, timezone

from azure.iot.hub.models import (
    CloudToDeviceMethod,
    ExportImportDevice,
    JobRequest,
    QuerySpecification,
    Twin,
    TwinProperties,
)
from msrest.exceptions import HttpOperationError

from scene import Scene


def new_job_id():
    return str(uuid.uuid4())


def in_an_hour():
    return datetime.now(timezone.utc) + timedelta(hours=1)


class Jobs(Scene):
    def test_a_method_job_reaches_a_device_and_leaves_its_row(self):
        """IoTHubJobManager.create_scheduled_job, IoTHubJobManager.from_connection_string: a method job reaches a device and leaves its row"""
        self.connect("py-method", self.create("py-method"))
        self.create("py-method-off")
        job_id = new_job_id()
        request = JobRequest(
            job_id=job_id,
            type="scheduleDeviceMethod",
            cloud_to_device_method=CloudToDeviceMethod(
                method_name="lockDoor", payload={"n": 1}, response_timeout_in_seconds=10
            ),
            query_condition="deviceId IN ['py-method','py-method-off']",
            start_time=datetime.now(timezone.utc),
            max_execution_time_in_seconds=4,
        )
        accepted = self.jobs.create_scheduled_job(job_id, request)
        self.assertEqual((accepted.job_id, accepted.type, accepted.status), (job_id, request.type, "queued"))
        job = self.wait_for_end(job_id)
        self.assertEqual(job.status, "completed")
        self.assertEqual(job.query_condition, request.query_condition)
        self.assertEqual(job.max_execution_time_in_seconds, 4)
        counts = job.device_job_statistics
        self.assertEqual((counts.device_count, counts.succeeded_count, counts.failed_count), (2, 1, 1))
        rows = self.rows(job_id)
        self.assertEqual(rows["py-method"].status, "completed")
        outcome = rows["py-method"].additional_properties["outcome"]
        self.assertEqual(outcome, {"deviceMethodResponse": {"status": 200, "payload": {"n": 1}}})
        self.assertEqual(rows["py-method-off"].status, "failed")
        self.assertEqual(rows["py-method-off"].additional_properties["error"]["code"], "JobRunPreconditionFailed")

    def test_a_twin_job_patches_the_twin(self):
        self.create("py-twin")
        job_id = new_job_id()
        patch = Twin(etag="*", tags={"ring": 2}, properties=TwinProperties(desired={"building": "43", "floor": 3}))
        request = JobRequest(type="scheduleUpdateTwin", update_twin=patch, query_condition="deviceId = 'py-twin'")
        self.jobs.create_scheduled_job(job_id, request)
        job = self.wait_for_end(job_id)
        self.assertEqual(job.status, "completed")
        self.assertEqual(job.update_twin.etag, "*")
        self.assertEqual(job.update_twin.properties.desired, {"building": "43", "floor": 3})
        self.assertEqual(job.max_execution_time_in_seconds, 3600)
        self.assertEqual(self.rows(job_id)["py-twin"].additional_properties["outcome"], {})
        twin = self.registry.get_twin("py-twin")
        self.assertEqual((twin.tags, twin.properties.desired["floor"]), ({"ring": 2}, 3))

    def test_the_list_is_what_this_sdk_can_parse(self):
        """IoTHubJobManager.query_scheduled_jobs, IoTHubJobManager.get_scheduled_job, IoTHubJobManager.cancel_scheduled_job: the list is what this SDK can parse"""
        job_id = new_job_id()
        request = JobRequest(
            type="scheduleUpdateTwin",
            update_twin=Twin(etag="*", tags={"a": 1}),
            query_condition="deviceId = 'nobody'",
            start_time=in_an_hour(),
        )
        self.jobs.create_scheduled_job(job_id, request)
        found = self.jobs.query_scheduled_jobs("scheduleUpdateTwin", None)
        self.assertIn(job_id, [job["jobId"] for job in found.items])
        # The same request again, as this SDK sends it when a reply was lost, is no conflict.
        self.assertEqual(self.jobs.create_scheduled_job(job_id, request).job_id, job_id)

        self.assertIn(self.jobs.get_scheduled_job(job_id).status, ("queued", "scheduled"))
        self.assertEqual(self.jobs.cancel_scheduled_job(job_id).status, "cancelled")
        listed = self.jobs.query_scheduled_jobs("scheduleUpdateTwin", "cancelled").items
        self.assertIn(job_id, [job["jobId"] for job in listed])

    def test_refusals_are_http_errors_with_a_readable_body(self):
        """IoTHubJobManager.create_scheduled_job, IoTHubJobManager.get_scheduled_job, IoTHubRegistryManager.get_device, refused: HTTP errors with a readable body"""
        patch = Twin(etag="*", tags={"a": 1})
        request = JobRequest(type="scheduleUpdateTwin", update_twin=patch, query_condition="tags.a = ")
        self.assert_refused(400, "ArgumentInvalid", lambda: self.jobs.create_scheduled_job(new_job_id(), request))
        self.assert_refused(404, "JobNotFound", lambda: self.jobs.get_scheduled_job("never-scheduled"))
        self.assert_refused(404, "DeviceNotFound", lambda: self.registry.get_device("nobody"))


class MoreOfJobs(Scene):
    def test_lists_and_cancels_are_refused(self):
        """IoTHubJobManager.cancel_scheduled_job, IoTHubJobManager.query_scheduled_jobs, refused: unknown, ended, a status that is none"""
        self.assert_refused(404, "JobNotFound", lambda: self.jobs.cancel_scheduled_job("never-scheduled"))
        job_id = new_job_id()
        patch = Twin(etag="*", tags={"a": 1})
        request = JobRequest(type="scheduleUpdateTwin", update_twin=patch, query_condition="deviceId = 'nobody'")
        self.jobs.create_scheduled_job(job_id, request)
        self.wait_for_end(job_id)
        cancel = lambda: self.jobs.cancel_scheduled_job(job_id)
        self.assert_refused(405, "OperationNotAllowedInCurrentState", cancel)
        self.assert_refused(400, "ArgumentInvalid", lambda: self.jobs.query_scheduled_jobs(None, "sleeping"))

    def test_a_method_is_called(self):
        """IoTHubRegistryManager.invoke_device_method: a device answers"""
        self.connect("py-called", self.create("py-called"))
        method = CloudToDeviceMethod(
            method_name="echo", payload={"n": 1}, response_timeout_in_seconds=20, connect_timeout_in_seconds=20
        )
        result = self.registry.invoke_device_method("py-called", method)
        self.assertEqual((result.status, result.payload), (200, {"n": 1}))


class RegistryAndTwins(Scene):
    def test_identities_come_and_go(self):
        """IoTHubRegistryManager.create_device_with_sas, IoTHubRegistryManager.update_device_with_sas, IoTHubRegistryManager.get_device, IoTHubRegistryManager.get_devices, IoTHubRegistryManager.delete_device: identities come and go"""
        key = self.create("py-identity")
        device = self.registry.get_device("py-identity")
        updated = self.registry.update_device_with_sas("py-identity", device.etag, key, key, "disabled")
        self.assertEqual(updated.status, "disabled")
        with self.assertRaises(HttpOperationError) as raised:
            self.registry.update_device_with_sas("py-identity", device.etag, key, key, "enabled")
        self.assertEqual(raised.exception.response.status_code, 412)
        self.assertIn("py-identity", [each.device_id for each in self.registry.get_devices()])
        self.registry.delete_device("py-identity")
        with self.assertRaises(HttpOperationError):
            self.registry.get_device("py-identity")

    def test_bulk_creates(self):
        """IoTHubRegistryManager.bulk_create_or_update_devices: bulk creates, and names what failed"""
        bulk = [ExportImportDevice(id=f"py-bulk-{n}", import_mode="create", status="enabled") for n in range(3)]
        self.assertTrue(self.registry.bulk_create_or_update_devices(bulk).is_successful)
        again = self.registry.bulk_create_or_update_devices(bulk)
        self.assertFalse(again.is_successful)
        self.assertEqual([each.error_code for each in again.errors], ["DeviceAlreadyExists"] * 3)

    def test_twins_merge_and_guard_their_etag(self):
        """IoTHubRegistryManager.get_twin, IoTHubRegistryManager.update_twin: twins merge and guard their etag"""
        self.create("py-merge")
        twin = self.registry.get_twin("py-merge")
        patch = Twin(tags={"a": 1, "b": 2}, properties=TwinProperties(desired={"x": {"y": 1}}))
        updated = self.registry.update_twin("py-merge", patch, twin.etag)
        self.assertEqual(updated.properties.desired["$version"], 2)
        updated = self.registry.update_twin("py-merge", Twin(tags={"a": None}), updated.etag)
        self.assertEqual(updated.tags, {"b": 2})
        with self.assertRaises(HttpOperationError) as raised:
            self.registry.update_twin("py-merge", Twin(tags={"a": 3}), twin.etag)
        self.assertEqual(raised.exception.response.status_code, 412)

    def test_queries_page(self):
        """IoTHubRegistryManager.query_iot_hub: queries page"""
        for n in range(3):
            self.create(f"py-query-{n}")
            self.registry.update_twin(f"py-query-{n}", Twin(tags={"set": "py-query"}))
        query = QuerySpecification(query="SELECT * FROM devices WHERE tags.set = 'py-query'")
        first = self.registry.query_iot_hub(query, None, 2)
        self.assertEqual((first.type, len(first.items)), ("Twin", 2))
        second = self.registry.query_iot_hub(query, first.continuation_token, 2)
        self.assertEqual((len(second.items), second.continuation_token), (1, None))


if __name__ == "__main__":
    unittest.main()
