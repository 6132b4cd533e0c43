"""Devices and modules with certificates, as `openssl` makes them: by thumbprint and below an authority."""

import json
import shutil
import ssl
import subprocess
import tempfile
import urllib.request
import uuid
from datetime import datetime, timezone
from pathlib import Path

from azure.iot.device import IoTHubDeviceClient, IoTHubModuleClient, MethodResponse, X509
from azure.iot.device.exceptions import CredentialError
from azure.iot.hub.models import CloudToDeviceMethod, JobRequest

from scene import Scene
from test_openapi import token

KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Certificates(Scene):
    def setUp(self):
        self.desk = Path(tempfile.mkdtemp(prefix="fanfare-x509-"))
        self.addCleanup(shutil.rmtree, self.desk)

    def openssl(self, *words):
        subprocess.run(["openssl", *words], cwd=self.desk, check=True, capture_output=True)

    def self_signed(self, name, subject):
        files = ("-keyout", f"{name}.key", "-out", f"{name}.pem")
        self.openssl("req", "-x509", *KEY, *files, "-days", "30", "-subj", subject)

    def below(self, authority, name, subject):
        self.openssl("req", *KEY, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", subject)
        by = ("-CA", f"{authority}.pem", "-CAkey", f"{authority}.key", "-CAcreateserial")
        self.openssl("x509", "-req", "-in", f"{name}.csr", *by, "-days", "30", "-out", f"{name}.pem")

    def thumbprint(self, name, hash_name="sha1"):
        words = ["openssl", "x509", "-in", f"{name}.pem", "-noout", "-fingerprint", f"-{hash_name}"]
        printed = subprocess.run(words, cwd=self.desk, check=True, capture_output=True, text=True).stdout
        return printed.strip().split("=")[1].replace(":", "")

    def x509(self, name):
        return X509(cert_file=str(self.desk / f"{name}.pem"), key_file=str(self.desk / f"{name}.key"))

    def text(self, name):
        return (self.desk / f"{name}.pem").read_text()

    def ask(self, method, path, body=None):
        url = f"https://{self.hub.address}/fanfare/v1/authorities/{path}"
        request = urllib.request.Request(url, method=method)
        request.add_header("Authorization", token(self.hub.connection_string("iothubowner")))
        data = None if body is None else json.dumps(body).encode()
        context = ssl.create_default_context(cafile=str(self.hub.ca_file))
        with urllib.request.urlopen(request, data, timeout=20, context=context) as reply:
            return json.loads(reply.read() or b"null")

    def prove(self, name):
        """Uploads an authority and proves that we have its key."""
        self.ask("PUT", name, {"certificate": self.text(name)})
        code = self.ask("POST", f"{name}/code")["verificationCode"]
        self.below(name, "proof", f"/CN={code}")
        verified = self.ask("POST", f"{name}/verify", {"certificate": self.text("proof")})
        self.assertTrue(verified["isVerified"])

    def open(self, client):
        """Connects a client that answers every method with status 200 and its own payload."""
        self.addCleanup(client.shutdown)

        def answer(request):
            client.send_method_response(MethodResponse.create_from_method_request(request, 200, request.payload))

        client.connect()
        client.on_method_request_received = answer
        return client

    def device(self, name, device_id):
        return IoTHubDeviceClient.create_from_x509_certificate(self.x509(name), self.hub.address, device_id)

    def echo(self, payload):
        return CloudToDeviceMethod(
            method_name="echo", payload=payload, response_timeout_in_seconds=20, connect_timeout_in_seconds=20
        )

    def test_a_self_signed_certificate(self):
        """IoTHubDeviceClient.create_from_x509_certificate: a self-signed certificate lets its device in"""
        self.self_signed("self", "/CN=whoever")
        self.registry.create_device_with_x509("py-self", self.thumbprint("self"), None, "enabled")
        self.open(self.device("self", "py-self"))
        self.assertEqual(self.registry.invoke_device_method("py-self", self.echo("hello")).payload, "hello")

    def test_another_certificate(self):
        """IoTHubDeviceClient.create_from_x509_certificate, IoTHubDeviceClient.connect, refused: another certificate than the identity names"""
        self.self_signed("right", "/CN=py-strict")
        self.self_signed("wrong", "/CN=py-strict")
        self.registry.create_device_with_x509("py-strict", self.thumbprint("right", "sha256"), None, "enabled")
        with self.assertRaises(CredentialError):
            self.open(self.device("wrong", "py-strict"))
        self.open(self.device("right", "py-strict"))

    def test_a_certificate_is_renewed_while_its_device_is_connected(self):
        self.self_signed("old", "/CN=py-renewed")
        self.self_signed("new", "/CN=py-renewed")
        old, new = self.thumbprint("old"), self.thumbprint("new")
        made = self.registry.create_device_with_x509("py-renewed", old, None, "enabled")
        device = self.open(self.device("old", "py-renewed"))
        renewed = self.registry.update_device_with_x509("py-renewed", made.etag, old, new, "enabled")
        self.assertEqual(self.registry.invoke_device_method("py-renewed", self.echo("still")).payload, "still")
        device.disconnect()
        self.open(self.device("new", "py-renewed"))
        self.registry.update_device_with_x509("py-renewed", renewed.etag, new, None, "enabled")
        self.assertEqual(self.registry.invoke_device_method("py-renewed", self.echo("now")).payload, "now")
        with self.assertRaises(CredentialError):
            self.open(self.device("old", "py-renewed"))

    def test_an_authority(self):
        """IoTHubDeviceClient.create_from_x509_certificate: a job reaches a device below an authority"""
        self.self_signed("py-acme", "/CN=Acme devices")
        self.prove("py-acme")
        self.below("py-acme", "leaf", "/CN=py-x509-ca")
        self.registry.create_device_with_certificate_authority("py-x509-ca", "enabled")
        self.open(self.device("leaf", "py-x509-ca"))
        job_id = str(uuid.uuid4())
        request = JobRequest(
            job_id=job_id,
            type="scheduleDeviceMethod",
            start_time=datetime.now(timezone.utc).isoformat(),
            max_execution_time_in_seconds=60,
            cloud_to_device_method=self.echo("hello"),
            query_condition="deviceId IN ['py-x509-ca']",
        )
        self.jobs.create_scheduled_job(job_id, request)
        job = self.wait_for_end(job_id)
        self.assertEqual((job.status, self.rows(job_id)["py-x509-ca"].status), ("completed", "completed"))

    def test_modules(self):
        """IoTHubModuleClient.create_from_x509_certificate: modules with certificates, by thumbprint and below an authority"""
        self.self_signed("py-works", "/CN=Works")
        self.prove("py-works")
        self.self_signed("self", "/CN=pump")
        self.below("py-works", "leaf", "/CN=py-x509-host\\/valve")
        self.create("py-x509-host")
        self.registry.create_module_with_x509("py-x509-host", "pump", "us", self.thumbprint("self"), None)
        self.registry.create_module_with_certificate_authority("py-x509-host", "valve", "us")
        for name, module in (("self", "pump"), ("leaf", "valve")):
            client = IoTHubModuleClient.create_from_x509_certificate(
                self.x509(name), self.hub.address, "py-x509-host", module
            )
            self.open(client)
            result = self.registry.invoke_device_module_method("py-x509-host", module, self.echo(module))
            self.assertEqual(result.payload, module)

    def test_a_module_with_another_certificate(self):
        """IoTHubModuleClient.create_from_x509_certificate, IoTHubModuleClient.connect, refused: another certificate than the identity names, its device's too"""
        self.self_signed("right", "/CN=pump")
        self.self_signed("wrong", "/CN=pump")
        self.registry.create_device_with_x509("py-x509-strict", self.thumbprint("wrong"), None, "enabled")
        self.registry.create_module_with_x509("py-x509-strict", "pump", "us", self.thumbprint("right"), None)

        def module(name):
            return IoTHubModuleClient.create_from_x509_certificate(
                self.x509(name), self.hub.address, "py-x509-strict", "pump"
            )

        with self.assertRaises(CredentialError):
            self.open(module("wrong"))
        self.open(module("right"))
