# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Install what the checks need: absent Debian packages, then a virtual environment under build/.

Runs with Debian's own python3 and nothing else. Does nothing, quickly, when all is there already.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ROOT / "tests" / "checks" / "debian-packages.txt"
REQUIREMENTS = (ROOT / "tests" / "checks" / "requirements.txt", ROOT / "tests" / "unit" / "requirements.txt")
VENV = ROOT / "build" / "venv"
STAMP = VENV / ".ready"


class PrepareError(Exception):
    """Say in one line what is missing and what the operator can do."""


def wanted_packages() -> list[str]:
    """List the Debian packages named in debian-packages.txt."""
    lines = (line.split("#")[0].strip() for line in PACKAGES.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


def absent(packages: list[str]) -> list[str]:
    """List those of `packages` that dpkg does not report as installed."""
    asked = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *packages],
        capture_output=True,
        text=True,
        check=False,  # exit status 1 says only that one of them is unknown
    )
    installed = {line.split()[0] for line in asked.stdout.splitlines() if line.endswith(" installed")}
    return [package for package in packages if package not in installed]


def install_packages(packages: list[str]) -> None:
    """Install Debian packages without asking anything."""
    if os.geteuid() != 0:
        raise PrepareError(f"not root; as root: apt-get install {' '.join(packages)}")
    say(f"installing Debian packages: {' '.join(packages)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # A third-party source out of reach fails the update, but may not matter: the installation decides.
    subprocess.run(["apt-get", "update", "-q"], env=environment, check=False)
    # A machine that has just booted may be upgrading itself.
    patience = ("-o", "DPkg::Lock::Timeout=300")
    run(["apt-get", *patience, "install", "-q", "-y", "--no-install-recommends", *packages], environment)


def fingerprint() -> str:
    """Digest what the virtual environment is made from; another digest means: install again."""
    digest = hashlib.sha256(f"{sys.version} {VENV}".encode())
    for path in REQUIREMENTS:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def build_venv() -> None:
    """Make the virtual environment and install the requirements into it."""
    say(f"installing Python packages into {VENV.relative_to(ROOT)}")
    shutil.rmtree(VENV, ignore_errors=True)
    run([sys.executable, "-m", "venv", str(VENV)])
    pip = [
        str(VENV / "bin" / "pip"),
        "--disable-pip-version-check",
        "install",
        "--quiet",
        "--progress-bar=off",
        # Most modules of the tools are never imported; Python compiles those that are at their first use.
        "--no-compile",
    ]
    run([*pip, "--requirement", str(REQUIREMENTS[0])])


def run(command: list[str], environment: dict[str, str] | None = None) -> None:
    """Run a command with its output shown; a failure ends the preparation."""
    done = subprocess.run(command, env=environment, check=False)
    if done.returncode != 0:
        raise PrepareError(f"exit status {done.returncode} of: {' '.join(command)}")


def say(text: str) -> None:
    """Print progress at once, also into a pipe."""
    print(f"prepare: {text}", flush=True)


def main() -> int:
    """Prepare the host and the virtual environment; return the exit status."""
    try:
        if missing := absent(wanted_packages()):
            install_packages(missing)
        if not STAMP.is_file() or STAMP.read_text(encoding="utf-8") != fingerprint():
            build_venv()
            STAMP.write_text(fingerprint(), encoding="utf-8")
    except PrepareError as error:
        print(f"prepare: {error}", file=sys.stderr)
        return 1
    say("ready")
    return 0


if __name__ == "__main__":
    sys.exit(main())
