# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The shell around an entry when it runs as a module on the router."""

from __future__ import annotations

from contextlib import suppress

from ansible.module_utils import basic

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._converge import parcel
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._converge.call import Call, VrError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._converge.entry import ENTRIES, SPECS
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.errors import TransactionError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.render import Renderer


def main(name: str) -> None:
    """Run the entry of a module; the action plugin sends the templates along."""
    # Nobody is offered the option of the action plugin: it is there only where that plugin has given it.
    given = basic._load_params() or {}
    sent = {option: spec for option, spec in parcel.SPEC.items() if option in given}
    module = basic.AnsibleModule({**SPECS[name], **sent}, supports_check_mode=True)
    render = Renderer(parcel.unpacked(module.params.get("_templates")))
    call = Call(module.params, render, check_mode=module.check_mode, diff=module._diff)
    try:
        result = ENTRIES[name](call)
    except VrError as error:
        _pause(call)
        module.fail_json(msg=str(error))
    _pause(call)
    module.exit_json(**result)


def _pause(call: Call) -> None:
    """Leave the transaction to the next task: this process ends, and only time holds it until that one begins."""
    with suppress(OSError, TransactionError):
        call.store.pause()
