# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.metadata import Items
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Kind, Role
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import metadata
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.metadata import (
    PublishMetadata,
    compare,
    decode,
    vms,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import Effect
from tests.golden.cases import renderer
from tests.unit.plan.samples import device, isolated, with_settings

A, B = "10.1.1.11", "10.1.1.12"
ITEMS: Items = [
    ["userdata", "user-data", base64.b64encode(b"\x00\xff\n").decode()],
    ["metadata", "vm-id", "42"],
    ["metadata", "cloud-domain", "example"],
    ["metadata", "public-keys", None],
    ["metadata", "cloud-name", ""],
    ["other", "name", "value"],
]


def files(items: Items) -> dict[str, bytes]:
    return vms({A: items})[A].files()


def test_files_has_each_key_by_itself() -> None:
    """I1: cloud-domain is not vm-id; null is empty, an empty text is gone, unknown folders are not served."""
    assert files(ITEMS) == {
        ".user-data": b"\x00\xff\n",
        "vm-id": b"42",
        "cloud-domain": b"example",
        "public-keys": b"",
        ".index": b"cloud-domain\npublic-keys\nvm-id\n",
    }


@pytest.mark.parametrize(("content", "wanted"), [(None, {".user-data": b"", ".index": b""}), ("", {".index": b""})])
def test_files_tells_empty_user_data_from_none(content: str | None, wanted: dict[str, bytes]) -> None:
    assert files([["userdata", "user-data", content]]) == wanted


def test_files_keeps_text_beyond_ascii() -> None:
    assert files([["metadata", "name", "Zürich €"]])["name"] == "Zürich €".encode()


def test_stamp_is_a_time_that_every_file_system_has() -> None:
    """ext4 with inodes of 128 bytes and XFS without bigtime end in 2038; some count in twos of seconds."""
    stamps = [
        vm.stamp
        for vm in vms({f"10.1.{n >> 8}.{n & 255}": [["metadata", "vm-id", f"{n}"]] for n in range(500)}).values()
    ]
    assert max(stamps) < 2**31
    assert all(stamp % 2 == 0 for stamp in stamps)
    assert len(set(stamps)) == len(stamps)


@given(st.binary(max_size=200), st.booleans(), st.booleans(), st.integers(0, 80))
def test_decode_reads_what_any_encoder_writes(data: bytes, urlsafe: bool, padded: bool, width: int) -> None:
    text = (base64.urlsafe_b64encode if urlsafe else base64.b64encode)(data).decode()
    text = text if padded else text.rstrip("=")
    wrapped = "\r\n".join(text[at : at + width] for at in range(0, len(text), width)) if width else text
    assert decode(wrapped) == data


def test_vms_have_a_digest_of_all_that_is_in_them() -> None:
    one = vms({A: ITEMS})[A]
    other = vms({A: [*ITEMS[1:], ["metadata", "vm-id", "43"]]})[A]
    assert one == vms({A: [list(item) for item in ITEMS]})[A]
    assert one.target != other.target
    assert one.stamp != other.stamp
    assert 0 <= one.stamp < 2**32


def test_publish_plans_nothing_when_every_link_is_right() -> None:
    wanted = vms({A: ITEMS, B: ITEMS})
    assert compare(wanted, {a: vm.target for a, vm in wanted.items()}, []) == []


def test_publish_plans_new_changed_damaged_and_gone_in_one_step() -> None:
    wanted = vms({A: ITEMS, B: ITEMS, "10.1.1.13": ITEMS, "10.1.1.14": ITEMS})
    links = {a: vm.target for a, vm in wanted.items()} | {B: ".vms/old", "10.1.1.99": ".vms/x", ".vms/orphan": ""}
    del links["10.1.1.13"]
    (step,) = compare(wanted, links, [A])
    assert isinstance(step, PublishMetadata)
    assert [vm.address for vm in step.vms] == [A, B, "10.1.1.13"]
    assert step.gone == (".vms/orphan", "10.1.1.99")


def test_publish_shows_no_content() -> None:
    """User data may hold secrets (M2): neither the diff nor the representation of a step has them."""
    (step,) = compare(vms({A: [["metadata", "key", "canary-17"]]}), {}, [])
    assert "canary-17" not in step.before + step.after + step.summary + repr(step)


def test_wanted_listens_on_guest_addresses_only_and_reloads() -> None:
    router = isolated()
    wanted = metadata.wanted(router, renderer())
    (file,) = wanted.files
    listens = [line.split()[1].rstrip(";") for line in file.content.splitlines() if line.strip().startswith("listen")]
    assert listens == ["10.1.1.1:80", "10.1.1.1:443"]
    assert file.effect is Effect.RELOAD
    assert [(u.name, u.running) for u in wanted.units] == [("nginx", True)]
    assert metadata.sockets(router) == {("10.1.1.1", 80), ("10.1.1.1", 443)}


def test_wanted_does_not_depend_on_the_vms() -> None:
    """One more VM never touches the web server."""
    assert metadata.wanted(isolated(vm_data={A: ITEMS}), renderer()) == metadata.wanted(isolated(), renderer())


@pytest.mark.parametrize("router", [isolated(device("eth1", Role.CONTROL, "169.254.3.101/16")), None])
def test_wanted_stops_where_no_vm_is_served(router: object) -> None:
    chosen = router or with_settings(isolated(), kind=Kind.INTERNAL_LB)
    wanted = metadata.wanted(chosen, renderer())  # type: ignore[arg-type]
    assert [u.running for u in wanted.units] == [False]
    assert metadata.sockets(chosen) == frozenset()  # type: ignore[arg-type]


def test_certificate_is_made_only_when_there_is_none() -> None:
    assert metadata.certificate(present=True) == []
    assert len(metadata.certificate(present=False)) == 1
