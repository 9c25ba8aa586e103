# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is left of a live patch that is refused."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Router

ARCHIVE = "/var/cache/cloud/cloud-scripts.tgz"
SIGNATURE = "/var/cache/cloud/cloud-scripts-signature"
SIGNED = "/var/lib/cloudstack/scripts-signed"
KEPT = "/usr/share/cloudstack/etc.tar.gz"


def packed(**files: bytes) -> bytes:
    """Return an archive of files of /etc; a name's underscores stand for slashes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as opened:
        for name, content in files.items():
            member = tarfile.TarInfo(f"etc/{name.replace('_', '/')}")
            member.size = len(content)
            opened.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def patched(router: Router) -> Router:
    """Return a router over whose /etc an archive was unpacked, whose digest was written, and which has a converge."""
    content = packed(known=b"theirs", ssh_new=b"theirs")
    with tarfile.open(fileobj=io.BytesIO(content)) as opened:
        opened.extractall(router.root, filter="data")
    router.put(ARCHIVE, content)
    router.put(SIGNATURE, "the new one\n")
    router.put(KEPT, packed(known=b"ours", other=b"ours"))
    router.path("/run/cloudstack").mkdir(parents=True)
    router.put("/opt/cloud/bin/configure.py", "#!/bin/sh\n", 0o755)
    return router


def refuse(router: Router) -> str:
    """Source the script below the router's root and call it; return what was logged."""
    script = router.path("/opt/cloud/bin/setup/patch.sh")
    text = script.read_text()
    for there in ("/var/cache", "/var/lib", "/usr/share", "/run/", "/opt/cloud/bin/configure.py"):
        text = text.replace(there, f"{router.root}{there}")
    script.write_text(text.replace("-C /", f"-C {router.root}").replace('"/$path"', f'"{router.root}/$path"'))
    log = router.put("/log")
    tools = f'logger() {{ echo "$@" >>{log}; }}; systemctl() {{ :; }}; . {script}; patch_system_vm'
    done = subprocess.run(["sh", "-c", tools], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout.startswith("refused - ")
    assert not router.path(ARCHIVE).exists()
    assert os.listdir(router.path("/run/cloudstack")) == []
    return log.read_text()


def content(router: Router, name: str) -> str | None:
    file = router.path(f"/etc/{name}")
    return file.read_text() if file.exists() else None


def test_what_the_archive_wrote_into_etc_is_put_right(patched: Router) -> None:
    assert "daemon.err" not in refuse(patched)
    assert (content(patched, "known"), content(patched, "ssh/new"), content(patched, "other")) == ("ours", None, None)


@pytest.mark.parametrize("kept", [b"x", packed(known=b"ours" * 10_000, other=os.urandom(10_000))[:5_000]])
def test_nothing_is_removed_where_what_the_disk_had_cannot_be_read(patched: Router, kept: bytes) -> None:
    patched.put(KEPT, kept)
    assert "cannot be read, and what a refused patch wrote into /etc stays" in refuse(patched)
    assert (content(patched, "known"), content(patched, "ssh/new")) == ("theirs", "theirs")


def test_what_cannot_be_put_back_is_told(patched: Router) -> None:
    patched.path("/etc/known").unlink()
    patched.path("/etc/known").mkdir()
    patched.put("/etc/known/busy")
    assert "not all that a refused patch wrote into /etc has its content" in refuse(patched)
    assert content(patched, "ssh/new") is None


def sign(router: Router, before: str, now: str) -> Path:
    """Sign two archives, the later one of which lies there since; return it."""
    router.put(f"{SIGNED}.before", before)
    archive = router.path(ARCHIVE)
    os.utime(archive, (time.time() - 60,) * 2)
    router.put(SIGNED, now)
    return archive


def test_the_digest_of_the_archive_before_is_given_back(patched: Router) -> None:
    sign(patched, "before\n", "now\n")
    refuse(patched)
    assert (patched.path(SIGNATURE).read_text(), patched.path(SIGNED).read_text()) == ("before\n", "before\n")


def test_the_digest_that_was_signed_last_is_given_back_where_the_archive_is_younger(patched: Router) -> None:
    os.utime(sign(patched, "before\n", "now\n"), (time.time() + 60,) * 2)
    refuse(patched)
    assert (patched.path(SIGNATURE).read_text(), patched.path(SIGNED).read_text()) == ("now\n", "now\n")


def test_without_an_archive_before_there_is_no_digest(patched: Router) -> None:
    sign(patched, "", "now\n")
    refuse(patched)
    assert not patched.path(SIGNATURE).exists()
    assert not patched.path(SIGNED).exists()
