# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model import values

NOTHING = [None, "", " ", "None", "null", "ERROR"]


@pytest.mark.parametrize("value", NOTHING)
def test_texts_that_mean_nothing(value: Any) -> None:
    """The server writes these where it has no value (A5)."""
    assert values.text(value) is None
    assert values.address(value) is None
    assert values.network(value) is None
    assert values.interface(value, "255.255.255.0") is None
    assert values.words(value) == ()
    assert values.mtu(value) == 1500


@pytest.mark.parametrize("value", ["0.0.0.0", "10.1.1", "gateway", "2001:db8::1"])
def test_address_is_none_for_what_is_no_next_hop(value: str) -> None:
    """0.0.0.0 is no gateway (F17)."""
    assert values.address(value) is None


@pytest.mark.parametrize(("mask", "length"), [("255.255.255.0", 24), ("16", 16), ("None", 32)])
def test_interface(mask: str, length: int) -> None:
    assert values.interface("10.1.1.1", mask) == IPv4Interface(f"10.1.1.1/{length}")


def test_address_and_network() -> None:
    assert values.address(" 10.1.1.1 ") == IPv4Address("10.1.1.1")
    assert values.network("10.1.1.7/24") == IPv4Network("10.1.1.0/24")
    assert values.network("2001:db8::/32") is None


@pytest.mark.parametrize(
    ("value", "wanted"), [(True, True), ("true", True), ("1", True), ("False", False), (None, False)]
)
def test_flag(value: Any, wanted: bool) -> None:
    assert values.flag(value) is wanted


def test_words_are_unique_and_in_order() -> None:
    assert values.words("b,a,,None,b") == ("b", "a")


@pytest.mark.parametrize(("given", "wanted"), [((None, "1450"), 1450), (("null", 9000), 9000), (("x", ""), 1500)])
def test_mtu(given: tuple[Any, ...], wanted: int) -> None:
    assert values.mtu(*given) == wanted


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ([], ()),
        (["0.0.0.0/0", "10.0.0.0/8"], ()),
        (["10.1.1.9/24", "10.1.1.0/24"], ("10.1.1.0/24",)),
        (["::/0"], None),
        (["::/0", "10.0.0.0/8"], ("10.0.0.0/8",)),
    ],
)
def test_cidrs(given: list[str], wanted: tuple[str, ...] | None) -> None:
    """Anything is (); None says that the list is about IPv6 only."""
    assert values.cidrs(given) == wanted
