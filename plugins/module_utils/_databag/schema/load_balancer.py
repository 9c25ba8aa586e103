# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Describe the drop about the load balancer."""

from __future__ import annotations

from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema import kinds as k
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.checker import (
    Field,
    MismatchError,
    list_of,
    may,
    need,
    record,
    shape_of,
    shaped,
)


@shaped(lambda: {"type": "string", "pattern": "^[0-9./]+:[0-9]{1,5}:", "description": "ip:port:…"})
def listener(value: Any) -> str:
    """Accept ``ip:port:…`` of a listener to open or close; statistics may say ``0.0.0.0/0`` as address."""
    parts = value.split(":", 2) if isinstance(value, str) else []
    port = parts[1] if len(parts) == 3 else ""
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) <= 65535):
        raise MismatchError('"ip:port:…"', value)
    if parts[0] != "0.0.0.0/0":
        k.ipv4(parts[0])
    return k.text(value)


@shaped(lambda: {"anyOf": [{"const": ""}, shape_of(listener)]})
def statistics(value: Any) -> str:
    """Accept a statistics listener; the empty text means that there is none."""
    return value if value == "" else listener(value)


CERTIFICATE = record(
    {
        "name": need(k.matching(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,199}", "a certificate name such as 192_0_2_1-443")),
        "cert": Field(k.lines, secret=True),
        "key": Field(k.lines, secret=True),
        "chain": Field(k.lines, optional=True, secret=True),
        "password": Field(k.text, optional=True, secret=True),
    }
)


BALANCER = record(
    {
        # A `stats auth` line holds a password.
        "configuration": Field(list_of(k.lines), secret=True),
        "add_rules": may(list_of(listener)),
        "remove_rules": may(list_of(listener)),
        "stat_rules": may(list_of(statistics)),
        "ssl_certs": may(list_of(CERTIFICATE)),
        "router_ip": may(k.ipv4),
        "tmp_cfg_file_name": may(k.text),
        "tmp_cfg_file_path": may(k.text),
    }
)


BALANCERS = list_of(BALANCER)


LOAD_BALANCER = record({"rules": may(BALANCERS)})
