# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Describe the drops about what VMs are served: metadata and passwords."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema import kinds as k
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.checker import (
    Field,
    MismatchError,
    list_of,
    need,
    record,
    shape_of,
    shaped,
)

# Both alphabets of RFC 4648, and the blanks and line ends that base64 tools put in; padding may be missing.
_BASE64 = k.matching(r"[A-Za-z0-9+/_\r\n -]*[=\r\n ]*", "base64")


_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]{1,255}").fullmatch
"""What nearly every name is: 2,000 VMs have 48,000 of them, in a databag that every converge reads."""


@shaped(lambda: shape_of(_BASE64))
def base64_text(value: Any) -> str:
    """Accept base64 that can be decoded: one digit of the alphabet alone is no byte."""
    found = str(_BASE64(value))
    if len("".join(found.split()).rstrip("=")) % 4 == 1:
        raise MismatchError("base64 of whole bytes", value)
    return found


@shaped(
    lambda: {
        "type": "array",
        "prefixItems": [*(shape_of(k.safe_name),) * 2, shape_of(k.content)],
        "minItems": 3,
        "maxItems": 3,
    }
)
def metadata_item(value: Any) -> list[Any]:
    """Accept ``[folder, file, content]``; the names become paths, the content of user data is base64."""
    if not isinstance(value, list) or len(value) != 3:
        raise MismatchError("a list of folder, file and content", value)
    for index in (0, 1):
        name = value[index]
        if isinstance(name, str) and _PLAIN_NAME(name):
            continue
        try:
            k.safe_name(name)
        except MismatchError as error:
            raise error.under(f"[{index}]") from None
    try:
        k.content(value[2])
        if value[0] == "userdata" and value[2] is not None:
            base64_text(value[2])
    except MismatchError as error:
        error.secret = True
        raise error.under("[2]") from None
    return value


VM_DATA = record({"vm_ip_address": need(k.ip), "vm_metadata": need(list_of(metadata_item))})

VM_PASSWORD = record({"ip_address": need(k.ip), "password": Field(k.text, secret=True)})
