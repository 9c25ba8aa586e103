# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Pack this collection, as it runs here, for a router."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("bin", "lib", "libexec", "meta", "playbooks", "plugins", "roles", "templates")
"""What a router needs; image/build takes the same."""
FILES = ("LICENSE", "README.md", "galaxy.yml", "MANIFEST.json", "FILES.json")
"""What says which release it is: a checkout has the one, an installed collection has the others."""


def members(root: Path = ROOT) -> Iterator[Path]:
    """Yield the files of a collection that a router needs, in order; no bytecode, nothing that an editor left."""
    for part in PARTS:
        for path in sorted((root / part).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts and path.suffix not in (".pyc", ".swp"):
                yield path
    yield from (root / name for name in FILES if (root / name).is_file())


def pack(root: Path = ROOT) -> bytes:
    """Return the collection as a compressed tar archive, with modes that no umask has changed."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=6) as archive:
        for path in members(root):
            member = tarfile.TarInfo(str(path.relative_to(root)))
            content = path.read_bytes()
            member.size, member.mode = len(content), 0o755 if path.stat().st_mode & 0o100 else 0o644
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
