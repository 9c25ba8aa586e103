# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import time

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.phases import Phases


def test_time_adds_up_and_counts_what_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter((1.0, 1.5, 2.0, 2.25))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    phases = Phases()
    with phases.time("ingest"):
        pass
    with pytest.raises(OSError, match="full"), phases.time("ingest"):
        raise OSError("full")
    assert phases == {"ingest": 0.75}


def test_plus_keeps_the_order_in_which_phases_began() -> None:
    both = Phases({"ingest": 1.0, "model": 2.0}).plus({"model": 0.5, "commit": 0.25})
    assert list(both.items()) == [("ingest", 1.0), ("model", 2.5), ("commit", 0.25)]


def test_of_returns_one_service() -> None:
    phases = Phases({"model": 1.0, "dhcp_dns.plan": 2.0, "dhcp.plan": 3.0})
    assert phases.of("dhcp") == {"plan": 3.0}


def test_text_is_in_milliseconds() -> None:
    assert str(Phases({"ingest": 0.0042, "firewall.plan": 0.1})) == "ingest 4 ms, firewall.plan 100 ms"
