"""Runs the Python conformance tests: `FANFARE_BIN=target/release/fanfare python3 conformance/python/run.py [filter ...]`.

Makes `.venv` from `requirements.txt` when it is missing or belongs to another list, then hands over to
`suite.py` inside it. Needs Python 3.11 (the service SDK imports uamqp, whose wheels end there) with `venv`, and Node
for the issuer of bearer tokens, which is the Node suite's.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
VENV = HERE / ".venv"
REQUIREMENTS = HERE / "requirements.txt"


def main():
    binary = os.environ.get("FANFARE_BIN")
    if not binary or not Path(binary).is_file():
        sys.exit("conformance/python: set FANFARE_BIN to the fanfare binary to judge")
    install()
    python = VENV / "bin" / "python"
    os.execv(python, [str(python), str(HERE / "suite.py"), str(Path(binary).resolve()), *sys.argv[1:]])


def install():
    """Makes the environment once per list of requirements; a half-made one has no stamp and is made anew."""
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    stamp = VENV / "fanfare-requirements-hash"
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    shutil.rmtree(VENV, ignore_errors=True)
    run([interpreter(), "-m", "venv", str(VENV)], "is the package python3-venv installed?")
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run([*pip, "--requirement", str(REQUIREMENTS)], "pip could not install the SDKs")
    stamp.write_text(wanted)


def interpreter():
    if sys.version_info[:2] == (3, 11):
        return sys.executable
    found = shutil.which("python3.11")
    if not found:
        sys.exit("conformance/python: python3.11 is needed (there are no uamqp wheels for later ones)")
    return found


def run(command, hint):
    if subprocess.run(command).returncode != 0:
        sys.exit(f"conformance/python: {' '.join(command)} failed: {hint}")


if __name__ == "__main__":
    main()
