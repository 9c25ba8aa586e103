# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tell whether anybody has changed a ruleset of nftables since it was last looked at.

The kernel counts the transactions of nftables in each network namespace, whoever makes them. To ask for the count takes
0.1 ms; to list 10,000 rules and compare them takes a quarter of a second. What packets do to counters and dynamic sets
is no transaction. See NFT_MSG_GETGEN in linux/netfilter/nf_tables.h and nf_tables_getgen() of the kernel.

What is remembered is a cache: a plan that is only a check may write it, too.
"""

from __future__ import annotations

import os
import socket
import struct
from contextlib import suppress

MARK = "/run/cloudstack/ruleset-generation"
"""Where the count is kept at which all tables were as wanted: in memory, as the kernel counts anew at each boot."""
BINDINGS_MARK = "/run/cloudstack/bindings-generation"
"""The same of the table that another service than the firewall's has: who looks at the one does not see the other."""

_NETLINK_NETFILTER = 12
_NFNL_SUBSYS_NFTABLES = 10
_NFT_MSG_NEWGEN, _NFT_MSG_GETGEN = (_NFNL_SUBSYS_NFTABLES << 8 | message for message in (15, 16))
_NLM_F_REQUEST = 1
_HEADER = struct.Struct("=IHHII4x")
"""struct nlmsghdr, and struct nfgenmsg, in which everything is zero."""
_ATTRIBUTE = struct.Struct("=HH")
_NFTA_GEN_ID = 1
_PATIENCE = 5.0
"""Seconds; the kernel answers before the request returns."""


class Transactions:
    """Tell whether nobody else has made a transaction since this process first asked.

    ``own`` counts the loads of this process that the kernel took, each of which changes something: one that changes
    nothing is no transaction, and would hide one of somebody else.
    """

    def __init__(self) -> None:
        self.own = 0
        self._first: int | None = None

    def alone(self, count: int) -> bool:
        """Tell it from the kernel's count."""
        if self._first is None:
            self._first = count - self.own
        return count == self._first + self.own


def current() -> int:
    """Return the count of transactions of this network namespace; OSError when the kernel does not tell."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as kernel:
        kernel.settimeout(_PATIENCE)
        kernel.sendto(_HEADER.pack(_HEADER.size, _NFT_MSG_GETGEN, _NLM_F_REQUEST, 0, 0), (0, 0))
        answer = kernel.recv(4096)
    _length, message, *_others = _HEADER.unpack_from(answer)
    if message != _NFT_MSG_NEWGEN:
        raise OSError(f"nftables: no generation in a message of type {message:#x}")
    _size, attribute = _ATTRIBUTE.unpack_from(answer, _HEADER.size)
    if attribute != _NFTA_GEN_ID:
        raise OSError(f"nftables: no generation in attribute {attribute}")
    return int.from_bytes(answer[_HEADER.size + _ATTRIBUTE.size :][:4], "big")


def remembered(mark: str = "") -> int | None:
    """Return the count that was kept since this boot, None when there is none."""
    with suppress(FileNotFoundError, ValueError), open(mark or MARK, encoding="ascii") as file:
        return int(file.read())
    return None


def remember(count: int, mark: str = "") -> None:
    """Keep a count at which all tables were as wanted; where that is not possible the tables are listed again."""
    path = mark or MARK
    draft = f"{path}.{os.getpid()}"
    with suppress(OSError):
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        with open(draft, "w", encoding="ascii") as file:
            file.write(f"{count}\n")
        os.rename(draft, path)
