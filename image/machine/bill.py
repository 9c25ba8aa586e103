# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Write down every package of a tree with its version: for programs as CycloneDX, for people as a list."""

from __future__ import annotations

import importlib.metadata
import json
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path

from tests.lab.process import LabError, run

# The version of each Python package lies in the environment of the router's own Ansible.
ENVIRONMENTS = "opt/cloudstack/venv-*/lib/python3*/site-packages"


def python_packages(tree: Path) -> dict[str, str]:
    """Return the versions of the packages in the router's own environment, by name."""
    places = [str(path) for path in sorted(tree.glob(ENVIRONMENTS))]
    if not places:
        raise LabError(f"{tree}: the router's own environment is not in {ENVIRONMENTS}")
    found = importlib.metadata.distributions(path=places)
    return dict(sorted((each.metadata["Name"].lower(), each.version) for each in found))


def write(tree: Path, target: Path, version: str, seconds: int) -> None:
    """Write ``<target>.cdx.json`` and ``<target>.packages``; ``seconds`` since 1970 is the date of the first."""
    when = datetime.fromtimestamp(seconds, UTC).isoformat()
    document = target.with_suffix(".cdx.json")
    words = ("generate", "--sbom-type", "cdx", "--root", tree, "--out", target, "--no-recommends-deps")
    names = ("--distro-name", target.name, "--distro-version", version, "--timestamp", when)
    number = uuid.uuid5(uuid.NAMESPACE_URL, f"{target.name} {version} {when}")
    run(Path(sys.executable).with_name("debsbom"), *words, *names, "--cdx-serialnumber", number, timeout=120)
    bill = json.loads(document.read_text(encoding="utf-8"))
    debian = sorted(
        f"{each['name']} {each['version']}" for each in bill["components"] if not each["purl"].endswith("arch=source")
    )
    python = python_packages(tree)
    bill["components"] += [component(name, number) for name, number in python.items()]
    document.write_text(json.dumps(bill, indent=1) + "\n", encoding="utf-8")
    lines = [*(f"deb {line}" for line in debian), *(f"python {name} {number}" for name, number in python.items())]
    target.with_suffix(".packages").write_text("\n".join(lines) + "\n", encoding="utf-8")


def component(name: str, version: str) -> dict[str, str]:
    """Return a Python package as CycloneDX has it."""
    purl = f"pkg:pypi/{name}@{version}"
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
