# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The golden cases of KVM hosts: variables, and what each network manager is told.

`python -m tests.unit.kvm.cases` writes what is expected anew; read the difference before you commit it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

from tests.checks.tree import find_collection

CASES = Path(__file__).with_name("cases")


class Indented(yaml.SafeDumper):
    """Write lists as yamllint wants them: deeper than their key."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Indent lists, too."""
        return super().increase_indent(flow, False)


def names() -> list[str]:
    """List the cases."""
    return sorted(path.stem for path in CASES.glob("*/variables.yml") for path in [path.parent])


def variables(name: str) -> dict[str, Any]:
    """Read the variables of a case, without the role's prefix, as the role gives them to the filter."""
    read = yaml.safe_load((CASES / name / "variables.yml").read_text(encoding="utf-8"))
    return {key.removeprefix("kvm_host_"): value for key, value in read.items()}


def outcome(name: str) -> dict[str, str]:
    """Return the texts of a case's files by name: the two documents, and for each what is left to others."""
    from ansible_collections.cloudstack.virtual_router.plugins.module_utils._kvm.network import network

    found: dict[str, str] = {}
    for renderer in ("netplan", "nmstate"):
        told = network(variables(name), renderer)
        found[f"{renderer}.yml"] = text(told["network"])
        found[f"{renderer}-others.yml"] = text({key: told[key] for key in ("columns", "ports", "agent", "bridges")})
    return found


def text(value: Any) -> str:
    """Write YAML as the role does, in the order of the renderer."""
    return yaml.dump(value, Dumper=Indented, sort_keys=False, explicit_start=True, width=110)


def main() -> int:
    """Write the files of all cases."""
    find_collection()
    for name in names():
        for file, content in outcome(name).items():
            (CASES / name / file).write_text(content, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
