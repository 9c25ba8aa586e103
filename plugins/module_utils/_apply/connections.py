# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""List and delete entries of connection tracking, by one netlink socket.

The kernel's list is judged while it comes, so memory does not grow with the table. An entry is deleted by its whole
original tuple and by its id: what has ended is no error, and what has come in its place by the new rules stays. See
linux/netfilter/nfnetlink_conntrack.h and nf_conntrack_netlink.c of the kernel.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterator

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.flow_patterns import Pattern
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.flow_verdicts import Entry

DUMPS = 5
"""How often the table is listed when the kernel says that the list is not whole."""
BATCH = 128
"""How many deletes are sent before their answers are read: all of these fit into the socket's buffer."""
_BUFFER = 65536
"""Bytes; the kernel fills 32 KiB at most per message of a dump (netlink_dump)."""
_PATIENCE = 5.0
"""Seconds; the kernel answers before a request returns."""

_NETLINK_NETFILTER = 12
_SUBSYSTEM = 1 << 8
_NEW, _GET, _DELETE = (_SUBSYSTEM | message for message in (0, 1, 2))
_REQUEST, _MULTI, _ACK, _INTERRUPTED, _FILTERED, _DUMP = 0x1, 0x2, 0x4, 0x10, 0x20, 0x300
_ERROR, _DONE = 2, 3
_NESTED = 0x8000

_ORIGINAL, _REPLY, _MARK, _ID, _ZONE, _FILTER = 1, 2, 8, 12, 18, 25
_IP, _PROTO = 1, 2
_SOURCE, _DESTINATION, _SOURCE6, _DESTINATION6 = 1, 2, 3, 4
_NUMBER, _SOURCE_PORT, _DESTINATION_PORT, _ICMP_ID, _ICMP_TYPE, _ICMP_CODE = range(1, 7)
_ICMP6_ID, _ICMP6_TYPE, _ICMP6_CODE = range(7, 10)
_ORIGINAL_FLAGS, _REPLY_FLAGS = 1, 2
_BY_DESTINATION, _BY_PROTOCOL, _BY_SOURCE_PORT, _BY_DESTINATION_PORT = 1 << 1, 1 << 3, 1 << 4, 1 << 5
"""Bits of enum ctnetlink_flags: which parts of a tuple a dump is filtered by."""

_HEADER = struct.Struct("=IHHII")
_OF_FAMILY = struct.Struct(">BBH")
_ATTRIBUTE = struct.Struct("=HH")
_START = _HEADER.size + _OF_FAMILY.size
_LAST = 0xFFFFFFFF
"""The sequence number of a batch's last request."""

_WITH_PORTS = struct.Struct(">32xI4xI8xB7xH6xHB13xI4xI16xH22xI")
_OF_ICMP = struct.Struct(">32xI4xI8xB7xH6xB7xB15xI4xI9xH37xI")
"""Entries as the kernel writes them today, in the order of Entry; what they have not is read from bytes that fill up.
That is ten times as fast as to walk the attributes."""


class Connections:
    """Hold the socket; OSError says what the kernel refuses. Kernels before 5.8 list more than the pattern asks for.

    `family` is AF_INET or AF_INET6; entries of the other one are not looked at.
    """

    def __init__(self, family: int = socket.AF_INET) -> None:
        self._family = family
        self._kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
        self._kernel.settimeout(_PATIENCE)
        self._kernel.bind((0, 0))
        self._sequence = 0

    def __enter__(self) -> Connections:
        return self

    def __exit__(self, *_error: object) -> None:
        self._kernel.close()

    def cut(self, pattern: Pattern, cuts: Callable[[Entry], bool]) -> int:
        """Delete the entries that are like the pattern and for which `cuts` holds; return how many there were.

        When the table was resized meanwhile, or messages were lost, it is listed again: what came of it was deleted.
        """
        count = 0
        for _attempt in range(DUMPS):
            found = bytearray()
            whole = self._select(pattern, cuts, found)
            count += self._delete(found)
            if whole:
                return count
        raise OSError(errno.EAGAIN, f"connection tracking: {DUMPS} lists in a row were not whole")

    def _select(self, pattern: Pattern, cuts: Callable[[Entry], bool], found: bytearray) -> bool:
        """Append the request that deletes it for each entry to be cut; tell whether the list was whole."""
        self._sequence += 1
        self._kernel.send(message(_GET, _DUMP, self._sequence, _restrict(pattern), self._family))
        buffer, reader = bytearray(_BUFFER), Reader()
        whole = True
        while True:
            try:
                size = self._receive(buffer)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                whole = False
                continue
            for entry, position, length in reader.entries(buffer, size):
                if cuts(entry):
                    found += deletion(buffer[position : position + length])
            whole = whole and not reader.interrupted
            if reader.done:
                return whole

    def _delete(self, requests: bytearray) -> int:
        """Send the requests and return how many the kernel carried out; an entry that has ended needs no more."""
        count = 0
        for batch, size in _batches(requests):
            self._kernel.send(batch)
            count += size - self._ended()
        return count

    def _ended(self) -> int:
        """Return how many entries of a batch were there no more: only that is answered, and the last request is."""
        missing, answers = 0, bytearray(_BUFFER)
        while True:
            for code, last in _codes(answers, self._receive(answers)):
                if code not in (0, errno.ENOENT):
                    raise refusal("delete", code)
                missing += code != 0
                if last:
                    return missing

    def _receive(self, buffer: bytearray) -> int:
        size, _ancillary, flags, _sender = self._kernel.recvmsg_into([buffer])
        if flags & socket.MSG_TRUNC:
            raise OSError(errno.EMSGSIZE, "connection tracking: a message of more than 64 KiB")
        return size


class Reader:
    """Read the messages of one dump."""

    def __init__(self) -> None:
        self.done = self.interrupted = False
        self._shapes = {size: Shape(size, layout) for size, layout in ((52, _WITH_PORTS), (60, _OF_ICMP))}

    def entries(self, buffer: bytearray, size: int) -> Iterator[tuple[Entry, int, int]]:
        """Yield each entry in a buffer with its place and length."""
        words = memoryview(buffer).cast("I")
        usual = [_word(_NEW, _MULTI | flag) for flag in (0, _FILTERED)]
        shapes = {shape.original: shape for shape in self._shapes.values()}
        position = 0
        while position < size:
            start = position >> 2
            length = words[start]
            if words[start + 1] not in usual and not self._is_entry(buffer, position):
                return
            shape = shapes.get(words[start + 5])
            if shape and words[start + shape.at_reply] == shape.reply and words[start + shape.at_mark] == shape.mark:
                entry: Entry | None = shape.unpack(buffer, position)
                if not shape.sure:
                    entry = shape.learn(entry, walk(buffer[position : position + length]))
            else:
                entry = walk(buffer[position : position + length])
            if entry is not None:
                yield entry, position, length
            position += (length + 3) & ~3

    def _is_entry(self, buffer: bytearray, position: int) -> bool:
        """Tell whether a message is an entry; raise OSError when it says that there is no list."""
        _length, kind, flags, _sequence, _port = _HEADER.unpack_from(buffer, position)
        self.interrupted |= bool(flags & _INTERRUPTED)
        if kind in (_ERROR, _DONE):
            code = _code(buffer, position)
            self.interrupted |= code == errno.EINTR
            if code not in (0, errno.EINTR):
                raise refusal("list", code)
            self.done = True
            return False
        if kind != _NEW:
            raise OSError(errno.EPROTO, f"connection tracking: a message of type {kind:#x} in a list")
        return True


class Shape:
    """A layout, and by which words (places in four bytes) entries that have it are known.

    The first one is read attribute by attribute, too: only if both ways agree is the layout believed.
    """

    def __init__(self, size: int, layout: struct.Struct) -> None:
        self.unpack: Callable[[bytearray, int], Entry] = layout.unpack_from  # type: ignore[assignment]
        self.original, self.reply = _word(size, _ORIGINAL | _NESTED), _word(size, _REPLY | _NESTED)
        self.mark = _word(8, _MARK)
        self.at_reply = (_START + size) >> 2
        self.at_mark = (_START + 2 * size + 8) >> 2
        self.sure = False

    def learn(self, quick: Entry, slow: Entry | None) -> Entry | None:
        """Return what was read slowly; from now on the layout is believed, or nothing is taken for it any more."""
        self.sure = quick == slow
        self.reply = self.reply if self.sure else 0
        return slow


def _word(first: int, second: int) -> int:
    return int.from_bytes(_ATTRIBUTE.pack(first, second), sys.byteorder)


def walk(text: bytearray) -> Entry | None:
    """Read an entry attribute by attribute, in whatever order they are; None when it has not two directions."""
    found = attributes(text, _START)
    if not {_ORIGINAL, _REPLY} <= found.keys():
        return None
    (_number, answering, answered, its_port, _port, _code), original = _tuple(found[_REPLY]), _tuple(found[_ORIGINAL])
    number, source, target, sport, port, code = original
    its_port = 0 if number in (socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6) else its_port
    return (source, target, number, sport, port, code, answering, answered, its_port, _value(found, _MARK))


def _tuple(text: bytes) -> tuple[int, int, int, int, int, int]:
    """Return protocol, source, destination, source port or id of ICMP, port or type, and code."""
    parts = attributes(text)
    ends, protocol = attributes(parts[_IP]), attributes(parts[_PROTO])
    six = _SOURCE6 in ends
    source, target = _value(ends, _SOURCE6 if six else _SOURCE), _value(ends, _DESTINATION6 if six else _DESTINATION)
    number, kinds = _value(protocol, _NUMBER), (_SOURCE_PORT, _DESTINATION_PORT, 0)
    if number == socket.IPPROTO_ICMP:
        kinds = (_ICMP_ID, _ICMP_TYPE, _ICMP_CODE)
    elif number == socket.IPPROTO_ICMPV6:
        kinds = (_ICMP6_ID, _ICMP6_TYPE, _ICMP6_CODE)
    first, second, third = (_value(protocol, kind) for kind in kinds)
    return number, source, target, first, second, third


def attributes(text: bytes | bytearray, position: int = 0) -> dict[int, bytes]:
    """Return the attributes that begin at a position, by kind without its flags; OSError when one is cut short."""
    found = {}
    while position < len(text):
        size, kind = _ATTRIBUTE.unpack_from(text, position)
        if not _ATTRIBUTE.size <= size <= len(text) - position:
            raise OSError(errno.EPROTO, "connection tracking: a damaged message")
        found[kind & ~_NESTED] = bytes(text[position + _ATTRIBUTE.size : position + size])
        position += (size + 3) & ~3
    return found


def _value(found: dict[int, bytes], kind: int) -> int:
    return int.from_bytes(found.get(kind, b""), "big")


def deletion(text: bytearray) -> bytes:
    """Return the request that deletes an entry: its tuple, zone and id as the kernel wrote them.

    Without a tuple the kernel would delete all entries, so there is a KeyError.
    """
    found = attributes(text, _START)
    named = [attribute(_ORIGINAL | _NESTED, found[_ORIGINAL])]
    named += [attribute(kind, found[kind]) for kind in (_ZONE, _ID) if kind in found]
    return message(_DELETE, 0, 0, b"".join(named), text[_HEADER.size])


def message(kind: int, flags: int, sequence: int, body: bytes, family: int = socket.AF_INET) -> bytes:
    """Return a request about the entries of a family."""
    header = _HEADER.pack(_START + len(body), kind, _REQUEST | flags, sequence, 0)
    return header + _OF_FAMILY.pack(family, 0, 0) + body


def attribute(kind: int, value: bytes) -> bytes:
    """Return an attribute, filled up to four bytes."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + b"\0" * (-len(value) % 4)


def _restrict(pattern: Pattern) -> bytes:
    """Return the attributes that make the kernel list only what is like the pattern."""
    protocol = b"" if pattern.protocol is None else attribute(_NUMBER, bytes((pattern.protocol,)))
    by_number = 0 if pattern.protocol is None else _BY_PROTOCOL
    ways = (
        (_ORIGINAL, pattern.destination, pattern.port, _DESTINATION_PORT, _BY_DESTINATION_PORT, _ORIGINAL_FLAGS),
        (_REPLY, pattern.reply_destination, pattern.reply_port, _SOURCE_PORT, _BY_SOURCE_PORT, _REPLY_FLAGS),
    )
    tuples, flags = b"", b""
    for way, ip, port, kind, by_port, which in ways:
        given = by_number | (_BY_DESTINATION if ip else 0) | (0 if port is None else by_port)
        ends = b"" if ip is None else attribute(_IP | _NESTED, attribute(_DESTINATION, ip.packed))
        ports = protocol if port is None else protocol + attribute(kind, struct.pack(">H", port))
        if given:
            tuples += attribute(way | _NESTED, ends + (attribute(_PROTO | _NESTED, ports) if ports else b""))
            flags += attribute(which, struct.pack("=I", given))
    return tuples + attribute(_FILTER | _NESTED, flags) if flags else b""


def _batches(requests: bytearray) -> Iterator[tuple[bytearray, int]]:
    """Yield some requests at a time, and how many they are; the last of them asks for an answer."""
    start = position = count = 0
    while position < len(requests):
        last = position
        position += _HEADER.unpack_from(requests, position)[0]
        count += 1
        if count == BATCH or position == len(requests):
            _HEADER.pack_into(requests, last, position - last, _DELETE, _REQUEST | _ACK, _LAST, 0)
            yield requests[start:position], count
            start, count = position, 0


def _codes(answers: bytearray, size: int) -> Iterator[tuple[int, bool]]:
    """Yield the error of each answer, 0 when the request was carried out, and whether it is about the last request."""
    position = 0
    while position < size:
        length, kind, _flags, sequence, _port = _HEADER.unpack_from(answers, position)
        if kind != _ERROR:
            raise OSError(errno.EPROTO, f"connection tracking: an answer of type {kind:#x}")
        yield _code(answers, position), sequence == _LAST
        position += (length + 3) & ~3


def _code(buffer: bytearray, position: int) -> int:
    return -int(struct.unpack_from("=i", buffer, position + _HEADER.size)[0])


def refusal(what: str, code: int) -> OSError:
    """Return the error for what the kernel refuses, in its words."""
    return OSError(code, f"connection tracking, {what}: {os.strerror(code)}")
