# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What KVM hosts are told is what the golden cases say, and netplan and Open vSwitch's database take it."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._kvm.network import network
from tests.unit.kvm.cases import CASES, names, outcome, variables

OVS = [name for name in names() if variables(name).get("backend") == "openvswitch"]
Vsctl = Callable[..., str]


@pytest.mark.parametrize("name", names())
def test_case_is_told_what_its_files_say(name: str) -> None:
    expected = {path.name: path.read_text("utf-8") for path in (CASES / name).glob("n*.yml")}
    assert outcome(name) == expected


def generate(root: Path, name: str) -> Path:
    """Have netplan write what systemd-networkd and systemd would read, below a directory."""
    file = root / "etc" / "netplan" / "60-cloudstack.yaml"
    file.parent.mkdir(parents=True)
    file.write_bytes((CASES / name / "netplan.yml").read_bytes())
    file.chmod(0o600)
    done = subprocess.run(
        ["netplan", "generate", "--root-dir", str(root)], capture_output=True, text=True, check=False, timeout=30
    )
    assert (done.returncode, done.stderr) == (0, "")
    return root / "run" / "systemd"


@pytest.mark.parametrize("name", names())
def test_netplan_takes_it_and_addresses_are_on_the_bridges(name: str, tmp_path: Path) -> None:
    run = generate(tmp_path, name)
    for bridge in network(variables(name), "netplan")["bridges"]:
        text = (run / "network" / f"10-netplan-{bridge['name']}.network").read_text("utf-8")
        told = [line.removeprefix("Address=") for line in text.splitlines() if line.startswith("Address=")]
        assert told == bridge["addresses"]


def test_kernel_bond_of_the_articles(tmp_path: Path) -> None:
    run = generate(tmp_path, "articles-linuxbridge")
    lines = (run / "network" / "10-netplan-bond0.netdev").read_text("utf-8").splitlines()
    assert {"Mode=active-backup", "MIIMonitorSec=100ms"} <= set(lines)
    lines = (run / "network" / "10-netplan-bond0.network").read_text("utf-8").splitlines()
    assert {"Bridge=cloudbr0", "VLAN=bond0.100", "LinkLocalAddressing=no"} <= set(lines)


@pytest.fixture
def vsctl(tmp_path: Path) -> Iterator[Vsctl]:
    """Run a database of Open vSwitch, with nobody who would act on it, and return how to ask it."""
    place = f"unix:{tmp_path}/db.sock"
    schema = "/usr/share/openvswitch/vswitch.ovsschema"
    subprocess.run(["ovsdb-tool", "create", tmp_path / "conf.db", schema], check=True, timeout=30)
    server = ["ovsdb-server", f"--remote=p{place}", f"--unixctl={tmp_path}/ctl", "--log-file=/dev/null"]
    # --detach returns once the server listens, and --pidfile says whom to end.
    subprocess.run([*server, "--detach", f"--pidfile={tmp_path}/pid", tmp_path / "conf.db"], check=True, timeout=30)

    def ask(*words: str) -> str:
        command = ["ovs-vsctl", f"--db={place}", "--no-wait", *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()

    ask("init")
    yield ask
    subprocess.run(["ovs-appctl", "-t", f"{tmp_path}/ctl", "exit"], check=True, timeout=30)


def tell(vsctl: Vsctl, root: Path, name: str) -> None:
    """Run the commands that netplan made units of, bridges first, then what the role adds."""
    commands = [
        shlex.split(line)[1:]
        for unit in (generate(root, name) / "system").glob("netplan-ovs-*.service")
        for line in unit.read_text("utf-8").splitlines()
        if line.startswith("ExecStart=/usr/bin/ovs-vsctl ")
    ]

    def order(words: list[str]) -> int:
        return 2 if "--may-exist" not in words else 1 if words[1] != "add-br" or len(words) > 3 else 0

    vsctl(*(word for words in sorted(commands, key=order) for word in ("--", *words)))
    told = network(variables(name), "netplan")
    for port in told["ports"]:
        device = f"options:dpdk-devargs={port['device']}"
        vsctl("add-port", port["bridge"], port["name"], "--", "set", "Interface", port["name"], "type=dpdk", device)
    vsctl(*told["writing"])
    read = vsctl(*told["reading"]).replace('"', "").splitlines()
    assert read == [row["value"] for row in told["columns"]]


@pytest.mark.parametrize("name", OVS)
def test_database_has_bridges_and_vlans(name: str, vsctl: Vsctl, tmp_path: Path) -> None:
    tell(vsctl, tmp_path, name)
    told = network(variables(name), "netplan")["bridges"]
    assert vsctl("list-br").splitlines() == sorted(bridge["name"] for bridge in told)
    for bridge in told:
        assert vsctl("br-to-vlan", bridge["name"]) == str(bridge["vlan"])
        assert vsctl("br-to-parent", bridge["name"]) == bridge["parent"]
    for bond in network(variables(name), "netplan")["bonds"]:
        assert vsctl("get", "Port", bond["name"], "bond_mode") == bond["mode"]


def test_database_has_the_settings_of_dpdk(vsctl: Vsctl, tmp_path: Path) -> None:
    tell(vsctl, tmp_path, "dpdk")
    expected = {"dpdk-init": "true", "dpdk-socket-mem": "1024,1024", "dpdk-lcore-mask": "0x1", "pmd-cpu-mask": "0x6"}
    for key, value in expected.items():
        assert vsctl("get", "Open_vSwitch", ".", f"other_config:{key}").strip('"') == value
    assert vsctl("get", "Bridge", "cloudbr0", "datapath_type") == "netdev"
    assert vsctl("get", "Interface", "dpdk0", "type") == "dpdk"
    assert vsctl("get", "Interface", "dpdk0", "options:dpdk-devargs").strip('"') == "0000:03:00.0"
    assert vsctl("list-ports", "cloudbr1") == "dpdk0"


def test_both_managers_are_told_the_same_network() -> None:
    for name in names():
        netplan, nmstate = (network(variables(name), renderer) for renderer in ("netplan", "nmstate"))
        for key in ("bridges", "bonds", "agent", "nics", "links", "other_config"):
            assert netplan[key] == nmstate[key]
        addresses = [
            f"{item['ip']}/{item['prefix-length']}"
            for interface in nmstate["network"]["interfaces"]
            for family in ("ipv4", "ipv6")
            for item in interface.get(family, {}).get("address", [])
        ]
        assert sorted(addresses) == sorted(item for bridge in netplan["bridges"] for item in bridge["addresses"])


def test_agent_reads_enabled_and_not_what_old_documents_say() -> None:
    agent = yaml.safe_load(outcome("dpdk")["netplan-others.yml"])["agent"]
    assert agent["openvswitch.dpdk.enabled"] == "true"
    assert agent["openvswitch.dpdk.enable"] == ""
    assert agent["libvirt.vif.driver"] == "com.cloud.hypervisor.kvm.resource.OvsVifDriver"
