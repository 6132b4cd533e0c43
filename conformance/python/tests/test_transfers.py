"""Import and export jobs, to and from folders of the hub: identities go out and come back."""

import json
import os
import socket
import time
import unittest

from azure.iot.hub import IoTHubJobManager
from azure.iot.hub.models import JobProperties

from scene import ENDED, POLL_SECONDS, Scene

WAIT_SECONDS_MAX = 60


class Transfers(Scene):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.manager = IoTHubJobManager.from_connection_string(cls.hub.connection_string("iothubowner"))

    def ended(self, job_id):
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while True:
            job = self.manager.get_import_export_job(job_id)
            if job.status in ENDED:
                return job
            self.assertLess(time.monotonic(), deadline, job)
            time.sleep(POLL_SECONDS)

    def lines(self, path):
        with open(os.path.join(self.hub.data_dir, "blobs", path), encoding="utf-8") as blob:
            return [json.loads(line) for line in blob]

    def test_identities_go_out_and_come_back(self):
        """IoTHubJobManager.create_import_export_job, IoTHubJobManager.get_import_export_job, IoTHubJobManager.get_import_export_jobs: identities go out and come back"""
        key = self.create("py-transfer")
        accepted = self.manager.create_import_export_job(
            JobProperties(type="export", output_blob_container_uri="file:py", exclude_keys_in_export=False)
        )
        self.assertEqual((accepted.type, accepted.progress), ("export", 0))
        job = self.ended(accepted.job_id)
        self.assertEqual((job.status, job.progress), ("completed", 100))
        self.assertLessEqual(job.start_time_utc, job.end_time_utc)
        self.assertEqual(job.output_blob_container_uri, "file:py")
        exported = {line["id"]: line for line in self.lines("py/devices.txt")}
        self.assertEqual(exported["py-transfer"]["authentication"]["symmetricKey"]["primaryKey"], key)
        self.assertIn(job.job_id, [listed.job_id for listed in self.manager.get_import_export_jobs()])

        self.registry.delete_device("py-transfer")
        back = self.manager.create_import_export_job(
            JobProperties(type="import", input_blob_container_uri="file:py", output_blob_container_uri="file:py-log")
        )
        self.assertEqual(self.ended(back.job_id).status, "completed")
        device = self.registry.get_device("py-transfer")
        self.assertEqual(device.authentication.symmetric_key.primary_key, key)
        self.assertEqual(self.lines("py-log/importErrors.log"), [])

    def test_a_job_is_cancelled(self):
        """IoTHubJobManager.cancel_import_export_job: a job that waits for its storage account ends at once"""
        with socket.create_server((self.hub.address, 0)) as silent:
            uri = f"http://{self.hub.address}:{silent.getsockname()[1]}/account/container?sig=x"
            job = self.manager.create_import_export_job(JobProperties(type="export", output_blob_container_uri=uri))
            silent.settimeout(WAIT_SECONDS_MAX)
            with silent.accept()[0]:
                self.assertEqual(self.manager.get_import_export_job(job.job_id).status, "running")
                self.manager.cancel_import_export_job(job.job_id)
                self.assertEqual(self.manager.get_import_export_job(job.job_id).status, "cancelled")

    def test_what_cannot_be_is_refused(self):
        """IoTHubJobManager.create_import_export_job, IoTHubJobManager.get_import_export_job, IoTHubJobManager.get_import_export_jobs, IoTHubJobManager.cancel_import_export_job, refused: each has its own code"""
        nowhere = JobProperties(type="export", output_blob_container_uri="ftp://nowhere")
        self.assert_refused(400, "ArgumentInvalid", lambda: self.manager.create_import_export_job(nowhere))
        self.assert_refused(404, "JobNotFound", lambda: self.manager.get_import_export_job("unknown"))
        self.assert_refused(404, "JobNotFound", lambda: self.manager.cancel_import_export_job("unknown"))
        stranger = IoTHubJobManager.from_connection_string(self.hub.connection_string("device"))
        self.assert_refused(401, "IotHubUnauthorizedAccess", lambda: stranger.get_import_export_jobs())
        done = self.manager.create_import_export_job(
            JobProperties(type="import", input_blob_container_uri="file:nothing", output_blob_container_uri="file:py-log")
        )
        failed = self.ended(done.job_id)
        self.assertEqual(failed.status, "failed")
        self.assertIn("does not exist", failed.failure_reason)
        self.assert_refused(405, "OperationNotAllowedInCurrentState", lambda: self.manager.cancel_import_export_job(done.job_id))


if __name__ == "__main__":
    unittest.main()
