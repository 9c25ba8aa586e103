# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Kind, Router
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall import bindings, table_text
from tests.golden.cases import renderer
from tests.unit.plan.kernel import in_private_kernel, needs_kernel
from tests.unit.plan.pairs import vpc_pair
from tests.unit.plan.samples import CONTROL, GUEST, host, isolated, vpc, with_settings

ONE, OTHER, UPPER = "02:01:00:00:00:0b", "02:01:00:00:00:0c", "02:01:00:00:00:0D"


def sets(router: Router) -> dict[str, tuple[str, ...]]:
    """Return the elements of each set of the table."""
    file = bindings.wanted(router, renderer())
    assert file is not None
    return {block.name: block.items for block in table_text.blocks(file.content) if block.keyword == "set"}


def test_an_address_is_bound_to_its_mac_on_its_nic() -> None:
    """Of a VM with two NICs each has its own; one that two records have is either's; MACs are in small letters."""
    hosts = (
        host("10.2.1.11", mac=ONE, device="eth2"),
        host("10.2.2.11", mac=ONE, device="eth3"),
        host("10.2.1.12", mac=OTHER, device="eth2", default_nic=False),
        host("10.2.1.12", mac=UPPER, device="eth2"),
    )
    found = sets(vpc(hosts=hosts))
    assert found["services"] == ("10.2.1.1", "10.2.2.1")
    assert found["addresses"] == ("eth2 . 10.2.1.11", "eth3 . 10.2.2.11", "eth2 . 10.2.1.12")
    assert found["machines"] == (
        f"eth2 . 10.2.1.11 . {ONE}",
        f"eth3 . 10.2.2.11 . {ONE}",
        f"eth2 . 10.2.1.12 . {OTHER}",
        f"eth2 . 10.2.1.12 . {UPPER.lower()}",
    )


def test_the_shared_address_of_a_pair_is_one_of_the_services() -> None:
    found = sets(vpc_pair())["services"]
    assert all(str(virtual.interface.ip) in found for virtual in vpc_pair().virtual_addresses)


def test_a_router_that_serves_no_vms_binds_none() -> None:
    balancer = with_settings(isolated(GUEST, CONTROL), kind=Kind.INTERNAL_LB)
    assert bindings.wanted(balancer, renderer()) is None
    assert bindings.wanted(isolated(CONTROL), renderer()) is None


@needs_kernel
def test_the_kernel_takes_none_and_many() -> None:
    """Also one VM more as a change of the table that is there."""
    many = isolated(hosts=tuple(host(f"10.1.1.{n}") for n in range(2, 250)))
    more = isolated(hosts=(*many.hosts, host("10.1.1.250")))
    texts = [getattr(bindings.wanted(router, renderer()), "content", "") for router in (isolated(), many, more)]
    change = table_text.change("cloudstack_bindings", texts[1], texts[2])
    assert change is not None
    load = 'for f in "$none" "$many" "$change"; do printf "%s" "$f" | nft -f -; done'
    show = "nft list table inet cloudstack_bindings"
    listed = in_private_kernel(f"{load}; {show}", none=texts[0], many=texts[1], change=change.fill + change.switch)
    assert table_text.counts(listed) == table_text.counts(texts[2])
