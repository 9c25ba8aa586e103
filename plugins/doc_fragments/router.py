# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the documentation of all modules shares."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation fragments."""

    DOCUMENTATION = r"""
author:
  - Contributors to the cloudstack.virtual_router project (@apache)
requirements:
  - Debian 12 or later on the router
  - Python 3.11 or later, with jinja2
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying the router.
    support: full
  diff_mode:
    description: Returns what has changed, or would change in check mode; secrets are never shown.
    support: full
  idempotent:
    description: A second run with the same databags changes nothing and touches no file and no daemon.
    support: full
notes:
  - When the connection is local the work is done in Ansible's own process; over any other connection a module is sent,
    with the templates in a hidden argument.
"""

    SERVICE = r"""
options:
  transaction:
    description:
      - The transaction to work in, as returned by M(cloudstack.virtual_router.vr_plan).
      - The last service that it has to apply puts the databags into force and ends it.
      - When it is absent the module holds a transaction of its own for as long as it runs.
    type: str
"""
