# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.metadata import passwords, vm_data


def test_vm_data_knows_a_vm_by_the_address_as_a_web_server_writes_it() -> None:
    items = [["metadata", "vm-id", "1"]]
    bag = {"id": "vmdata", "10.1.1.11": items, "2001:DB8:0:0::000B": items}
    assert vm_data({"vmdata": bag}) == {"10.1.1.11": items, "2001:db8::b": items}


def test_vm_data_and_passwords_of_no_databag_are_none() -> None:
    assert (vm_data({}), passwords({})) == ({}, {})


@pytest.mark.parametrize("mark", ["saved_password", "", "null"])
def test_passwords_leaves_out_the_marks_for_none(mark: str) -> None:
    bag = {"id": "vmpassword", "10.1.1.11": mark, "10.1.1.12": "a b  c"}
    assert passwords({"vmpassword": bag}) == {"10.1.1.12": "a b  c"}
