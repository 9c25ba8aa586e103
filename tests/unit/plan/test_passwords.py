# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from ipaddress import IPv4Address

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Role
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.passwords import (
    LISTEN,
    StorePasswords,
    compare,
    file_name,
    sockets,
    wanted,
)
from tests.unit.plan.pairs import vpc_pair
from tests.unit.plan.samples import device, isolated, with_settings

A, B = "10.1.1.11", "10.1.1.12"


def test_compare_stores_what_nobody_has_fetched_yet() -> None:
    (step,) = compare({A: "one", B: "two"}, waiting=[file_name(B, "two")], consumed=[])
    assert isinstance(step, StorePasswords)
    assert step.passwords == ((file_name(A, "one"), "one"),)
    assert step.gone == ()


def test_compare_never_brings_a_fetched_password_back() -> None:
    """C14: the databag still holds it after a restart and a reboot."""
    assert compare({A: "one"}, waiting=[], consumed=[file_name(A, "one")]) == []


def test_compare_takes_a_waiting_one_back_that_was_fetched() -> None:
    name = file_name(A, "one")
    (step,) = compare({A: "one"}, waiting=[name], consumed=[name])
    assert step == StorePasswords((), (f"waiting/{name}",))


def test_compare_replaces_both_the_waiting_and_the_fetched() -> None:
    old, older = file_name(A, "old"), file_name(A, "older")
    (step,) = compare({A: "new"}, waiting=[old], consumed=[older])
    assert step == StorePasswords(((file_name(A, "new"), "new"),), (f"waiting/{old}", f"consumed/{older}"))


def test_compare_forgets_vms_that_are_gone() -> None:
    (step,) = compare({}, waiting=[file_name(A, "a"), "stray"], consumed=[file_name(B, "b")])
    assert step == StorePasswords(
        (), (f"waiting/{file_name(A, 'a')}", "waiting/stray", f"consumed/{file_name(B, 'b')}")
    )


def test_file_names_are_of_one_vm() -> None:
    """The same password of two VMs must not look the same."""
    assert file_name(A, "one").partition(",")[2] != file_name(B, "one").partition(",")[2]


def test_steps_show_no_password() -> None:
    (step,) = compare({A: "canary-17"}, [], [])
    assert "canary-17" not in step.summary + step.before + step.after + repr(step)


def test_wanted_listens_on_guest_addresses() -> None:
    (file,) = wanted(isolated()).files
    assert (file.path, file.content.splitlines()[1:]) == (LISTEN, ["10.1.1.1"])
    assert sockets(isolated()) == {("10.1.1.1", 8080)}


def test_wanted_names_the_link_of_a_pair() -> None:
    (file,) = wanted(vpc_pair()).files
    tiers = ["10.2.1.1 shared", "10.2.1.84", "10.2.2.1 shared", "10.2.2.84"]
    assert file.content.splitlines()[1:] == [*tiers, "240.0.0.84 pair"]


def test_wanted_marks_the_addresses_of_a_pair() -> None:
    """The daemon serves while it has the shared address (C13), and tells the other router on the link (C14)."""
    one = isolated(device("eth0", Role.GUEST, "10.1.1.84/24", "10.9.0.1/24"))
    router = with_settings(one, redundant=True, guest_gateway=IPv4Address("10.1.1.1"))
    (file,) = wanted(router).files
    assert file.content.splitlines()[1:] == ["10.1.1.1 shared", "10.1.1.84", "10.9.0.1", "10.1.1.84 pair"]
    assert sockets(router) == {("10.1.1.1", 8080), ("10.1.1.84", 8080), ("10.9.0.1", 8080)}
