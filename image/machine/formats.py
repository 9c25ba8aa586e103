# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Give one disk the forms that hypervisors take it in.

XenServer's VHD is not among them: it refuses what qemu-img writes (apache/cloudstack pull request 2488).
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jinja2

from tests.lab.process import run

HERE = Path(__file__).resolve().parent
PATIENCE = 300.0
# What qemu-img is told, by the suffix of the file.
FORMATS = {
    "qcow2": ("-c", "-O", "qcow2", "-o", "compat=0.10"),
    "vmdk": ("-O", "vmdk", "-o", "subformat=streamOptimized,adapter_type=lsilogic"),
    "vhd": ("-O", "vpc", "-o", "subformat=dynamic,force_size=on"),
    "vhdx": ("-O", "vhdx", "-o", "subformat=dynamic"),
}
DELIVERED = ("raw", "qcow2", "ova", "vhd", "vhdx", "cdx.json", "packages")


def convert(raw: Path) -> None:
    """Write all forms of a raw disk beside it, two at a time."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(lambda suffix: _convert(raw, suffix), ("vmdk", "qcow2", "vhdx", "vhd")))
    pack(raw.with_suffix(".vmdk"), raw.stat().st_size)
    raw.with_suffix(".vmdk").unlink()


def _convert(raw: Path, suffix: str) -> None:
    target = raw.with_suffix(f".{suffix}")
    run("qemu-img", "convert", "-f", "raw", *FORMATS[suffix], raw, target, timeout=PATIENCE)


def pack(vmdk: Path, capacity: int) -> None:
    """Write the OVA of a disk of ``capacity`` bytes: a tar that starts with the OVF (DSP0243, 5.3)."""
    template = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=True, keep_trailing_newline=True)
    text = (HERE / "machine.ovf.j2").read_text(encoding="utf-8")
    values = {"name": vmdk.stem, "disk": vmdk.name, "size": vmdk.stat().st_size, "capacity": capacity}
    ovf = template.from_string(text).render(values).encode()
    manifest = f"SHA256({vmdk.stem}.ovf)= {hashlib.sha256(ovf).hexdigest()}\n"
    manifest += f"SHA256({vmdk.name})= {sha256(vmdk)}\n"
    with tarfile.open(vmdk.with_suffix(".ova"), "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in ((f"{vmdk.stem}.ovf", ovf), (f"{vmdk.stem}.mf", manifest.encode())):
            archive.addfile(_member(name, len(content)), io.BytesIO(content))
        with vmdk.open("rb") as file:
            archive.addfile(_member(vmdk.name, values["size"]), file)


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    return member


def sha256(path: Path) -> str:
    """Return the digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_checksums(raw: Path) -> Path:
    """Write the digests of all that is delivered, as sha256sum(1) checks them."""
    files = [raw.with_suffix(f".{suffix}") for suffix in DELIVERED]
    with ThreadPoolExecutor(max_workers=2) as pool:
        digests = list(pool.map(sha256, files))
    target = raw.parent / "SHA256SUMS"
    lines = [f"{digest}  {path.name}\n" for digest, path in zip(digests, files, strict=True)]
    target.write_text("".join(lines), encoding="ascii")
    return target
