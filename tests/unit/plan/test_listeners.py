# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.listeners import (
    AwaitListeners,
    missing,
    parse,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import Run, Step

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
WANTED = frozenset({("10.1.1.1", 80), ("10.1.1.1", 443)})
RELOAD: Step = Run(("systemctl", "reload", "nginx.service"), "reload nginx")


def test_parse_reads_both_families_up_to_the_first_connection() -> None:
    listening = "   0: 0101010A:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1"
    connected = "   1: 0101010A:01BB 0B01010A:8000 01 00000000:00000000 00:00000000 00000000     0        0 2"
    later = "   2: 0101010A:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 3"
    assert parse([HEAD, listening, connected, later]) == {("10.1.1.1", 80)}
    six = "   0: B80D0120000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000"
    assert parse([HEAD, six]) == {("2001:db8::1", 80)}
    assert parse([HEAD]) == frozenset()


def test_missing_is_nothing_when_all_sockets_are_there() -> None:
    assert missing("nginx", WANTED, WANTED | {("10.1.1.1", 22)}, active=True, planned=[]) == []


def test_missing_waits_for_a_daemon_that_is_told_anyway() -> None:
    """A reload returns before the sockets are open."""
    waiting = [AwaitListeners(frozenset({("10.1.1.1", 443)}))]
    assert missing("nginx", WANTED, frozenset({("10.1.1.1", 80)}), active=True, planned=[RELOAD]) == waiting
    assert missing("nginx", WANTED, frozenset({("10.1.1.1", 80)}), active=False, planned=[]) == waiting


def test_missing_restarts_a_daemon_that_runs_and_does_not_listen() -> None:
    """I5: running is not yet serving."""
    restart, waiting = missing("nginx", WANTED, frozenset(), active=True, planned=[])
    assert isinstance(restart, Run)
    assert restart.argv == ("systemctl", "restart", "nginx.service")
    assert waiting == AwaitListeners(WANTED)
