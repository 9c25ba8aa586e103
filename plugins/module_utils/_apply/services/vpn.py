# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Site-to-site VPN: read charon's files, and plan."""

from __future__ import annotations

import os
from glob import glob

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply import vpn as daemon
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.host import Host
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.observe import observe
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.service import Service
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Router
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import vpn
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.conntrack import CutFlows, peers
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import Step

FORMER = ("/etc/ipsec.d/ipsec.vpn-*.conf", "/etc/ipsec.d/ipsec.*.secrets", "/etc/ipsec.d/l2tp.conf")
"""What a router of before has written about its tunnels; the databags say it again (M3)."""


def plan(host: Host, router: Router, committed: Router) -> list[Step]:
    """Plan charon's files, what it is told of them, and the keeper of the tunnels.

    charon says goodbye to a peer that goes. What that has opened for answers is cut after it.
    """
    wanted = host.once("vpn", router, lambda: vpn.wanted(router, host.render, daemon.options()))
    own = glob(f"{vpn.DIRECTORY}/{vpn.PREFIX}*.conf")
    present = [*own, *(path for pattern in FORMER for path in glob(pattern))]
    present += [vpn.KEEPER_FILE] if os.path.exists(vpn.KEEPER_FILE) else []
    told = daemon.told() if router.vpn.tunnels else {}
    steps = vpn.compare(router, wanted, observe(host, wanted), present, told)
    olds = tuple(old for old in (committed, *host.undone) if peers(old) - peers(router))
    if olds:
        steps.append(CutFlows(olds, router))
    return steps


SERVICE = Service(plan, handlers={vpn.TellDaemon: daemon.tell}, judges_history=True)
