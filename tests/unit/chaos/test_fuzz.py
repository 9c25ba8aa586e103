# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whatever comes as a drop is refused with file, path, expected and got, or becomes files without a line too many.

`python -m tests.chaos` does the same in larger numbers.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.errors import DropError
from tests.chaos import pipeline
from tests.chaos.mutations import HOSTILE, MARK, Mutator, Steps, encode, hostile, paths, replaced
from tests.unit.databag.support import BODIES

SEED = 20260101
NAME = "drop.json.5f2e"
WORLDS = pipeline.worlds()
BODIES_OF_ALL = list(pipeline.right_bodies())
RIGHT = {kind: {**body, "type": kind} for kind, body in BODIES.items()}
LINE_ENDS = re.compile("[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")

JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


def assert_explained(error: DropError) -> None:
    """Fail unless a refusal names the four things a sender needs, on one line."""
    text = str(error)
    assert error.file
    assert error.path
    assert error.expected
    assert error.got
    assert text.isprintable(), text
    assert len(text) < 600


def take(world: pipeline.World, data: bytes) -> dict[str, str] | None:
    """Return the files of a router after a drop, None when it is refused in good order."""
    outcome = pipeline.take(world, NAME, data)
    if isinstance(outcome, DropError):
        assert_explained(outcome)
        return None
    return outcome


def test_there_is_a_right_drop_of_every_type() -> None:
    """And each is taken by some router, so that the other tests begin with what works."""
    assert len(RIGHT) == 20
    for body in RIGHT.values():
        assert any(take(world, encode(body)) for world in WORLDS)


@pytest.mark.parametrize("kind", sorted(BODIES))
def test_mixed_mistaken_and_damaged_drops(kind: str) -> None:
    mutator = Mutator(SEED, BODIES_OF_ALL)
    mutator.chance.seed(f"{SEED} {kind}")
    taken = 0
    for _number in range(12):
        world = mutator.chance.choice(WORLDS)
        taken += take(world, encode(mutator.mixed(kind))) is not None
        take(world, encode(mutator.mistaken(kind)))
        take(world, mutator.damaged(encode(mutator.mixed(kind))))
    assert taken, "nothing was right enough to be merged"


@given(data=st.data(), value=JSON_VALUES, kind=st.sampled_from(sorted(RIGHT)), world=st.sampled_from(WORLDS))
@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
def test_any_value_in_any_field(data: st.DataObject, value: Any, kind: str, world: pipeline.World) -> None:
    path: Steps = data.draw(st.sampled_from([path for path in paths(RIGHT[kind]) if path != ("type",)]))
    take(world, encode(replaced(RIGHT[kind], path, value)))


@given(data=st.binary(max_size=300))
@settings(max_examples=150)
def test_any_bytes(data: bytes) -> None:
    assert take(WORLDS[0], data) is None


def injected(text: str, files: dict[str, str]) -> list[str]:
    """Return the lines of files that begin with what follows a line end in a hostile text."""
    tails = [tail.strip() for tail in LINE_ENDS.split(text)[1:] if tail.strip()]
    lines = [(name, line.strip()) for name, content in files.items() for line in content.split("\n")]
    return [f"{name}: {line}" for name, line in lines for tail in tails if line.startswith(tail)]


@pytest.mark.parametrize("kind", sorted(BODIES))
def test_a_hostile_text_in_any_field_is_refused_or_carried_as_data(kind: str) -> None:
    """Lines of haproxy's configuration are lines: there a line break is no attack, but some keywords are."""
    world = next(world for world in WORLDS if world.name == "load-balancer")
    for _kind, path, name, body in hostile({kind: RIGHT[kind]}):
        files = take(world, encode(body))
        if files and ("configuration" not in path or "program" in HOSTILE[name]):
            assert not injected(HOSTILE[name], files), (path, name)


def test_what_is_hostile_would_be_found() -> None:
    """The tests above can fail: a renderer that took a text as it is would show the line."""
    assert injected(HOSTILE["dnsmasq"], {"dnsmasq.conf": f"domain={HOSTILE['dnsmasq']}\n"})
    assert injected(HOSTILE["haproxy line separator"], {"haproxy.cfg": f"listen {MARK}\n\tprogram {MARK}\n"})


needs_kernel = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("nft") is None, reason="loading a ruleset needs root and nft"
)


@needs_kernel
def test_the_kernel_takes_the_ruleset_of_every_drop_that_is_taken() -> None:
    mutator = Mutator(SEED, BODIES_OF_ALL)
    kinds = ("firewallrules", "forwardrules", "networkacl", "staticnatrules", "ips", "ipaliases", "guestnetwork")
    rulesets: set[str] = set()
    while len(rulesets) < 30:
        files = take(mutator.chance.choice(WORLDS), encode(mutator.mixed(mutator.chance.choice(kinds))))
        rulesets.add(files["ruleset.nft"] if files else "")
    for ruleset in sorted(rulesets - {""}):
        done = subprocess.run(
            ("unshare", "-n", "nft", "--check", "--file", "-"),
            input=ruleset,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{done.stderr}\n{ruleset}"


def test_the_same_seed_makes_the_same_drops() -> None:
    """A campaign that found something can be run again."""
    first, second = (Mutator(7, BODIES_OF_ALL) for _number in range(2))
    assert [first.mistaken("ips") for _draw in range(5)] == [second.mistaken("ips") for _draw in range(5)]
