# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""README's way from a bare Debian machine to a router at work, and to the next release: its commands as printed.

One bare machine is the control node, and then provisions itself. The other is provisioned by it, as a user who may use
sudo and over an ssh connection for each task; without a reboot it becomes the router of the fixtures' isolated network.
"""

from __future__ import annotations

import re
import select
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

import pytest

from plugins.plugin_utils.collection_archive import pack
from tests.lab import bare
from tests.lab.access import private_key, public_key
from tests.lab.lab import Lab
from tests.lab.probes import ROOT, PingStream, TcpStream, ask, tcp
from tests.lab.router import CACHE, Router
from tests.scenarios import drops, networks, operating, states, test_isolated_traffic
from tests.scenarios.networks import FIXTURE_SUBNETS, FIXTURE_VMS, FIXTURES, INTERNET, Isolated

CONTROL = "169.254.7.7"
USER = "keeper"
REPOSITORY = "/srv/repository"
COLLECTION = "/usr/share/ansible/collections/ansible_collections/cloudstack/virtual_router"
OTHERS = ("ansible-core==2.19.3", "vici==6.0.1")
"""What the next release wants."""
CMDLINE = (FIXTURES / "isolated/cmdline.txt").read_text(encoding="utf-8")
DAEMONS = ("nginx", "dnsmasq", "haproxy", "keepalived", "conntrackd", "cloudstack-passwords", "ssh", "dbus")
TIMEOUT = 900.0
README = (ROOT / "README.md").read_text(encoding="utf-8").partition("### Make a router of a Debian machine\n")


def readme_commands() -> tuple[str, str]:
    """Return what README has an operator type on the machine itself, and on a control node."""
    section = README[2].partition("\n## ")[0].replace("<repository>", f"file://{REPOSITORY}").replace("<user>", USER)
    on_itself, on_control_node = re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    return on_itself, on_control_node


ON_ITSELF, ON_CONTROL_NODE = readme_commands()
# README: the last two commands again, without the port and the user.
UPGRADE = "\n".join(ON_CONTROL_NODE.strip().splitlines()[-2:]).replace(f"-e ansible_port=22 -e ansible_user={USER}", "")


# Each task comes by a connection of its own, as where OpenSSH keeps none: the last one must let it be the last.
NO_CONNECTION_IS_KEPT = "export ANSIBLE_SSH_ARGS='-o ControlMaster=no'\n"


class Session:
    """Somebody who is connected to the machine by ssh, on Debian's port, and says something now and then."""

    def __init__(self, node: Router) -> None:
        """Connect."""
        words = (*node.enter(TIMEOUT * 3), "ssh", "-o", "ControlPath=none", f"{USER}@{CONTROL}", "cat")
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        assert self.answers(b"connected\n", 20)

    def answers(self, said: bytes, patience: float = 3) -> bool:
        """Tell whether what is said comes back."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(said)
        return (
            bool(select.select([self._process.stdout], [], [], patience)[0]) and self._process.stdout.read(99) == said
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.kill()
        self._process.wait()


def typed(machine: Router, text: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Type commands in root's home directory; the first that fails is the last."""
    return machine.exec("sh", "-ec", f"cd\n{text}", check=check, timeout=TIMEOUT)


def commit(machine: Router, message: str) -> None:
    """Commit what lies in the repository."""
    author = "-c user.name=lab -c user.email=lab@localhost"
    machine.shell(f"cd {REPOSITORY} && git init -q && git add . && git {author} commit -q -m '{message}'")


def running(machine: Router) -> dict[str, str]:
    """Return the PID of each daemon that runs, and when it started."""
    found = {}
    for name in DAEMONS:
        shown = machine.exec("systemctl", "show", name, "--property=MainPID,ExecMainStartTimestampMonotonic").stdout
        if "MainPID=0\n" not in shown:
            found[name] = shown
    return found


@pytest.fixture(scope="module")
def network() -> Iterator[Isolated]:
    """Return the isolated network, whose router is a bare machine yet; so is the node on its control network."""
    image, mirror = bare.prepare(OTHERS)
    with Lab("provisioning", image, {bare.MOUNT: mirror}) as lab:
        made = networks.isolated(lab, None, FIXTURE_SUBNETS, FIXTURE_VMS, ("10.7.0.1", lab.mac("r1.guest")))
        node = lab.router("node", nics={"eth1": ("control", lab.mac("node.control"))})
        for machine, address in ((made.router, CONTROL), (node, "169.254.7.8")):
            machine.wait_systemd()
            for path, content in bare.FILES.items():
                machine.put(path, content)
            machine.shell(f"ip address add {address}/16 dev eth1 && ip link set eth1 up")
        _let_in(made.router)
        typed(node, "\n".join(ON_ITSELF.splitlines()[:2]))
        _prepare_node(node)
        yield made


def _let_in(machine: Router) -> None:
    """Make the user of the operator, with sudo and the lab's key; sshd listens as Debian has it."""
    machine.shell(
        f"useradd --create-home --shell /bin/bash {USER}"
        f" && echo '{USER} ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/{USER}"
        f" && install -d -o {USER} -m 700 /home/{USER}/.ssh"
    )
    machine.put(f"/home/{USER}/.ssh/authorized_keys", public_key(machine.lab.name))
    machine.shell("ssh-keygen -A && systemctl reset-failed ssh && systemctl restart ssh")


def _prepare_node(node: Router) -> None:
    """Give the control node the repository, a key, and the inventory that README shows."""
    node.exec("mkdir", "-p", REPOSITORY)
    node.exec("tar", "-xzf", "-", "-C", REPOSITORY, stdin=pack())
    commit(node, "This release")
    node.shell("install -d -m 700 ~/.ssh")
    node.put("/root/.ssh/id_ed25519", private_key(node.lab.name).read_bytes(), 0o600)
    node.put("/root/.ssh/config", "StrictHostKeyChecking accept-new\n")
    (inventory,) = re.findall(r"^```yaml\n(routers:.*?)^```", README[0], re.MULTILINE | re.DOTALL)
    node.put("/root/inventory.yml", re.sub(r"(?<=ansible_host: ).*", CONTROL, inventory))


@pytest.fixture(scope="module")
def session(network: Isolated) -> Iterator[Session]:
    """Return somebody who has been connected to the machine since before it was provisioned."""
    with Session(network.lab.routers["node"]) as opened:
        yield opened


@pytest.fixture(scope="module")
def provisioned(network: Isolated, session: Session) -> Isolated:
    """Return the network with its router provisioned from the control node."""
    assert session
    typed(network.lab.routers["node"], NO_CONNECTION_IS_KEPT + ON_CONTROL_NODE)
    return network


@pytest.fixture(scope="module")
def at_work(provisioned: Isolated) -> Isolated:
    """Return the network after boot arguments and drops came."""
    router = provisioned.router
    key = public_key(router.lab.name).decode().strip()
    router.put(f"{CACHE}/authorized_keys", key + "\n", 0o600)
    router.put(f"{CACHE}/cmdline", CMDLINE)
    router.wait_boot()
    directory = FIXTURES / "isolated"
    states.apply_together(router, "VR-all.cfg", directory, states.ordered(directory))
    return provisioned


def test_a_pattern_that_matches_no_host_is_an_error(provisioned: Isolated) -> None:
    node = provisioned.lab.routers["node"]
    for playbook in ("provision", "converge"):
        done = typed(node, f"~/ansible/bin/ansible-playbook cloudstack.virtual_router.{playbook}", check=False)
        assert done.returncode != 0
        assert "no host of the inventory is in" in done.stdout + done.stderr


def test_everything_is_in_force_without_a_reboot(provisioned: Isolated) -> None:
    router = provisioned.router
    for name, value in (("all.arp_ignore", "1"), ("eth1.send_redirects", "0"), ("eth0.accept_source_route", "0")):
        assert router.facts.sysctl(f"net.ipv4.conf.{name}") == value
    assert router.facts.sysctl("net.ipv4.ip_nonlocal_bind") == "1"
    own = ("boot.path", "converge.socket", "converge.service", "firewall.service", "powered-off.service")
    started = ("dbus.service", "ssh.service", *(f"cloudstack-{name}" for name in own))
    assert {name: router.facts.unit(name)["ActiveState"] for name in started} == dict.fromkeys(started, "active")
    assert set(running(router)) == {"ssh", "dbus"}
    assert "yes" not in router.shell("systemctl show --property=NeedDaemonReload '*.service'").stdout
    assert {port for _protocol, _address, port in router.facts.listeners()} == {3922}
    assert router.shell("getent shadow root").stdout.split(":")[1] == "*"


def test_the_machine_is_closed_but_for_ssh_on_the_port_that_readme_says(provisioned: Isolated) -> None:
    assert not ask(provisioned.management, tcp(CONTROL, 22))
    assert ask(provisioned.management, tcp(CONTROL, 3922))
    assert "policy drop" in provisioned.router.exec("nft", "list", "chain", "inet", "cloudstack", "forward").stdout
    typed(provisioned.lab.routers["node"], f"ssh -p 3922 {USER}@{CONTROL} sudo true")


def test_whoever_is_connected_stays_so(provisioned: Isolated, session: Session) -> None:
    assert provisioned
    assert session.answers(b"the client speaks first\n")


def test_drops_become_a_network_that_packets_go_through(at_work: Isolated) -> None:
    test_isolated_traffic.test_each_rule_and_forward_lets_in_what_it_says_and_nothing_else(at_work)
    test_isolated_traffic.test_management_reaches_sshd_on_the_control_address_only(at_work)
    assert states.repaired(at_work.router) == []
    assert at_work.router.wait_systemd() == "running", at_work.router.shell("systemctl --failed").stdout


def test_whoever_is_connected_stays_so_when_the_first_converge_comes(at_work: Isolated, session: Session) -> None:
    assert at_work
    assert session.answers(b"still here\n")


def test_the_commands_of_operating_work_as_printed_on_the_router(at_work: Isolated) -> None:
    """In a login shell: what an operator who is on the router has."""
    router, entry = at_work.router, drops.vm("seen", "02:07:00:00:00:78", "10.7.0.78")
    router.drop("vm.json", entry)
    commands = operating.commands()
    assert [line for line in commands if line.startswith("ansible-playbook ")]
    for line in commands:
        if "update_config" in line:
            router.send("vm.json", entry)
        done = router.exec("sh", "-lc", line.replace("<name>", "vm.json"), check=False)
        # That a packet does not pass is an answer, too.
        wanted = (1, "dropped: ") if line.startswith("vr why ") else (0, "")
        assert (done.returncode, wanted[1] in done.stdout) == (wanted[0], True), (line, done.stdout, done.stderr)
    router.shell(f"rm {CACHE}/vm.json")


def _next_release(node: Router) -> None:
    """Commit another ansible-core, a changed unit, and a list that wants a daemon off which every router runs."""
    edit = (
        ("roles/system/defaults/main.yml", f"s/ansible-core~=.*/{OTHERS[0]}/; s/vici~=.*/{OTHERS[1]}/"),
        ("roles/metadata/files/systemd/nginx.service", "$ a # of the next release"),
        ("roles/redundancy/defaults/main.yml", "$ a\\  - nginx.service"),
        ("roles/system/defaults/main.yml", "s/  - apt-daily.timer/&\\n  - man-db.timer/"),
        ("roles/system/meta/argument_specs.yml", "$ a # of the next release"),
    )
    for path, script in edit:
        node.exec("sed", "-i", script, f"{REPOSITORY}/{path}")
    commit(node, "The next release")


@contextmanager
def asked_all_the_time(router: Router) -> Iterator[list[str]]:
    """Run commands of the management server one after the other; what was wrong with an answer is in the list."""
    wrong: list[str] = []
    done = threading.Event()

    def refuse() -> None:
        while not done.is_set():
            said = router.command("update_config.py absent.json", check=False)
            if said.stderr != f"absent.json: no such file in {CACHE}\n":
                wrong.append(f"{said.returncode}: {said.stderr}")

    def change() -> None:
        number = 0
        while not done.is_set():
            number += 1
            said = router.drop(
                "vm.json", drops.vm("often", "02:07:00:00:00:79", f"10.7.0.{150 + number % 2}"), check=False
            )
            if said.returncode or "dhcp_dns" not in said.stdout:
                wrong.append(f"drop {number}: {said.returncode}: {said.stdout}{said.stderr}")

    threads = [threading.Thread(target=target) for target in (refuse, change)]
    for thread in threads:
        thread.start()
    try:
        yield wrong
    finally:
        done.set()
        for thread in threads:
            thread.join()


def test_a_router_whose_packet_filter_had_failed_is_upgraded_and_no_packet_lost(at_work: Isolated) -> None:
    """The unit is failed since the boot; it is started again while the packet filter of a converge is in force."""
    router, node = at_work.router, at_work.lab.routers["node"]
    router.shell(": > /var/lib/cloudstack/nftables/ruleset.nft")
    router.power_off()
    router.start()
    router.wait_boot()
    router.wait_systemd()
    assert router.facts.unit("cloudstack-firewall")["ActiveState"] == "failed"
    router.shell("echo root:secret | chpasswd")
    password, before = router.shell("getent shadow root").stdout, running(router)
    assert {"nginx", "dnsmasq", "ssh"} <= set(before)
    state = states.state(router)
    _next_release(node)
    outside = at_work.internet[INTERNET]
    streams = TcpStream(outside, "192.0.2.20", 2222), PingStream(outside, "192.0.2.22")
    with streams[0] as stream, streams[1] as pings, asked_all_the_time(router) as wrong:
        typed(node, UPGRADE)
    assert wrong == []
    assert (stream.lost, stream.error, pings.lost) == (0, "", 0)
    assert (stream.sent, pings.sent) > (500, 500)
    assert router.facts.unit("cloudstack-firewall")["ActiveState"] == "active"
    assert running(router) == before
    assert router.shell("getent shadow root").stdout == password
    router.drop("vm.json", drops.vm("often", "02:07:00:00:00:79", "10.7.0.150", remove=True))
    states.assert_same(state, states.state(router))


def test_after_an_upgrade_the_next_release_is_in_use(at_work: Isolated) -> None:
    router = at_work.router
    before = running(router)
    assert "core 2.19.3" in router.shell("ansible --version").stdout
    assert "of the next release" in router.shell("systemctl cat nginx").stdout
    assert "of the next release" in router.read(f"{COLLECTION}/roles/system/meta/argument_specs.yml")
    assert "yes" not in router.shell("systemctl show --property=NeedDaemonReload '*.service'").stdout
    assert router.wait_systemd() == "running", router.shell("systemctl --failed").stdout
    assert states.repaired(router) == []
    assert running(router) == before


def test_a_machine_provisions_itself_and_a_second_time_changes_nothing(network: Isolated) -> None:
    node = network.lab.routers["node"]
    typed(node, ON_ITSELF)
    export, *_rest, again = ON_ITSELF.strip().splitlines()[-3:]
    said = typed(node, f"{export}\n{again}").stdout
    assert re.search(r"^localhost +: ok=\d+ +changed=0 ", said, re.MULTILINE), said
    node.put(f"{CACHE}/cmdline", CMDLINE.replace("type=router", "type=dhcpsrvr"))
    node.wait_boot()
    assert node.exists("/etc/cloudstack/cmdline.json")
