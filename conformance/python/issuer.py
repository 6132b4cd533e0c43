"""Decides how the issuer of bearer tokens lives: the OpenID provider of the Node suite as a process on a loopback
address, with a certificate of a private authority, and credentials as the service SDK wants them. Whoever starts it
stops it."""

import base64
import json
import queue
import shutil
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path

from azure.core.credentials import AccessToken

NODE_FOLDER = Path(__file__).resolve().parent.parent / "node"
PORT = 9000
READY_SECONDS_MAX = 60
INSTALL_SECONDS_MAX = 300
SECRET = "client-secret"
SCOPE = "https://iothubs.azure.net/.default"


class Issuer:
    """Its keys are in a file, so that it is the same after a restart."""

    def __init__(self, address):
        self.address = address
        self.url = f"https://{address}:{PORT}"
        self.desk = Path(tempfile.mkdtemp(prefix="fanfare-issuer-"))
        self.process = None
        self.certify()

    @property
    def keys_file(self):
        return self.desk / "keys.json"

    @property
    def ca_file(self):
        return self.desk / "ca.pem"

    def certify(self):
        """Makes an authority, and a certificate for the address."""
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        self.openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "30", "-subj", "/CN=Issuer CA")
        names = ["-addext", f"subjectAltName=IP:{self.address}", "-addext", "basicConstraints=CA:FALSE"]
        self.openssl("req", *key, "-keyout", "tls.key", "-out", "tls.csr", "-subj", "/CN=issuer", *names)
        by = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-copy_extensions", "copy", "-days", "30"]
        self.openssl("x509", "-req", "-in", "tls.csr", *by, "-out", "tls.pem")

    def openssl(self, *words):
        subprocess.run(["openssl", *words], cwd=self.desk, check=True, capture_output=True)

    def start(self):
        """Returns when it listens; raises if it ends first or takes a minute."""
        install = ["node", str(NODE_FOLDER / "install.js")]
        subprocess.run(install, check=True, timeout=INSTALL_SECONDS_MAX)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        command = ["node", str(NODE_FOLDER / "issuer_process.mjs"), self.address, str(PORT), str(self.keys_file)]
        command += [str(self.desk / name) for name in ("tls.pem", "tls.key")]
        self.process = subprocess.Popen(command, text=True, **pipes)
        lines = queue.Queue()
        reader = threading.Thread(target=lambda: lines.put(self.process.stdout.readline()), daemon=True)
        reader.start()
        if lines.get(timeout=READY_SECONDS_MAX).strip() != "ready":
            raise RuntimeError(f"the issuer ended with {self.process.wait()}")

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.communicate()

    def rotate(self):
        """Makes it one that has changed all its keys."""
        self.stop()
        self.keys_file.unlink()
        self.start()

    def close(self):
        self.stop()
        shutil.rmtree(self.desk)

    def token(self, client, resource):
        """What the token endpoint gives a client for a resource."""
        form = urllib.parse.urlencode({"grant_type": "client_credentials", "resource": resource}).encode()
        request = urllib.request.Request(f"{self.url}/token", form)
        basic = base64.b64encode(f"{client}:{SECRET}".encode()).decode()
        request.add_header("Authorization", f"Basic {basic}")
        context = ssl.create_default_context(cafile=str(self.ca_file))
        with urllib.request.urlopen(request, timeout=20, context=context) as reply:
            return json.load(reply)

    def credential(self, client):
        return Credential(self, client)


class Credential:
    """An `azure.core.credentials.TokenCredential` that signs in as a client of the issuer."""

    def __init__(self, issuer, client):
        self.issuer = issuer
        self.client = client

    def get_token(self, *scopes, **_):
        if scopes != (SCOPE,):
            raise ValueError(f"the SDK asks for {scopes}")
        reply = self.issuer.token(self.client, SCOPE.removesuffix("/.default"))
        return AccessToken(reply["access_token"], int(time.time()) + reply["expires_in"])
