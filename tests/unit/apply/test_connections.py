# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Entries of connection tracking: messages of a kernel, and a kernel itself."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply import connections, execute
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.connections import (
    Connections,
    Reader,
    attribute,
    attributes,
    deletion,
    walk,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.services import HANDLERS
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.conntrack import CutFlows
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.flow_patterns import Pattern
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.flow_verdicts import Entry
from tests.lab.entries import Wanted, fill, inside
from tests.unit.apply.namespace import Namespace, namespace, needs_root
from tests.unit.apply.test_execute import Commands, system
from tests.unit.plan.samples import CLIENT, FIRST, VM1, isolated, rule, rules

TCP = (
    "f00000000001220001000000ec74000002000000340001801400018008000100cb01a4ae08000200c000020a1c00028005000100060000000600"
    "0200109e000006000300005600003400028014000180080001000a01010b08000200cb01a4ae1c00028005000100060000000600020000560000"
    "06000300109e0000080003000000000e080008000000000008000c001b30ef3d08000b00000000010800070000000bb5300004802c0001800500"
    "01000300000005000200000000000500030000000000060004000000000006000500000000001c00188008000100000000000800020000000000"
    "0800030000000000"
)
"""A message of Linux 6.18: 203.1.164.174:4254 to 192.0.2.10:86, answered by 10.1.1.11."""
READ = (0xCB01A4AE, 0xC000020A, 6, 4254, 86, 0, 0x0A01010B, 0xCB01A4AE, 86, 0)


def read(*messages: bytes | bytearray) -> list[Entry]:
    """Return the entries of a part of a list."""
    buffer = bytearray(b"".join(messages)).ljust(65536, b"\0")
    return [entry for entry, _position, _length in Reader().entries(buffer, sum(map(len, messages)))]


def test_a_message_is_read_fast_and_slowly_alike() -> None:
    """The first of a shape slowly, the others by their places; other values in the same places are other entries."""
    text = bytearray.fromhex(TCP)
    other = bytearray(text)
    other[32:36], other[68:70], other[136:140] = b"\1\2\3\4", b"\0\7", b"\0\0\0\x66"
    wanted = (0x01020304, *READ[1:4], 7, *READ[5:9], 0x66)
    assert walk(text) == READ
    assert read(text, other, text) == [READ, wanted, READ]
    assert walk(other) == wanted


def test_attributes_in_another_order_are_read_right() -> None:
    """Such a message comes from another kernel; so may all of them."""
    text = bytearray.fromhex(TCP)
    original, reply, rest = text[20:72], text[72:124], text[124:]
    turned = bytearray(text[:20] + reply + original + rest)
    marked = bytearray(text[:20] + original + reply + rest[16:] + rest[:16])
    swapped = bytearray(text)
    swapped[28:36], swapped[36:44] = text[36:44], text[28:36]
    for other in (turned, marked, swapped):
        assert read(other, other, other) == [READ] * 3
    assert read(turned, marked, text, text) == read(swapped, text, text, swapped) == [READ] * 4


def test_a_list_that_the_kernel_calls_broken_is_no_whole_one() -> None:
    reader, text = Reader(), bytearray.fromhex(TCP)
    text[6] |= 0x10
    found = list(reader.entries(bytearray(text).ljust(65536, b"\0"), len(text)))
    assert (len(found), reader.interrupted, reader.done) == (1, True, False)


def test_a_deletion_names_the_entry_and_never_all() -> None:
    """A request without a tuple would empty the table."""
    text = bytearray.fromhex(TCP)
    wanted = {1: attributes(text, 20)[1], 12: bytes.fromhex("1b30ef3d")}
    assert attributes(bytearray(deletion(text)), 20) == wanted
    with pytest.raises(KeyError):
        deletion(text[:20] + text[124:])


def test_a_damaged_message_is_an_error() -> None:
    with pytest.raises(OSError, match="damaged"):
        attributes(attribute(1, b"12345678")[:-2])


@pytest.fixture
def host() -> Iterator[Namespace]:
    """Return a namespace that tracks connections."""
    with namespace() as found:
        found(("nft", "add table inet t; add chain inet t c { type filter hook forward priority 0; }"))
        found(("nft", "add rule inet t c ct state new accept"))
        yield found


def within(host: Namespace) -> Path:
    return Path("/run/netns", host.name)


def clients(count: int, port: int, protocol: int = 6) -> list[Wanted]:
    """Return entries of that many clients of a port forward to VM1."""
    found = []
    for number in range(count):
        ip = CLIENT + 256 + number
        source_port = 1024 + number % 50000
        found.append(Wanted(protocol, ip, FIRST, source_port, port, VM1, ip, port, mark=102))
    return found


ROUTERS = [
    isolated(firewall={FIRST: rules(*(rule(protocol=p, ports=n) for p in ("tcp", "udp") for n in ports))})
    for ports in ((22, 80), (80,))
]


def entries(host: Namespace) -> int:
    return int(host(("cat", "/proc/sys/net/netfilter/nf_conntrack_count")))


@needs_root
def test_thousands_are_cut_and_nothing_else(host: Namespace) -> None:
    """Among them those of ICMP, of UDP, and of a protocol without ports; and what is cut is cut once."""
    ping = Wanted(1, CLIENT, FIRST, 7, 8, FIRST, CLIENT, 0)
    esp = replace(ping, protocol=50, port=0, source_port=0, answering_port=0)
    kept = [*clients(2000, 80), *clients(500, 80, 17), *clients(200, 22, 132), ping, esp]
    cut = [replace(item, answering=FIRST) for item in (*clients(3000, 22), *clients(500, 22, 17))]
    kept = [replace(item, answering=FIRST) for item in kept if item.protocol != 132]
    assert inside(within(host), lambda: fill([*kept, *cut])) == len(kept) + len(cut)
    commands = Commands()
    step = CutFlows((ROUTERS[0],), ROUTERS[1])
    for wanted in (len(cut), 0):
        inside(within(host), lambda: execute.apply([step], system(commands), HANDLERS))
        assert commands.logged[-1] == f"cut {wanted} connections"
        assert entries(host) == len(kept)
    listing = host(("conntrack", "-L", "-f", "ipv4"))
    assert "dport=22 " not in listing
    assert sum(" type=8 code=0 id=7" in line for line in listing.splitlines()) == 1


@needs_root
def test_an_entry_of_icmp_or_without_ports_is_cut_as_well(host: Namespace) -> None:
    ping = Wanted(1, CLIENT, FIRST, 7, 8, VM1, CLIENT, 0, mark=102)
    esp = Wanted(50, CLIENT, FIRST, 0, 0, VM1, CLIENT, 0)
    seen: list[Entry] = []
    for item in (ping, esp):
        assert inside(within(host), partial(fill, [item])) == 1
        assert inside(within(host), lambda: Connections().cut(Pattern(), lambda entry: seen.append(entry) or True)) == 1
    assert seen[0] == (int(CLIENT), int(FIRST), 1, 7, 8, 0, int(VM1), int(CLIENT), 0, 102)
    assert seen[1] == (int(CLIENT), int(FIRST), 50, 0, 0, 0, int(VM1), int(CLIENT), 0, 0)
    assert entries(host) == 0


def listed(pattern: Pattern, seen: list[Entry]) -> None:
    with Connections() as kernel:
        kernel.cut(pattern, seen.append)


@needs_root
def test_the_kernel_lists_what_is_like_a_pattern(host: Namespace) -> None:
    inside(within(host), lambda: fill([*clients(50, 80), *clients(20, 22), *clients(7, 22, 17)]))
    wanted = {
        Pattern(): 77,
        Pattern(FIRST): 77,
        Pattern(VM1): 0,
        Pattern(FIRST, 6): 70,
        Pattern(FIRST, 6, 22): 20,
        Pattern(FIRST, 17, 22): 7,
        Pattern(protocol=6, reply_port=80): 50,
        Pattern(reply_destination=CLIENT + 256): 3,
        Pattern(reply_destination=FIRST): 0,
        Pattern(protocol=0): 0,
    }
    for pattern, count in wanted.items():
        seen: list[Entry] = []
        inside(within(host), partial(listed, pattern, seen))
        assert len(seen) == count, pattern


@needs_root
def test_a_flow_that_ends_by_itself_is_no_failure_and_one_in_its_place_stays(host: Namespace) -> None:
    """Between the list and the delete: half of them end, and one of these comes back, by rules that let it in."""
    items = clients(400, 22)

    def race() -> tuple[int, int]:
        fill(items)
        with Connections() as kernel:
            found = bytearray()
            kernel._select(Pattern(), lambda _entry: True, found)
            with Connections() as other:
                ends = {int(item.source) for item in items[:200]}
                ended = other.cut(Pattern(), lambda entry: entry[0] in ends)
            fill(items[:1])
            return ended, kernel._delete(found)

    assert inside(within(host), race) == (200, 200)
    assert entries(host) == 1


@needs_root
def test_what_the_kernel_refuses_is_told_at_once(host: Namespace) -> None:
    """Nobody but root may look or delete: no second try, and the kernel's words."""
    program = (
        f"from {connections.__name__} import Connections, deletion\n"
        f"from {Pattern.__module__} import Pattern\n"
        "import os; os.setuid(65534)\n"
        "for act in (lambda k: k.cut(Pattern(), bool), lambda k: k._delete(bytearray(deletion(text)))):\n"
        f"    text = bytearray.fromhex('{TCP}')\n"
        "    try: act(Connections())\n"
        "    except OSError as error: print(error)\n"
    )
    path = os.pathsep.join(sys.path)
    said = host(("env", f"PYTHONPATH={path}", sys.executable, "-B", "-c", program)).splitlines()
    assert said == [f"[Errno 1] connection tracking, {what}: Operation not permitted" for what in ("list", "delete")]


def test_a_table_that_is_never_whole_is_an_error_after_a_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []
    monkeypatch.setattr(Connections, "_select", lambda *_given: tries.append(1) is not None)
    with Connections() as kernel, pytest.raises(OSError, match="5 lists in a row were not whole") as caught:
        kernel.cut(Pattern(), bool)
    assert (len(tries), caught.value.errno) == (connections.DUMPS, errno.EAGAIN)


def test_what_was_found_in_a_broken_list_is_cut_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    lists = [(b"ab", False), (b"c", True)]

    def select(_kernel: Connections, _pattern: Pattern, _cuts: object, found: bytearray) -> bool:
        text, whole = lists.pop(0)
        found += text
        return whole

    monkeypatch.setattr(Connections, "_select", select)
    monkeypatch.setattr(Connections, "_delete", lambda _kernel, found: len(found))
    with Connections() as kernel:
        assert kernel.cut(Pattern(IPv4Address("192.0.2.1")), bool) == 3
