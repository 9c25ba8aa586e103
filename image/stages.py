# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The stages of which localhost/cloudstack-virtual-router:latest is made, each kept until what it is made of changes.

1. base: Debian with the packages and the Python that the roles name in their defaults; about a minute.
2. provisioned: playbooks/provision.yml has run in it, without any network; about 20 seconds.
3. latest: the collection of this checkout on top; two seconds, always.

Nothing here names a mirror or an index: packages come from the machine's own apt sources, wheels from wherever its pip
looks. ``image/build --fresh`` fetches both again. DEBIAN=trixie in the environment builds from Debian 13 instead of 12.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from plugins.plugin_utils import collection_archive
from tests.lab import debian
from tests.lab.podman import INIT, LIMITS, TAG, Podman

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / "build" / "image"
IMAGE = "localhost/cloudstack-virtual-router"
ROUTER = f"{IMAGE}:{TAG}"
INSTALLED = "usr/share/ansible/collections/ansible_collections/cloudstack/virtual_router"
# Runs inside the new root: pip comes from Debian's ensurepip wheel, so that the environment holds no pip of its own.
INSTALL_VENV = r"""
set -eu
venv=$1; shift
python3 -m venv --without-pip "$venv"
ln -s "$venv" "${venv%-*}"
pip=$(echo /usr/share/python-wheels/pip-*.whl)/pip
"$venv/bin/python" "$pip" --no-cache-dir --quiet install --no-index --find-links /wheels "$@"
rm -rf "$venv"/lib/python3*/site-packages/ansible_test
printf '%s\n' "$@" > "$venv/complete"
"$venv/bin/ansible-playbook" --version
"""
# Run inside containers; /stage is the collection as copied from the checkout.
INSTALL_COLLECTION = f"""
set -eu
rm -rf /{INSTALLED}
mkdir -p /{INSTALLED}
cp -a /stage/. /{INSTALLED}/
cd /{INSTALLED}
"""
# Nothing is booted there: SYSTEMD_OFFLINE makes systemctl edit links instead of looking for a manager.
PROVISION = f"""
{INSTALL_COLLECTION}
export SYSTEMD_OFFLINE=1 ANSIBLE_CONFIG=$PWD/roles/system/files/etc/ansible/ansible.cfg
/opt/cloudstack/venv/bin/ansible-playbook -i roles/system/files/etc/ansible/hosts playbooks/provision.yml
rm -rf /run/cloudstack /tmp/* /root/.ansible /var/lib/apt/lists/* /etc/ssh/ssh_host_*
: > /etc/machine-id
"""
FINISH = f"""
{INSTALL_COLLECTION}
/opt/cloudstack/venv/bin/python -m compileall -q -j 0 plugins lib
"""


def say(text: str) -> None:
    """Print one line of progress, at once."""
    print(f"image: {text}", flush=True)


def run(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command and stop the build when it fails."""
    done = subprocess.run([str(word) for word in command], text=True, check=False, **options)  # type: ignore[call-overload]
    if done.returncode:
        sys.exit(f"image: {Path(command[0]).name} failed ({done.returncode}): {done.stderr or ''}".rstrip(": "))
    return done  # type: ignore[no-any-return]


def role_defaults() -> dict[str, Any]:
    """Return the defaults of all roles in one dictionary: names are prefixed by their role."""
    found: dict[str, Any] = {}
    for path in sorted(ROOT.glob("roles/*/defaults/main.yml")):
        found |= yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    return found


def digest_of(facts: Any) -> str:
    """Return twelve hexadecimal digits that stand for a value."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]


def fetch_wheels(requirements: list[str]) -> Path:
    """Fetch the wheels of the router's Python once, and return their directory."""
    target = CACHE / f"wheels-{digest_of([debian.PYTHON, *requirements])}"
    if not target.exists():
        partial = target.with_suffix(".partial")
        options = ("--quiet", "--only-binary=:all:", "--python-version", debian.PYTHON, "--dest", partial)
        run(sys.executable, "-m", "pip", "download", *options, *requirements, stderr=subprocess.PIPE)
        partial.rename(target)
    return target


def build_base(tag: str, packages: list[str], venv: str, requirements: list[str]) -> None:
    """Make Debian with every package of a router and the router's own Ansible, and import it as an image."""
    tar = CACHE / f"{tag.replace(':', '-').rsplit('/', 1)[1]}.tar"
    if not tar.exists():
        say(f"stage 1: {len(packages)} packages and {', '.join(requirements)}")
        make_root(tar, packages, venv, requirements)
    say(f"stage 1: importing {tar.stat().st_size >> 20} MB")
    run("podman", "import", "--quiet", tar, tag, stdout=subprocess.DEVNULL)


def make_root(tar: Path, packages: list[str], venv: str, requirements: list[str]) -> None:
    """Write the root file system of stage one to a tar file."""
    wheels = fetch_wheels(requirements)
    script = CACHE / "install-venv"
    script.write_text(INSTALL_VENV, encoding="utf-8")
    quoted = " ".join(f"'{word}'" for word in (venv, *requirements))
    hooks = (
        f"copy-in {wheels} {script} /",
        f'mv "$1/{wheels.name}" "$1/wheels"',
        f'chroot "$1" sh /{script.name} {quoted}',
        f'rm -rf "$1/wheels" "$1/{script.name}"',
    )
    debian.make_root(tar, packages, hooks)


def stage_collection() -> Path:
    """Write what a router needs of this checkout to a directory."""
    target = CACHE / "stage"
    shutil.rmtree(target, ignore_errors=True)
    with tarfile.open(fileobj=io.BytesIO(collection_archive.pack(ROOT))) as archive:
        archive.extractall(target)  # noqa: S202  # written a moment ago, by us
    for path in (target, *(path for path in target.rglob("*") if path.is_dir())):
        path.chmod(0o755)
    return target


def venv_home(defaults: dict[str, Any]) -> str:
    """Return where role system installs the router's own Ansible: by its name the role finds it made."""
    wanted = " ".join([*defaults["system_venv_packages"], debian.PYTHON])
    return f"{defaults['system_venv']}-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}"


def provisioning_digest(stage: Path, base: str) -> str:
    """Return a digest of all that playbooks/provision.yml reads: no command, template, converge, and few plugins."""
    facts = [base, PROVISION]
    for path in sorted(path for path in stage.rglob("*") if path.is_file()):
        name = str(path.relative_to(stage))
        converges = name.startswith(("bin/", "lib/", "libexec/", "plugins/", "templates/")) and "collection" not in name
        converges |= name.endswith(("tasks/main.yml", ".md"))
        if not converges and (not name.startswith("playbooks/") or name == "playbooks/provision.yml"):
            facts.append(f"{name} {path.stat().st_mode:o} {hashlib.sha256(path.read_bytes()).hexdigest()}")
    return digest_of(facts)


def run_inside(image: str, script: str, mounts: Mapping[str, Path], result: str) -> None:
    """Run a script in a container of an image, without a network, and keep the outcome as another image.

    ``mounts`` are directories of this machine, by the paths under which the script sees them, read-only.
    """
    name = f"cloudstack-virtual-router-build-{os.getpid()}"
    podman = Podman(name)
    isolation = ("--network", "none", "--cgroups", "disabled", "--privileged", *LIMITS)
    volumes = [word for there, here in mounts.items() for word in ("--volume", f"{here}:{there}:ro")]
    podman.open()
    try:
        done = podman.run(
            "run", "--name", name, *isolation, *volumes, image, "/bin/sh", "-c", script, check=False, timeout=600
        )
        log = CACHE / f"{result.rsplit(':', 1)[-1]}.log"
        log.write_text(done.stdout + done.stderr, encoding="utf-8")
        if done.returncode:
            sys.exit(f"image: making {result} failed, see {log}:\n{log.read_text(encoding='utf-8')[-3000:]}")
        change = ("--change", f"CMD {INIT}", "--change", "STOPSIGNAL SIGRTMIN+3")
        podman.run("commit", "--quiet", *change, name, result)
    finally:
        podman.run("rm", "--force", "--ignore", name)
        podman.close()


def identity(tag: str) -> str:
    """Return the id of an image, or nothing if there is none."""
    seen = subprocess.run(
        ["podman", "image", "inspect", "--format", "{{.Id}}", tag], capture_output=True, text=True, check=False
    )
    return seen.stdout.strip()


def forget(previous: str, *kept: str) -> None:
    """Remove the image that ``latest`` was, and bases of earlier states of the checkout; what is still in use stays."""
    listed = run("podman", "images", "--format", "{{.Repository}}:{{.Tag}}", capture_output=True).stdout.split()
    for tag in listed:
        if tag.startswith((f"{IMAGE}-base:", f"{IMAGE}-provisioned:")) and tag not in kept and TAG == "latest":
            subprocess.run(["podman", "rmi", tag], capture_output=True, check=False)
    if previous and previous != identity(ROUTER):
        subprocess.run(["podman", "rmi", previous], capture_output=True, check=False)


def provisioned(fresh: bool) -> tuple[str, str, Path]:
    """Make the first two stages, as far as they are not there; return their tags and the staged collection."""
    for leftover in (*CACHE.glob("*.partial*"), *(CACHE.glob("*.tar") if fresh else ()), *CACHE.glob("*.log")):
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    defaults = role_defaults()
    home, requirements = venv_home(defaults), defaults.pop("system_venv_packages")
    packages = sorted({name for key, names in defaults.items() if key.endswith("_packages") for name in names})
    facts = [packages, requirements, debian.DPKG_OPTIONS, INSTALL_VENV, debian.SUITE]
    base = f"{IMAGE}-base:{digest_of(facts)}"
    if fresh or not identity(base):
        build_base(base, packages, home, requirements)
    stage = stage_collection()
    tag = f"{IMAGE}-provisioned:{provisioning_digest(stage, base)}"
    if fresh or not identity(tag):
        say(f"stage 2: provisioning {debian.SUITE}")
        run_inside(base, PROVISION, {"/stage": stage}, tag)
    return base, tag, stage


def build(fresh: bool) -> None:
    """Build the stages that what they are made of asks for."""
    base, before, stage = provisioned(fresh)
    say("stage 3: the collection")
    previous = identity(ROUTER)
    run_inside(before, FINISH, {"/stage": stage}, ROUTER)
    forget(previous, base, before)
