# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is logged can be found by drop, and no text becomes a field of its own."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply import log


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Return the socket of a journal."""
    monkeypatch.setattr(log, "JOURNAL", str(tmp_path / "socket"))
    monkeypatch.setattr(log, "FILE", str(tmp_path / "router.log"))
    monkeypatch.setattr(log, "_about", {})
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as wire:
        wire.bind(log.JOURNAL)
        wire.settimeout(5)
        yield wire


def fields(data: bytes) -> list[tuple[str, str]]:
    """Return what journald reads of a datagram: a name, a length of eight bytes, that many of value."""
    found = []
    while data:
        name, _end, rest = data.partition(b"\n")
        size = int.from_bytes(rest[:8], "little")
        found.append((name.decode(), rest[8 : 8 + size].decode()))
        assert rest[8 + size : 9 + size] == b"\n"
        data = rest[9 + size :]
    return found


def test_a_line_is_found_by_each_drop_the_service_and_the_transaction(journal: socket.socket) -> None:
    log.about(transaction="t-1", drops=("a.json.1", "b.json.2"))
    log.about(service="firewall")
    log.write_log("nft --file -")
    assert fields(journal.recv(65536)) == [
        ("MESSAGE", "nft --file -"),
        ("PRIORITY", "6"),
        ("SYSLOG_IDENTIFIER", "cloudstack-router"),
        ("TRANSACTION", "t-1"),
        ("DROP", "a.json.1"),
        ("DROP", "b.json.2"),
        ("SERVICE", "firewall"),
    ]
    assert Path(log.FILE).read_text().endswith(" nft --file -\n")


@pytest.mark.parametrize("text", ["x\nDROP=forged", "x\nDROP\n\x06\0\0\0\0\0\0\0forged\n", "\0\x1b[2J"])
def test_no_text_becomes_a_field(journal: socket.socket, text: str) -> None:
    log.about(drops=(text,))
    log.write_log(text)
    names = [name for name, _value in fields(journal.recv(262144))]
    assert names == ["MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "DROP"]


@pytest.mark.parametrize("text", ["x\n2026-11-27T09:00:00+0000 b.json: done", "\x1b[2J\r", "\ud800", "\u2028"])
def test_no_text_begins_a_line_or_fails_a_converge(journal: socket.socket, text: str) -> None:
    log.write_log(text)
    (line,) = Path(log.FILE).read_text().splitlines()
    told = dict(fields(journal.recv(262144)))["MESSAGE"]
    assert told.isprintable()
    assert line.endswith(f" {told}")


def test_a_long_line_is_cut_between_letters(journal: socket.socket) -> None:
    """journalctl shows what is no text as a number of bytes."""
    log.write_log("x" + "ä" * log.MOST)
    assert dict(fields(journal.recv(262144)))["MESSAGE"] == "x" + "ä" * (log.MOST // 2 - 1)


def test_a_full_disk_is_told_to_the_journal(journal: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "FILE", "/dev/full")
    log.write_log("x")
    assert dict(fields(journal.recv(65536)))["MESSAGE"] == "x"
    told = dict(fields(journal.recv(65536)))
    assert (told["MESSAGE"], told["PRIORITY"]) == ("/dev/full: No space left on device", "4")


def test_a_journal_that_reads_nothing_holds_nobody_up(journal: socket.socket) -> None:
    """Its queue has room for some lines; the file has them all."""
    for number in range(3000):
        log.write_log(f"line {number}")
    assert len(Path(log.FILE).read_text().splitlines()) == 3000
    assert journal.fileno() > 0
