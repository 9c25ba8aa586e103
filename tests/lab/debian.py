# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Make root file systems of Debian from the machine's own apt sources: nothing here names a mirror."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.lab.process import LabError, run

PYTHONS = {"bookworm": "3.11", "trixie": "3.13"}
"""Releases of Debian that a router is made of, 12 and 13, and the Python that each has."""
USUAL = "bookworm"
SUITE = os.environ.get("DEBIAN") or USUAL
if SUITE not in PYTHONS:
    raise LabError(f"DEBIAN={SUITE}: expected one of {', '.join(PYTHONS)}")
PYTHON = PYTHONS[SUITE]
PATIENCE = 900.0
"""How many seconds a root may take: it is downloaded."""
# Debian's own word for trimming: no manuals, no translations; copyrights stay.
DPKG_OPTIONS = (
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
)


def make_root(tar: Path, packages: Sequence[str], hooks: Sequence[str] = ()) -> None:
    """Write a minimal Debian with more packages to a tar file; hooks are mmdebstrap's customize hooks."""
    partial = tar.with_suffix(".partial.tar")
    with tempfile.NamedTemporaryFile("w", suffix=".sources") as sources:
        sources.write(debian_sources())
        sources.flush()
        run(
            "mmdebstrap",
            "--quiet",
            "--variant=minbase",
            f"--include={','.join(packages)}",
            "--aptopt=APT::Install-Recommends false",
            *_transport_options(),
            *(f"--dpkgopt={option}" for option in DPKG_OPTIONS),
            *(f"--customize-hook={hook}" for hook in hooks),
            # The mirror of the machine that builds is nothing to the machine that runs.
            '--customize-hook=rm -f "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/*',
            SUITE,
            partial,
            sources.name,
            timeout=PATIENCE,
        )
    partial.rename(tar)


def debian_sources() -> str:
    """Return the machine's own Debian sources, and no other, in deb822 format, for the release that is wanted."""
    stanzas: list[str] = []
    for path in (Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))):
        if path.suffix == ".sources":
            stanzas += deb822_stanzas(path.read_text(encoding="utf-8"))
        elif path.suffix == ".list" and path.is_file():
            stanzas += one_line_sources(path.read_text(encoding="utf-8"))
    if not stanzas:
        raise LabError(f"no apt source of this machine offers {' or '.join(PYTHONS)}")
    return "\n\n".join(dict.fromkeys(map(of_suite, stanzas))) + "\n"


def of_suite(stanza: str) -> str:
    """Return a stanza for the wanted release: a mirror has them all, next to each other."""
    line = re.search(r"(?im)^suites:.*$", stanza)
    if line is None:
        raise LabError(f"an apt source without suites: {stanza}")
    return stanza.replace(line[0], re.sub(rf"\b({'|'.join(PYTHONS)})\b", SUITE, line[0]))


def _transport_options() -> list[str]:
    """Return the machine's own way to its mirror (proxies, certificates) as mmdebstrap options."""
    wanted = re.compile(r"Acquire::(http|https|ftp)::(Proxy|CaInfo|Verify|Timeout)", re.IGNORECASE)
    return [f"--aptopt={line}" for line in run("apt-config", "dump").stdout.splitlines() if wanted.match(line)]


def is_debian(suites: str, components: str, signed_by: str) -> bool:
    """Tell Debian's own sources from the third-party ones that share a machine with them."""
    ours = {f"{suite}{part}" for suite in PYTHONS for part in ("", "-updates", "-security")}
    signed_by_debian = not signed_by or "debian-archive" in signed_by
    return set(suites.split()) <= ours and "main" in components.split() and signed_by_debian


def deb822_stanzas(text: str) -> list[str]:
    """Return the Debian stanzas of a .sources file (deb822 format, sources.list(5))."""
    kept = []
    for stanza in re.split(r"\n\s*\n", text):
        lines = [line for line in stanza.splitlines() if not line.startswith("#")]
        pairs = [line.split(":", 1) for line in lines if ":" in line and not line.startswith(" ")]
        fields = {key.strip().lower(): value.strip() for key, value in pairs}
        wanted = is_debian(fields.get("suites", "-"), fields.get("components", ""), fields.get("signed-by", ""))
        if wanted and fields.get("enabled", "yes") != "no":
            kept.append("\n".join(lines))
    return kept


def one_line_sources(text: str) -> list[str]:
    """Return the Debian lines of a .list file, as stanzas."""
    kept = []
    for line in text.splitlines():
        match = re.match(
            r"deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>.+)", line
        )
        if not match:
            continue
        signed = re.search(r"signed-by=(\S+)", match["options"] or "")
        signed_by = signed[1] if signed else ""
        if is_debian(match["suite"], match["components"], signed_by):
            stanza = f"Types: deb\nURIs: {match['uri']}\nSuites: {match['suite']}\nComponents: {match['components']}"
            kept.append(stanza + (f"\nSigned-By: {signed_by}" if signed_by else ""))
    return kept
