"""Decides how the hub under test lives: one `fanfare serve` process on a loopback address, standard ports, own data."""

import os
import shutil
import signal
import ssl
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

READY_SECONDS_MAX = 30
READY_POLL_SECONDS = 0.05
STOP_SECONDS_MAX = 11
OUTPUT_LINES_SHOWN = 40


class Hub:
    """One hub node as a child process; its output goes to a file beside the data folder."""

    def __init__(self, binary, address, flags=()):
        """`flags` of `fanfare serve`, besides those that every hub has."""
        self.flags = flags
        self.binary = binary
        self.address = address
        self.root = Path(tempfile.mkdtemp(prefix=f"fanfare-conformance-{address}-"))
        self.data_dir = self.root / "data"
        self.output = self.root / "output"
        self.process = None

    @property
    def ca_file(self):
        return self.data_dir / "ca.pem"

    def start(self):
        """Returns when `GET /health/ready` says 200; raises if the process ends first or takes 30 s."""
        command = [self.binary, "serve", "--data-dir", str(self.data_dir)]
        command += ["--bind", self.address, "--host-name", self.address, *self.flags]
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=hub_environment())
        deadline = time.monotonic() + READY_SECONDS_MAX
        while not self.is_ready():
            if self.process.poll() is not None:
                raise RuntimeError(f"the hub ended with {self.process.returncode}\n{self.output_tail()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"the hub was not ready after {READY_SECONDS_MAX} s\n{self.output_tail()}")
            time.sleep(READY_POLL_SECONDS)

    def is_ready(self):
        if not self.ca_file.is_file():
            return False
        try:
            context = ssl.create_default_context(cafile=str(self.ca_file))
            url = f"https://{self.address}/health/ready"
            with urllib.request.urlopen(url, timeout=2, context=context) as reply:
                return reply.status == 200
        except OSError:
            return False

    def kill9(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        """SIGTERM; raises if the hub does not end with 0 in time."""
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.kill9()
            code = "no exit"
        if code != 0:
            raise RuntimeError(f"after SIGTERM the hub ended with {code}\n{self.output_tail()}")

    def connection_string(self, policy):
        return self.printed("connection-string", "--policy", policy)

    def sas(self, *flags):
        """The token that `fanfare sas` prints."""
        return self.printed("sas", *flags)

    def printed(self, *words):
        """What a verb prints that works on the data folder."""
        command = [self.binary, *words, "--data-dir", str(self.data_dir)]
        done = subprocess.run(command, capture_output=True, text=True, env=hub_environment(), timeout=60)
        if done.returncode != 0:
            raise RuntimeError(f"fanfare {' '.join(words)} failed: {done.stderr}")
        return done.stdout.strip()

    def output_tail(self):
        lines = self.output.read_text(errors="replace").splitlines()
        return "--- hub output ---\n" + "\n".join(lines[-OUTPUT_LINES_SHOWN:])

    def remove_data(self):
        shutil.rmtree(self.root, ignore_errors=True)


def hub_environment():
    """The hub reads every FANFARE_ variable as a setting and refuses unknown ones, so ours must not reach it."""
    return {name: value for name, value in os.environ.items() if not name.startswith("FANFARE_")}
