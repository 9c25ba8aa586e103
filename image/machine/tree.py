# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Make the file tree of a machine: the provisioned container with a kernel and the agents of hypervisors.

The packages come from the machine's own apt sources, as those of the container do, into a directory; they are installed
in a container without a network, and the result is kept as an image until what it is made of changes. The collection
and what makes two builds equal come last, each time, and the tree is what podman exports of that container.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from image import stages
from tests.lab import debian
from tests.lab.podman import LIMITS, TAG, Podman
from tests.lab.process import LabError, run

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
IMAGE = f"{stages.IMAGE}-machine"
FINISH = f"{stages.INSTALL_COLLECTION}\nexec /machine/finish.sh\n"
# Mount points of podman, which it leaves behind in what it exports, and what is a machine's own from the start.
NAMES = {
    "hostname": "systemvm\n",
    "hosts": "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n",
    "resolv.conf": "",
}
PATIENCE = 600.0


def packages() -> list[str]:
    """List the Debian packages that a machine has beyond the container."""
    lines = (HERE / "debian-packages.txt").read_text(encoding="utf-8").splitlines()
    return [name for line in lines if (name := line.split("#")[0].strip())]


def source_date() -> int:
    """Return the time that younger files get, in seconds since 1970: SOURCE_DATE_EPOCH or the checkout's commit."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    return int(run("git", "-C", ROOT, "log", "-1", "--format=%ct").stdout)


def machine_digest(before: str) -> str:
    """Return a digest of all that the machine's image is made of."""
    inside = (path for path in (HERE / "root").rglob("*") if path.is_file())
    files = sorted((HERE / "install.sh", HERE / "debian-packages.txt", *inside))
    facts = [f"{path} {path.stat().st_mode:o} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files]
    return stages.digest_of([before, debian.SUITE, *facts])


def machine(before: str, fresh: bool) -> str:
    """Return the tag of the container with kernel and agents, which is made if it is not there."""
    tag = f"{IMAGE}:{machine_digest(before)}"
    if fresh or not stages.identity(tag):
        debs = fetch(before, packages())
        stages.say(f"machine: {len(list(debs.glob('*.deb')))} packages")
        stages.run_inside(before, "exec /machine/install.sh", {"/machine": HERE, "/debs": debs}, tag)
    listed = run("podman", "images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", f"reference={IMAGE}")
    for other in listed.stdout.split():
        if other != tag and TAG == "latest":
            run("podman", "rmi", other, check=False)
    return tag


def fetch(before: str, wanted: list[str]) -> Path:
    """Download packages and what they depend on, as far as an image does not have it; return their directory."""
    home = stages.CACHE / "machine-apt"
    shutil.rmtree(home, ignore_errors=True)
    debs, sources, lists = home / "debs", home / "sources", home / "lists"
    for path in (debs / "partial", sources, lists / "partial"):
        path.mkdir(parents=True)
    (sources / "debian.sources").write_text(debian.debian_sources(), encoding="utf-8")
    container = run("podman", "create", before, "true").stdout.strip()
    try:
        run("podman", "cp", f"{container}:/var/lib/dpkg/status", home / "status")
    finally:
        run("podman", "rm", container)
    places = {
        "Dir::State::status": home / "status",
        "Dir::State::lists": lists,
        "Dir::State::extended_states": home / "extended_states",
        "Dir::Cache::archives": debs,
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": sources,
        "Dir::Etc::preferencesparts": "/dev/null",
        "APT::Sandbox::User": "root",
        "APT::Install-Recommends": "false",
    }
    options = [word for key, value in places.items() for word in ("--option", f"{key}={value}")]
    run("apt-get", *options, "--quiet", "update", timeout=PATIENCE)
    run("apt-get", *options, "--quiet", "--yes", "--download-only", "install", *wanted, timeout=PATIENCE)
    return debs


def export(image: str, stage: Path, target: Path) -> None:
    """Finish a container of the machine's image, and write its tree into an empty directory."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    name = f"cloudstack-virtual-router-machine-{os.getpid()}"
    podman = Podman(name)
    isolation = ("--network", "none", "--cgroups", "disabled", "--privileged", *LIMITS)
    mounts = ("--volume", f"{stage}:/stage:ro", "--volume", f"{HERE}:/machine:ro")
    environment = ("--env", f"SOURCE_DATE_EPOCH={source_date()}")
    podman.open()
    try:
        podman.run(
            *("run", "--name", name, *isolation, *mounts, *environment, image, "/bin/sh", "-c", FINISH),
            timeout=PATIENCE,
        )
        _unpack(podman.argv("export", name), target)
    finally:
        podman.run("rm", "--force", "--ignore", name)
        podman.close()
    for file, text in NAMES.items():
        path = target / "etc" / file
        path.write_text(text, encoding="utf-8")
        path.chmod(0o644)
    for mounted in ("stage", "machine", "debs"):
        (target / mounted).rmdir()
    _date(target, source_date())


def _unpack(export: list[str], target: Path) -> None:
    """Unpack what a command prints, with owners, modes and capabilities."""
    keep = ("--preserve-permissions", "--numeric-owner", "--xattrs", "--xattrs-include=*")
    with subprocess.Popen(export, stdout=subprocess.PIPE) as writer:
        done = subprocess.run(
            ["tar", "--extract", *keep, "--directory", target],
            stdin=writer.stdout,
            capture_output=True,
            text=True,
            check=False,
        )
    if writer.returncode or done.returncode:
        raise LabError(f"the tree cannot be exported: {done.stderr.strip() or writer.returncode}")


def _date(target: Path, seconds: int) -> None:
    """Give everything that is younger the time of the source, directories after what is in them."""
    for parent, directories, files in os.walk(target, topdown=False):
        for name in (*files, *directories):
            path = os.path.join(parent, name)
            if os.lstat(path).st_mtime > seconds:
                os.utime(path, (seconds, seconds), follow_symlinks=False)
    os.utime(target, (seconds, seconds))
