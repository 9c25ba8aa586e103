# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What routing adds to what others make: who may open a BGP session, and the daemons that only a primary runs."""

from __future__ import annotations

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Router
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import advertising, bgp
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.share import Share


def _primary_units(router: Router) -> tuple[str, ...]:
    told = (f"{advertising.UNIT}.service",) if advertising.guests(router) else ()
    return (*told, f"{bgp.UNIT}.service") if bgp.neighbors(router) else told


def _input_rules(_router: Router) -> tuple[str, ...]:
    """Return the rule of IPv4; that of IPv6 is in the template, with the little else that IPv6 may."""
    return (bgp.MAY_OPEN,)


SHARE = Share(sets=bgp.opened, input_rules=_input_rules, primary_units=_primary_units)
