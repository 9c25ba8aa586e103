# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A bare Debian machine: what README's provisioning starts from.

It is Debian's minimum with systemd, sshd, sudo and Python, as an installer or a cloud image leaves it, and nothing of
this project. A machine of the lab has no way out, so what it may fetch lies in a directory that is mounted: a Debian
repository of its own, and wheels. Its apt and its pip are told of them, as a machine's are told of a mirror.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import yaml

from tests.lab import debian
from tests.lab.podman import INIT
from tests.lab.process import run

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "build" / "image"
PACKAGES = ("systemd", "systemd-sysv", "dbus", "openssh-server", "sudo", "python3", "iproute2", "ca-certificates")
# What README has an operator install, beside what the roles name.
OPERATORS = ("git", "python3-venv")
MOUNT = "/srv/mirror"
FILES = {
    "/etc/apt/sources.list.d/mirror.list": f"deb [trusted=yes] file:{MOUNT}/debs ./\n".encode(),
    "/etc/pip.conf": f"[global]\nno-index = true\nfind-links = {MOUNT}/wheels\n".encode(),
}
"""What tells a bare machine where its mirror is."""
FRESH = 7 * 86400.0
"""Seconds for which what was downloaded serves."""


def role_lists(suffix: str) -> list[str]:
    """Return what the defaults of all roles list under names that end with a suffix."""
    found: set[str] = set()
    for path in ROOT.glob("roles/*/defaults/main.yml"):
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        found.update(item for key, items in values.items() if key.endswith(suffix) for item in items)
    return sorted(found)


def prepare(others: Sequence[str] = ()) -> tuple[str, Path]:
    """Return the name of the image of a bare machine and the directory of its mirror; both are kept in build/image.

    `others` are more requirements, each of which is fetched without what it depends on: other releases to choose from.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    requirements = role_lists("venv_packages")
    wanted = [name for name in role_lists("_packages") if name not in requirements]
    facts = (PACKAGES, OPERATORS, wanted, requirements, others, debian.SUITE, Path(__file__).read_bytes())
    digest = hashlib.sha256(repr(facts).encode()).hexdigest()[:12]
    image, mirror = f"localhost/cloudstack-bare:{digest}", CACHE / f"mirror-{digest}"
    with (CACHE / "bare.lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not mirror.exists() or time.time() - mirror.stat().st_mtime > FRESH:
            _download(mirror, wanted, requirements, others)
        if run("podman", "image", "exists", image, check=False).returncode:
            change = ("--change", f"CMD {INIT}", "--change", "STOPSIGNAL SIGRTMIN+3")
            run("podman", "import", "--quiet", *change, mirror / "root.tar", image, timeout=300)
    return image, mirror


def _download(mirror: Path, packages: Sequence[str], requirements: Sequence[str], others: Sequence[str]) -> None:
    """Make the root of a bare machine and, beside it, all that it may want to install."""
    for old in CACHE.glob("mirror-*"):
        shutil.rmtree(old)
    partial = mirror.with_suffix(".partial")
    (partial / "debs").mkdir(parents=True)
    wanted = " ".join(map(shlex.quote, (*packages, *OPERATORS)))
    options = f"-o Dir::Cache::archives={shlex.quote(str(partial / 'debs'))} -o APT::Sandbox::User=root"
    get = f"APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get {options} install --download-only --yes --quiet {wanted}"
    debian.make_root(partial / "root.tar", PACKAGES, (get, 'rm -f "$1"/etc/ssh/ssh_host_*', ': > "$1"/etc/machine-id'))
    index = [_described(path) for path in sorted((partial / "debs").glob("*.deb"))]
    (partial / "debs" / "Packages").write_text("\n\n".join(index) + "\n", encoding="utf-8")
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", "--python-version", debian.PYTHON)
    run(*pip, "--dest", partial / "wheels", *requirements, timeout=debian.PATIENCE)
    for requirement in others:
        run(*pip, "--no-deps", "--dest", partial / "wheels", requirement, timeout=debian.PATIENCE)
    partial.rename(mirror)


def _described(deb: Path) -> str:
    """Return a package's entry in the index of a repository (deb822, as dpkg-scanpackages(1) writes it)."""
    control = run("dpkg-deb", "--field", deb).stdout.strip()
    digest = hashlib.sha256(deb.read_bytes()).hexdigest()
    return f"{control}\nFilename: ./{deb.name}\nSize: {os.path.getsize(deb)}\nSHA256: {digest}"
