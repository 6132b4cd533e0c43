"""Starts the hub, points both SDKs at its CA, runs the tests in this process and says how it went.

Called by `run.py` inside the virtual environment: `suite.py BINARY [filter ...]`; a filter is a part of a test's name.
"""

import json
import os
import sys
import time
import unittest
from pathlib import Path

import hub as hubs
from surface import surface

ADDRESS = "127.0.0.40"
HERE = Path(__file__).resolve().parent

# The one hub of this run; tests reach it as `suite.HUB`.
HUB = None


def main():
    global HUB
    # Tests import this file as `suite`; without this they would get a second copy with no hub.
    sys.modules["suite"] = sys.modules[__name__]
    binary, filters = sys.argv[1], sys.argv[2:]
    HUB = hubs.Hub(binary, ADDRESS)
    started = time.monotonic()
    good = False
    try:
        HUB.start()
        # The service SDK reads the first, the device SDK (OpenSSL) the second.
        os.environ["REQUESTS_CA_BUNDLE"] = os.environ["SSL_CERT_FILE"] = str(HUB.ca_file)
        result = run_tests(filters)
        good = result.wasSuccessful() and result.testsRun > 0
        write_results(result.titles)
        if not good:
            print(HUB.output_tail())
        HUB.stop()
    except RuntimeError as error:
        # Its text carries the hub's output already.
        good = False
        print(error)
    finally:
        if HUB.process and HUB.process.poll() is None:
            HUB.kill9()
        HUB.remove_data()
    took = time.monotonic() - started
    print(f"conformance/python: {'passed' if good else 'FAILED'}, {took:.1f} s")
    # The device SDK leaves threads behind when a test fails half-way; they must not keep the process.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0 if good else 1)


def run_tests(filters):
    loader = unittest.TestLoader()
    loader.testNamePatterns = [f"*{part}*" for part in filters] or None
    tests = loader.discover(str(HERE / "tests"), top_level_dir=str(HERE / "tests"))
    return unittest.TextTestRunner(stream=sys.stdout, verbosity=2, resultclass=Result).run(tests)


def write_results(titles):
    """Leaves what ran, and what the SDKs offer, where FANFARE_CONFORMANCE_RESULTS says."""
    file = os.environ.get("FANFARE_CONFORMANCE_RESULTS")
    if not file:
        return
    tests = [{"title": title, "ok": ok} for title, ok in titles.items()]
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    Path(file).write_text(json.dumps({"surface": surface(), "tests": tests}))


class Result(unittest.TextTestResult):
    """Shows the body of a refused request at once: the SDK's exceptions have only the reason phrase."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        # The first line of each test's docstring (its name without one), and whether it passed.
        self.titles = {}

    def stopTest(self, test):
        super().stopTest(test)
        bad = any(test is failed for failed, _ in self.failures + self.errors)
        self.titles[test.shortDescription() or test.id()] = not bad

    def addError(self, test, error):
        super().addError(test, error)
        response = getattr(error[1], "response", None)
        if response is not None:
            self.stream.writeln(f"     response {response.status_code}: {response.text}")


if __name__ == "__main__":
    main()
