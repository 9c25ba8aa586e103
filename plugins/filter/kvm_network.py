# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter of role kvm_host; its documentation is beside it, in kvm_network.yml."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._kvm.model import HostError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._kvm.network import RENDERERS, network


def kvm_network(variables: Any, renderer: str) -> dict[str, object]:
    """Return what the host's network manager, Open vSwitch and agent are told."""
    if not isinstance(variables, dict) or renderer not in RENDERERS:
        raise AnsibleFilterError(f"kvm_network: expected a mapping and one of {', '.join(RENDERERS)}, got {renderer!r}")
    try:
        return network(variables, renderer)
    except HostError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"kvm_network": kvm_network}
