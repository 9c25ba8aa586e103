# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Take drops in as a router does, but in this process and without a system: thousands in a few seconds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.errors import DropError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merge import Bag, merge
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.parse import parse_drop
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.store import parse_bag
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.text import dump_bag
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.build import build
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Nic
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import (
    load_balancer,
    metadata,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.refusal import RefusedError
from tests.chaos.mutations import Json
from tests.golden import cases
from tests.unit.databag.support import BODIES

__all__ = ["BODIES", "World", "right_bodies", "take", "worlds"]

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
SHARED_DROPS = Path(__file__).resolve().parents[3] / "shared" / "drops"
"""Drops that the management server's own code wrote; there in the project's CI, not in a clone of a user."""
LARGEST = 20_000
"""Bytes of the largest real drop that is mutated: what is wrong with a large one is wrong with a small one."""


@dataclass(frozen=True)
class World:
    """A router that drops come to: its databags and its NICs."""

    name: str
    bags: Mapping[str, Bag]
    nics: tuple[Nic, ...]


def worlds() -> list[World]:
    """Return the routers of the golden cases, and each as one of a pair where it could be."""
    found = [World(case.name, cases.databags(case), tuple(cases.nics(case))) for case in cases.cases()]
    return found + [_redundant(world) for world in found if "cmdline" in world.bags]


def _redundant(world: World) -> World:
    arguments = world.bags["cmdline"]["config"]
    shared = {"redundant_router": "true", "guestgw": arguments.get("eth0ip", "")}
    cmdline = {**world.bags["cmdline"], "config": {**arguments, **shared}}
    return World(f"{world.name}, redundant", {**world.bags, "cmdline": cmdline}, world.nics)


def right_bodies(*directories: Path) -> Iterator[Json]:
    """Yield right drops: a small one of every type, and those below directories, by default all that there are."""
    for kind, body in BODIES.items():
        yield {**body, "type": kind}
    for directory in directories or (FIXTURES, SHARED_DROPS):
        for path in sorted(directory.glob("*/[0-9]*.json.*")):
            if path.stat().st_size <= LARGEST:
                yield json.loads(path.read_bytes())


def take(world: World, name: str, data: bytes) -> dict[str, str] | DropError:
    """Return what a router would write after a drop, by the name of the file, or why the drop is refused.

    Everything else that is raised is a bug, as is a databag that could not be read the next time (AssertionError).
    """
    try:
        bags = merge(world.bags, parse_drop(name, data))
    except DropError as error:
        return error
    for key, bag in bags.items():
        if bag is not world.bags.get(key):
            assert parse_bag(key, key, dump_bag(bag)) == bag, f"the databag {key} is another when it is read back"
    router, committed = build(bags, world.nics), build(world.bags, world.nics)
    if router.load_balancer:
        try:
            if load_balancer.is_new(router, committed):
                load_balancer.require_known_words(router.load_balancer, "")
                load_balancer.require_bound(router.load_balancer)
            load_balancer.require_own_addresses(load_balancer.new_binds(router, committed), router.load_balancer)
        except RefusedError as error:
            return DropError(error.kind, error.path, error.expected, error.got)
    for vm in metadata.vms(router.vm_data).values():
        names = vm.files()
        assert not any("/" in name or name in ("..", ".") for name in names), names
    return cases.rendered(router)
