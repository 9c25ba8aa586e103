# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The upgrade of a pair at work, from a release that advertised once in an interval and had all programs in bin/."""

from __future__ import annotations

import re

from tests.lab.router import Router
from tests.scenarios.pair import Pair, elections, started

KEEPALIVED = "/etc/keepalived/keepalived.conf"
COLLECTION = "/usr/share/ansible/collections/ansible_collections"
TRANSITION = "/bin/sh /opt/cloudstack/libexec/vr-transition"
FORMER = "/opt/cloud/bin/vr-transition"
"""A link that the upgrade leaves (vr_collection)."""


def upgrade(pair: Pair) -> None:
    """Give both routers the configuration of before and then that of this release: no election, no restart (C5).

    A backup counts in the primary's intervals, so it is never the one that is content with fewer of shorter ones.
    """
    order = (pair.backup, pair.primary)
    before = [(elections(router), started(router, "keepalived")) for router in order]
    for router in reversed(order):
        _reload_as_before(router, pair.interval)
        pair.settle()
    for router in order:
        _install_again(router)
        pair.settle()
    assert before == [(elections(router), started(router, "keepalived")) for router in order]


def _reload_as_before(router: Router, interval: float) -> None:
    """Have keepalived advertise once in an interval, wait for three of them (the default), and call the former name."""
    router.exec("ln", "-s", "../libexec/vr-transition", FORMER)
    once = rf"\g<1>advert_int {interval:g}"
    text, count = re.subn(
        r"^( *)advert_int .*\n *down_timer_adverts .*$", once, router.read(KEEPALIVED), flags=re.MULTILINE
    )
    assert count == 1
    assert TRANSITION in text
    router.put(KEEPALIVED, text.replace(TRANSITION, FORMER))
    router.exec("systemctl", "reload", "keepalived")
    router.exec(FORMER, "again")


def _install_again(router: Router) -> None:
    """Make all files of the collection new, and converge."""
    router.shell(f"find {COLLECTION} -type f -exec touch {{}} +")
    assert "redundancy" in router.command("configure.py").stdout
    text = router.read(KEEPALIVED)
    assert "down_timer_adverts" in text
    assert FORMER not in text
