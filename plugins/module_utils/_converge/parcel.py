# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The templates on their way from a control node to a module on the router."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping

# Ansible tells the router's journal the arguments of every task: this one is nothing to read there.
SPEC = {"_templates": {"type": "str", "no_log": True}}


def packed(templates: Mapping[str, str]) -> str:
    """Return templates as one word, a third as long as they are."""
    return base64.b85encode(zlib.compress(json.dumps(templates).encode())).decode()


def unpacked(word: str | None) -> dict[str, str]:
    """Return the templates that `packed` made a word of; none for no word."""
    templates: dict[str, str] = json.loads(zlib.decompress(base64.b85decode(word))) if word else {}
    return templates
