# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read the boot arguments of a router."""

from __future__ import annotations

import re

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.errors import DropError

# A kernel command line has words that are no arguments of ours (`ro`, `--`, `BOOT_IMAGE=/boot/…` is
# harmless).
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")


def parse_cmdline(text: str) -> dict[str, object]:
    """Return the content of cmd_line.json for the text of the command line.

    Words are separated by blanks, or by ``%`` if there are no blanks (Xen). A value is everything behind the
    first ``=``, so base64 keeps its padding; of repeated names the last one counts. DropError without a
    ``type``.
    """
    bare = text.strip(" \t\r\n\0")
    words = bare.split() if re.search(r"\s", bare) else bare.split("%")
    arguments: dict[str, str] = {}
    for word in words:
        name, _equals, value = word.partition("=")
        if _NAME.fullmatch(name):
            arguments[name] = value
    if not arguments.get("type"):
        raise DropError("cmdline", "type", "an argument such as type=router", "nothing")
    return {"type": "cmdline", "cmd_line": arguments}
