# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Action plugin of vr_plan and, by links to this file, of all modules that have an entry: the in-process fast path."""

from __future__ import annotations

from ansible_collections.cloudstack.virtual_router.plugins.plugin_utils.router_action import RouterAction


class ActionModule(RouterAction):
    """Run the entry of the module that the task names."""
