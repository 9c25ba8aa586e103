# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The same playbook in three ways: by the router's own command, by ansible-pull, from a control node over ssh."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._converge import parcel
from ansible_collections.cloudstack.virtual_router.plugins.plugin_utils.router_action import read_templates
from tests.chaos import lost_runs
from tests.lab.lab import Lab
from tests.lab.probes import ROOT
from tests.lab.router import CACHE, Router
from tests.scenarios import control_node, drops, states
from tests.scenarios.networks import FIXTURE_SUBNETS, FIXTURES

DIRECTORY = FIXTURES / "isolated"
AGGREGATE = f"{CACHE}/VR-ways.cfg"
COLLECTIONS = "/usr/share/ansible/collections"
PULLED = "/var/lib/ansible/pull"
SEED = 20260101
PARTS = ("galaxy.yml", "meta", "playbooks", "plugins", "roles", "templates")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Return a lab with the wires of the fixtures' isolated network and a host on the control network."""
    with Lab("ways") as made:
        for segment in ("guest", "control", *(subnet.nic for subnet in FIXTURE_SUBNETS)):
            made.segment(segment)
        made.host("management", "control", "169.254.0.1/16")
        yield made


@pytest.fixture(scope="module")
def collections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory of collections in which this checkout is found."""
    return control_node.collections(tmp_path_factory.mktemp("collections"))


def new_router(lab: Lab, name: str) -> Router:
    """Return a booted router of its own, in place of the one before, with the aggregate in its inbox."""
    for earlier in lab.routers.values():
        earlier.stop()
    cmdline = (DIRECTORY / "cmdline.txt").read_text(encoding="utf-8") + control_node.key_argument(lab.name)
    nics = {"eth0": ("guest", lab.mac("guest")), "eth1": ("control", lab.mac("control"))}
    router = lab.router(name, cmdline, nics | {subnet.nic: (subnet.nic, subnet.mac) for subnet in FIXTURE_SUBNETS})
    router.wait_boot()
    bodies = [(drop.split("-", 1)[1], (DIRECTORY / drop).read_bytes()) for drop in states.ordered(DIRECTORY)]
    router.put(AGGREGATE, states.aggregate(bodies))
    return router


def by_command(router: Router, _collections: Path) -> None:
    """Do as the management server does."""
    router.command(f"vr_cfg.sh -c {AGGREGATE}")


def readme_pull(repository: str, variables: str) -> str:
    """Return the command that README.md prints, for a repository, and for other variables than a drop's name."""
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    (command,) = (block for block in blocks if "ansible-pull" in block)
    name = """'{"vr_drops": ["<name>"]}'"""
    assert command.count("<repository>") == command.count(name) == 1
    return command.replace("<repository>", repository).replace(name, variables)


def by_pull(router: Router, _collections: Path) -> None:
    """Run ansible-pull as README.md prints it. The installed collection is put aside: the repository's is used."""
    router.exec("mkdir", "-p", "/srv/repository")
    router.exec("tar", "-xf", "-", "-C", "/srv/repository", stdin=_archive())
    author = "-c user.name=lab -c user.email=lab@localhost"
    router.shell(f"cd /srv/repository && git init -q && git add . && git {author} commit -q -m Collection")
    router.exec("mv", COLLECTIONS, f"{COLLECTIONS}.aside")
    try:
        router.shell(readme_pull("/srv/repository", f"vr_aggregate={AGGREGATE}"), timeout=120)
    finally:
        router.exec("mv", f"{COLLECTIONS}.aside", COLLECTIONS)


def _archive() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for part in PARTS:
            archive.add(ROOT / part, part, filter=lambda member: None if "__pycache__" in member.name else member)
    return buffer.getvalue()


def from_control_node(router: Router, collections: Path) -> None:
    """Run the playbook elsewhere: modules are sent to the router's own sshd, on the control network, port 3922."""
    played = control_node.play(router, collections, "-e", f"vr_aggregate={AGGREGATE}")
    assert played.returncode == 0, played.stdout + played.stderr


WAYS: dict[str, Callable[[Router, Path], None]] = {
    "command": by_command,
    "pull": by_pull,
    "control-node": from_control_node,
}


@pytest.fixture(scope="module")
def states_by_way(lab: Lab, collections: Path) -> dict[str, list[str]]:
    """Return what each way makes of a new router; the router of the last one stays on."""
    found = {}
    for name, way in WAYS.items():
        router = new_router(lab, name)
        way(router, collections)
        found[name] = states.state(router) + sorted(states.databags(router))
        record = states.record(router, "VR-ways.cfg")
        assert record["rc"] == 0, record
        assert not router.exists(AGGREGATE)
        assert router.exists(f"{CACHE}/processed/VR-ways.cfg.gz")
        assert states.repaired(router) == [], f"{name}: a converge by the router's own command finds something to do"
    return found


@pytest.mark.parametrize("way", ["pull", "control-node"])
def test_every_way_makes_the_same_router(states_by_way: dict[str, list[str]], way: str) -> None:
    assert any("192.0.2.22 : jump" in line for line in states_by_way["command"])
    states.assert_same(states_by_way["command"], states_by_way[way])


def test_a_refused_drop_over_ssh_changes_nothing(
    lab: Lab, collections: Path, states_by_way: dict[str, list[str]]
) -> None:
    """The way back, and the record of the failure, work without the in-process path as well."""
    router = lab.routers["control-node"]
    before, databags = states.state(router), states.databags(router)
    router.send("wrong.json", drops.ingress(900, "192.0.2.20", ports=(1, 70000)))
    played = control_node.play(router, collections, "-e", '{"vr_drops": ["wrong.json"]}')
    assert played.returncode != 0
    assert "70000" in played.stdout
    assert router.exists(f"{CACHE}/failed/wrong.json.reason")
    states.assert_same(before, states.state(router))
    assert states.databags(router) == databags


def test_what_a_control_node_sends_is_told_to_the_journal_without_its_templates(
    lab: Lab, states_by_way: dict[str, list[str]]
) -> None:
    assert states_by_way
    told = lab.routers["control-node"].shell("journalctl --no-pager --output cat").stdout.splitlines()
    told = [line for line in told if "Invoked with" in line]
    assert [line for line in told if AGGREGATE in line], "the tasks are told"
    assert max(map(len, told)) < 1000
    assert not [line for line in told if parcel.packed(read_templates())[:40] in line or "ruleset.nft.j2" in line]


def test_check_and_diff_show_the_change_and_change_nothing(
    lab: Lab, collections: Path, states_by_way: dict[str, list[str]]
) -> None:
    router = lab.routers["control-node"]
    before = router.facts.snapshot((*states.WATCHED, "/var/lib/cloudstack", "/var/cache/cloud"), states.DAEMONS)
    live = states.network(router)
    router.send("rule.json", drops.ingress(901, "192.0.2.20", ports=(7000, 7009)))
    router.send("vm.json", drops.vm("new", "02:07:00:00:00:77", "10.7.0.77"))
    shown = router.command("update_config.py --check --diff rule.json").stdout
    assert [line for line in shown.splitlines() if line.startswith("+") and "7000-7009" in line], shown
    shown = router.command("update_config.py --check --diff vm.json").stdout
    assert [line for line in shown.splitlines() if line.startswith("+02:07:00:00:00:77")], shown
    over_ssh = control_node.play(router, collections, "--check", "--diff", "-e", '{"vr_drops": ["rule.json"]}')
    assert over_ssh.returncode == 0, over_ssh.stdout + over_ssh.stderr
    assert [line for line in over_ssh.stdout.splitlines() if line.startswith("+") and "7000-7009" in line]
    wrong = router.drop("bad.json", drops.ingress(902, "192.0.2.20", ports=(1, 70000)), options="--check", check=False)
    assert wrong.returncode == 1
    assert "70000" in wrong.stderr
    router.shell(f"rm {CACHE}/rule.json {CACHE}/vm.json {CACHE}/bad.json")
    after = router.facts.snapshot((*states.WATCHED, "/var/lib/cloudstack", "/var/cache/cloud"), states.DAEMONS)
    assert after == before
    assert states.network(router) == live


@pytest.mark.parametrize("losses", [1])
def test_a_control_node_that_is_lost_blocks_nobody(
    lab: Lab, collections: Path, states_by_way: dict[str, list[str]], losses: int
) -> None:
    """In the middle of its run; the next drop of the management server is done soon, and the router is whole.

    `python -m tests.chaos` loses more of them.
    """
    *_earlier, tally = lost_runs.campaign(lab.routers["control-node"], collections, losses, Random(SEED))
    assert tally.problems == []
    assert tally.losses == losses
