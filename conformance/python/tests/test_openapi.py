"""The hub keeps to its own OpenAPI document, as schemathesis reads it: right and wrong requests to every route.

Runs against a hub of its own, since what is sent changes anything it can. The seed is fixed: two runs of one
hub judge alike, and `FANFARE_OPENAPI_SEED` tries another.
"""

import base64
import hashlib
import hmac
import json
import os
import ssl
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.parse
import urllib.request
from pathlib import Path

import hub as hubs
import suite

ADDRESS = "127.0.0.76"
SEED = os.environ.get("FANFARE_OPENAPI_SEED", "20310203")
EXAMPLES_PER_OPERATION = 10
RUN_SECONDS_MAX = 240
# What the document's examples name, so that not every request meets nothing.
DEVICE, MODULE, JOB, CONFIGURATION = "door-1", "lock", "tonight", "lights"
# Whose token the requests carry: a policy that no request names by chance and then deletes or gives other keys.
JUDGE = "judge-of-the-document"
RIGHTS = ["RegistryWrite", "ServiceConnect", "DeviceConnect"]
# Query parameters and headers that the hub does not know are ignored, as everywhere.
CONFIG = "[generation]\nallow-extra-parameters = false\n"

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "ignored_auth",
)


class OpenApi(unittest.TestCase):
    def setUp(self):
        self.hub = hubs.Hub(suite.HUB.binary, ADDRESS)
        self.addCleanup(self.hub.remove_data)
        self.addCleanup(lambda: self.hub.process.poll() is None and self.hub.kill9())
        self.hub.start()
        self.token = token(self.hub.connection_string("iothubowner"))
        self.ask("PUT", f"/fanfare/v1/policies/{JUDGE}", {"rights": RIGHTS})
        self.token = token(self.hub.connection_string(JUDGE))
        self.ask("PUT", f"/devices/{DEVICE}", {"deviceId": DEVICE})
        self.ask("PUT", f"/devices/{DEVICE}/modules/{MODULE}", {"deviceId": DEVICE, "moduleId": MODULE})
        tags = {"type": "scheduleUpdateTwin", "queryCondition": "*", "updateTwin": {"tags": {"building": "43"}}}
        self.ask("PUT", f"/jobs/v2/{JOB}", tags)
        self.ask("PUT", f"/configurations/{CONFIGURATION}", {"id": CONFIGURATION, "priority": 1, "content": {}})

    def ask(self, method, path, body=None):
        request = urllib.request.Request(f"https://{ADDRESS}{path}?api-version=2021-04-12", method=method)
        request.add_header("Authorization", self.token)
        data = None if body is None else json.dumps(body).encode()
        context = ssl.create_default_context(cafile=str(self.hub.ca_file))
        with urllib.request.urlopen(request, data, timeout=20, context=context) as reply:
            return json.load(reply)

    def document(self):
        """The document as it is served, but that no call waits for a device that never comes."""
        document = self.ask("GET", "/fanfare/v1/openapi.json")
        call = document["components"]["schemas"]["MethodRequest"]["properties"]
        call["connectTimeoutInSeconds"] = {"enum": [0, "0", None]}
        return document

    def test_every_answer_is_one_that_the_document_names(self):
        with tempfile.TemporaryDirectory(prefix="fanfare-openapi-") as folder:
            path = Path(folder) / "openapi.json"
            path.write_text(json.dumps(self.document()))
            (Path(folder) / "schemathesis.toml").write_text(CONFIG)
            command = [sys.executable, "-m", "schemathesis.cli", "run", str(path), "--url", f"https://{ADDRESS}"]
            command += ["--header", f"Authorization: {self.token}", "--tls-verify", str(self.hub.ca_file)]
            command += ["--checks", ",".join(CHECKS), "--phases", "examples,coverage,fuzzing"]
            command += ["--max-examples", str(EXAMPLES_PER_OPERATION), "--seed", SEED, "--continue-on-failure"]
            command += ["--no-color", "--suppress-health-check", "all", "--generation-database", "none"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=RUN_SECONDS_MAX)
        self.assertEqual(done.returncode, 0, f"{done.stdout}\n{done.stderr}\n{self.hub.output_tail()}")
        self.assertTrue(self.hub.is_ready(), "the hub does not serve any more")
        self.hub.stop()


def token(connection_string):
    parts = dict(part.split("=", 1) for part in connection_string.split(";"))
    resource = urllib.parse.quote(parts["HostName"], safe="")
    expiry = int(time.time()) + 3600
    key = base64.b64decode(parts["SharedAccessKey"])
    digest = hmac.new(key, f"{resource}\n{expiry}".encode(), hashlib.sha256).digest()
    signature = urllib.parse.quote(base64.b64encode(digest).decode(), safe="")
    policy = parts["SharedAccessKeyName"]
    return f"SharedAccessSignature sr={resource}&sig={signature}&se={expiry}&skn={policy}"
