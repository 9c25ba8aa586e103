# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""netusage.sh and vpc_netusage.sh."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Router


COUNTERS = {"eth3_sent": 30, "eth3_received": 40, "eth2_received": 400, "eth2_sent": 300}
COUNTERS |= {"eth2_own_received": 7, "eth2_own_sent": 5}
UNCOUNTED = ("eth3_own_sent", "eth3_own_received")
RULESET = "add table inet cloudstack_usage\n" + "".join(
    f"add counter inet cloudstack_usage {name} {{ packets 1 bytes {count}; }}\n"
    for name, count in (COUNTERS | dict.fromkeys(UNCOUNTED, 0)).items()
)
ADDRESSES = [{}, {"ifname": "eth3", "addr_info": [{"family": "inet", "local": "198.51.100.20", "prefixlen": 24}]}]


@pytest.fixture
def counting(router: Router) -> Router:
    """Return a router whose nft lists two NICs, one of which has a known address; nft notes what it is asked."""
    listed = [{"counter": {"name": name, "bytes": count, "packets": 1}} for name, count in COUNTERS.items()]
    router.put("/nft.json", json.dumps({"nftables": [{"metainfo": {}}, *listed]}))
    router.put("/ip.json", json.dumps(ADDRESSES))
    router.tool("nft", f'echo "$@" >>{router.path("/asked.txt")}; cat {router.path("/nft.json")}')
    router.tool("ip", f"cat {router.path('/ip.json')}")
    return router


def answer(router: Router, command: str, *args: str) -> str:
    done = router.run(command, *args)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("command", ["netusage.sh", "vpc_netusage.sh"])
@pytest.mark.parametrize(
    ("args", "line"),
    [
        (("-g",), "300:400:5:7:30:40:0:0:\n"),
        (("-g", "-l", "198.51.100.20"), "30:40:0:0:\n"),
        (("-l", "198.51.100.20", "-g"), "30:40:0:0:\n"),
        (("-g", "-i", "169.254.3.4", "-l", "198.51.100.20"), "30:40:0:0:\n"),
        (("-i", "-g", "-l", "198.51.100.20"), "30:40:0:0:\n"),
        (("-i", "169.254.3.4", "-g", "-l", "198.51.100.20"), "30:40:0:0:\n"),
        (("-g", "-l", "192.0.2.99"), ""),
    ],
)
def test_get_prints_sent_and_received_in_one_line(counting: Router, command: str, args: tuple[str], line: str) -> None:
    assert answer(counting, command, *args) == line


def test_the_server_sums_the_pairs(counting: Router) -> None:
    fields = [int(field) for field in answer(counting, "netusage.sh", "-g").strip().split(":") if field]
    assert (sum(fields[::2]), sum(fields[1::2])) == (335, 447)


@pytest.mark.parametrize("args", [("-c",), ("-a", "eth3"), ("-d", "eth3")])
def test_what_the_ruleset_does_by_itself_succeeds(counting: Router, args: tuple[str, ...]) -> None:
    assert answer(counting, "netusage.sh", *args) == ""
    assert not counting.path("/asked.txt").exists()


@pytest.mark.parametrize("args", [("-c", "-v", "10.2.0.0/16"), ("-n",), ("-d",)])
def test_the_same_for_a_vpc(counting: Router, args: tuple[str, ...]) -> None:
    assert answer(counting, "vpc_netusage.sh", "-l", "192.0.2.10", *args) == ""


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("-x",),
        ("-g", "-r"),
        ("-l", "192.0.2.1"),
        ("-g", "-l"),
        ("-g", "-l", "a b"),
        ("-a",),
        ("g",),
        ("-l", "-g"),
        ("-i",),
    ],
)
def test_wrong_arguments_are_one_line(counting: Router, args: tuple[str, ...]) -> None:
    assert counting.fails("netusage.sh", *args).startswith("usage: netusage.sh")


def test_a_router_without_the_table_has_no_usage(counting: Router) -> None:
    counting.tool("nft", "echo 'Error: No such file or directory' >&2; exit 1")
    assert answer(counting, "netusage.sh", "-g") == ""
    assert answer(counting, "netusage.sh", "-r") == ""


def test_any_other_failure_of_nft_is_one_line(counting: Router) -> None:
    counting.tool("nft", "echo 'Error: Operation not permitted' >&2; echo more >&2; exit 1")
    assert "Operation not permitted more" in counting.fails("netusage.sh", "-g")


def real(router: Router, namespaces: list[str], *lines: str) -> str:
    """Run shell lines where real counters are; `$bin` holds the commands, without stand-ins."""
    prepare = [f"nft -f {router.put('/usage.nft', RULESET)}", "ip link add eth3 type veth peer name peer"]
    prepare += ["ip address add 198.51.100.20/24 dev eth3", f"bin={router.path('/opt/cloud/bin')}"]
    script = "\n".join(["set -e", *prepare, *lines])
    return subprocess.run([*namespaces, "sh", "-c", script], check=True, capture_output=True, text=True).stdout


def test_real_counters_are_read(router: Router, namespaces: list[str]) -> None:
    lines = ("$bin/netusage.sh -g", "$bin/netusage.sh -g -l 198.51.100.20")
    assert real(router, namespaces, *lines) == "300:400:5:7:30:40:0:0:\n30:40:0:0:\n"


def test_real_counters_are_reset_all_or_one_nic(router: Router, namespaces: list[str]) -> None:
    lines = (
        "$bin/netusage.sh -r -l 198.51.100.20",
        "$bin/netusage.sh -g",
        "$bin/netusage.sh -r",
        "$bin/netusage.sh -g",
    )
    assert real(router, namespaces, *lines) == "300:400:5:7:0:0:0:0:\n0:0:0:0:0:0:0:0:\n"


def test_no_real_table_is_no_usage(router: Router, namespaces: list[str]) -> None:
    assert real(router, namespaces, "nft flush ruleset", "$bin/netusage.sh -g", "$bin/netusage.sh -r") == ""
