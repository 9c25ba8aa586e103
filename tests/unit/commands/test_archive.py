# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""get_diagnostics_files.py: what is asked for is in the archive or accounted for, and no secret ever is."""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import subprocess
import time
import zipfile
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Router

DEFAULT = (
    "iptables ipaddr iprule iproute /etc/cloudstack-release /etc/dnsmasq.conf /etc/dhcphosts.txt /etc/dhcpopts.txt"
    " /etc/dnsmasq.d/cloud.conf /etc/dnsmasq-resolv.conf /var/lib/misc/dnsmasq.leases /var/log/dnsmasq.log /etc/hosts"
    " /etc/resolv.conf /etc/haproxy/haproxy.cfg /var/log/haproxy.log /var/log/cloud.log"
    " /var/log/routerServiceMonitor.log /var/log/daemon.log"
)
"""What the server asks for unless an operator says otherwise."""

CANARY = {
    "psk": 'Canary-psk"\\é-one',
    "user": "Canary.user.two",
    "vm": "Canary/vm+three",
    "bgp": "Canary bgp four",
    "stats": "CanaryStats5",
    "data": "Canary user data\nsix\n",
    "root": "Canary~seven",
    "pair": "Canary'eight",
}
KEY = "-----BEGIN PRIVATE KEY-----\nQ2FuYXJ5TmluZQ==\n-----END PRIVATE KEY-----"
BAGS = {
    "site2sitevpn": {"192.0.2.9": {"ipsec_psk": CANARY["psk"], "peer_gateway_ip": "192.0.2.9"}},
    "vpnuserlist": {"joe": {"user": "joe", "password": CANARY["user"]}},
    "vmpassword": {"10.1.1.5": CANARY["vm"]},
    "bgppeers": {"1-2": {"peer_password": CANARY["bgp"]}},
    "loadbalancer": {
        "config": [
            {
                "configuration": ["global", f"listen s\n\tstats auth    admin1:{CANARY['stats']}\n"],
                "ssl_certs": [{"name": "a", "key": KEY, "cert": "-----BEGIN CERTIFICATE-----"}],
            }
        ]
    },
    "vmdata": {"10.1.1.5": [["userdata", "user-data", base64.b64encode(CANARY["data"].encode()).decode()]]},
    "cmdline": {"config": {"type": "router", "vmpassword": CANARY["root"], "router_password": CANARY["pair"]}},
}


@pytest.fixture
def filled(router: Router) -> Router:
    """Return a router that has every file of the server's list, and canaries in its databags and in a log."""
    for name, bag in BAGS.items():
        router.put(f"/etc/cloudstack/{name}.json", json.dumps({"id": name, **bag}, indent=2))
    for path in ("/etc/cloudstack-release", "/etc/dnsmasq.conf", "/var/lib/misc/dnsmasq.leases", "/etc/hosts"):
        router.put(path, f"{path}\n")
    router.put("/etc/resolv.conf", "nameserver 192.0.2.53\n")
    router.put("/etc/dnsmasq.cloudstack/dhcp-hosts", "02:00:00:00:00:01,10.1.1.5,vm\n")
    router.put("/etc/haproxy/haproxy.cfg", f"\tstats auth    admin1:{CANARY['stats']}\n")
    router.put("/var/log/cloudstack/alerts.log", "")
    leak = "".join(f"{form}\n" for value in CANARY.values() for form in forms(value))
    router.put("/var/log/cloudstack/router.log", f"{leak}{KEY}\n")
    router.put("/var/log/leak.log", leak + KEY[30:])
    router.put("/var/log/leak.log.gz", gzip.compress(leak.encode()))
    router.put("/var/lib/cloudstack/commands/agg.json", leak)
    router.put("/etc/shadow", "root:$6$canary$ten:19000:0:99999:7:::\n")
    for name in ("nft", "ip", "ss", "systemctl", "journalctl"):
        router.tool(name, f"cat {router.path('/var/log/leak.log')}")
    return router


def forms(value: str) -> list[str]:
    """Return how a secret may be written: raw, as JSON, and within base64 at each of three places."""
    raw = value.encode()
    within = [base64.b64encode(b"x" * before + raw + b"yy").decode() for before in range(4)]
    return [value, json.dumps(value), json.dumps(value, ensure_ascii=False), base64.b64encode(raw).decode(), *within]


def archive(router: Router, *words: str) -> dict[str, bytes]:
    """Make an archive and return what is in it by name."""
    done = router.run("get_diagnostics_files.py", *words)
    assert (done.returncode, done.stderr) == (0, ""), done
    assert re.fullmatch(r"/root/diagnostics_files_[0-9-]+\.zip\n", done.stdout)
    file = router.path(done.stdout.strip())
    assert file.stat().st_mode & 0o777 == 0o600
    with zipfile.ZipFile(file) as found:
        assert found.testzip() is None
        return {name: found.read(name) for name in found.namelist()}


def info(found: dict[str, bytes]) -> list[str]:
    return found["fileinfo.txt"].decode().splitlines()


def test_the_servers_list_is_all_there(filled: Router) -> None:
    found = archive(filled, *DEFAULT.split())
    assert not [line for line in info(found) if "Not Found" in line or "Refused" in line or "Withheld" in line]
    assert [line.split()[0] for line in info(found)] == DEFAULT.split()
    assert {"iptables.log", "iproute.log", "etc/hosts", "etc/dnsmasq.cloudstack/dhcp-hosts"} <= set(found)
    assert {"var/log/cloudstack/router.log", "var/log/haproxy.log", "units.log", "links.log"} <= set(found)


def test_no_secret_is_in_any_archive(filled: Router) -> None:
    asked = [*DEFAULT.split(), "/var/log/leak.log", "/var/log/leak.log.gz", "[getRouterAlerts.sh]"]
    asked += [f"/etc/cloudstack/{name}.json" for name in BAGS]
    found = archive(filled, *asked)
    everything = b"\n".join(found.values())
    for value in CANARY.values():
        for form in (value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]):
            assert form.encode() not in everything, form
        for form in forms(value)[4:]:
            assert form.encode() not in everything, form
        assert base64.b64encode(value.encode()) not in everything
    for piece in (b"Q2FuYXJ5TmluZQ", b"$6$canary", b"Canary"):
        assert piece not in everything
    assert b'"peer_gateway_ip": "192.0.2.9"' in found["etc/cloudstack/site2sitevpn.json"]
    lines = info(found)
    assert "/etc/cloudstack/vmdata.json Withheld: secret" in lines
    assert "/etc/cloudstack/cmdline.json Redacted: 2" in lines


def test_a_damaged_databag_gives_nothing_away(filled: Router) -> None:
    filled.put("/etc/cloudstack/site2sitevpn.json", '{"x": {"ipsec_psk": "CanaryTorn", "y": ')
    filled.put("/var/log/leak.log", "psk CanaryTorn\nand CanaryTorn\n")
    assert b"CanaryTorn" not in b"".join(archive(filled, "/var/log/leak.log").values())


WITHHELD = [
    "/etc/shadow",
    "/var/lib/cloudstack/commands/agg.json",
    "/root/.ssh/id_rsa",
    "/etc/cloudstack/ssl/a.pem",
    "/etc/ssl/private/x",
    "/var/cache/cloud/cmdline",
    "/var/cache/cloud/processed/x.gz",
    "/etc/ipsec.secrets",
    "/etc/ppp/chap-secrets",
    "/etc/../etc/shadow",
    "/etc//shadow",
    "/etc/./shadow",
    "/tmp/link-to-shadow",
    "/tmp/folder/shadow",
    "/usr/local/cloud/systemvm/conf/agent.properties",
    "/etc/cloudstack/.staged/cmdline.json",
    "/tmp/server.key",
]


@pytest.mark.parametrize("path", WITHHELD)
def test_files_of_secrets_are_withheld(filled: Router, path: str) -> None:
    filled.path("/tmp").mkdir(exist_ok=True)
    filled.path("/tmp/link-to-shadow").symlink_to(filled.path("/etc/shadow"))
    filled.path("/tmp/folder").symlink_to(filled.path("/etc"))
    (line,) = info(archive(filled, path))
    assert line in (f"{path} Withheld: secret", f"{path} Refused: expected a path, a name or [script arguments]")


def test_what_is_no_file_of_a_disk_is_refused_at_once(filled: Router) -> None:
    os.mkfifo(filled.path("/var/log/fifo"))
    (filled.path("/var/log/environ")).symlink_to("/proc/self/environ")
    before = time.monotonic()
    lines = info(
        archive(filled, "/proc/self/environ", "/var/log/fifo", "/var/log/environ", "../x", "x", "/nowhere", "/etc")
    )
    assert time.monotonic() - before < 10
    assert [line.split(" ", 1)[1].split(":")[0] for line in lines] == [*["Refused"] * 5, "File Not Found!!", "Refused"]


def test_a_large_file_is_cut_at_a_line(filled: Router) -> None:
    with filled.path("/var/log/large").open("wb") as file:
        file.truncate(2 * 1024**3)
        file.seek(0, 2)
        file.write(b"\n" + b"0123456789\n" * 1_000_000)
    found = archive(filled, "/var/log/large")["var/log/large"]
    assert len(found) < 5 * 1024 * 1024 + 100
    first, _break, rest = found.partition(b"\n")
    assert first.startswith(b"[the last ")
    assert set(rest.splitlines()) == {b"0123456789"}


@pytest.mark.parametrize("magic", [b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"LPKSHHRH"])
def test_a_large_packed_file_is_known_by_how_it_begins(filled: Router, magic: bytes) -> None:
    with filled.put("/var/log/packed", magic).open("r+b") as file:
        file.truncate(8 * 1024 * 1024)
    found = archive(filled, "/var/log/packed")
    assert "var/log/packed" not in found
    assert info(found) == ["/var/log/packed Refused: packed, so nobody can look for secrets in it"]


def test_a_large_rotated_log_is_unpacked_from_its_beginning(filled: Router) -> None:
    noise = base64.b64encode(os.urandom(8 * 1024 * 1024))
    log = filled.put("/var/log/long.gz", gzip.compress(CANARY["psk"].encode() + b"\nplain\n" + noise, 1))
    assert log.stat().st_size > 6 * 1024 * 1024
    found = archive(filled, "/var/log/long.gz")["var/log/long.gz"]
    assert found.startswith(b"***\nplain\n" + noise[:100])


def test_a_bad_item_costs_no_other(filled: Router) -> None:
    filled.put("/var/log/torn.gz", gzip.compress(b"x" * 1000)[:10] + b"\xff" * 50)
    filled.put("/etc/cloudstack-diagnostics.d/bare", b"\x01\x02", 0o755).parent.chmod(0o755)
    filled.path("/var/lib/cloudstack/results/pruned.json").symlink_to("/nowhere")
    filled.path("/var/lib/cloudstack/health").mkdir()
    filled.path("/var/lib/cloudstack/health/basic.json").symlink_to("/etc/shadow")
    found = archive(filled, "/var/log/torn.gz", "[bare]", "/etc/hosts")
    assert info(found)[0].startswith("/var/log/torn.gz Refused: ")
    assert b"Exec format error" in found["scripts/bare.log"]
    assert {"etc/hosts", "units.log"} <= set(found)


def test_what_goes_on_does_not_outlast_the_archive(filled: Router) -> None:
    library = filled.library("archive")
    library.write_text(library.read_text().replace("LIMIT = 60.0", "LIMIT = 2.0"))
    filled.put("/etc/cloudstack-diagnostics.d/slow", "#!/bin/sh\nsleep 77\n", 0o755).parent.chmod(0o755)
    filled.put("/etc/cloudstack-diagnostics.d/next", f"#!/bin/sh\n>{filled.path('/next')}\n", 0o755)
    before = time.monotonic()
    found = archive(filled, "[slow]", "[next]")
    assert time.monotonic() - before < 30
    assert not filled.path("/next").exists()
    assert info(found)[1:] == ["[next] Not added: the time is over", "Not everything is added: the time is over"]


def test_scripts_that_only_read_are_run_with_their_arguments(filled: Router) -> None:
    filled.put("/var/log/cloudstack/alerts.log", "2025-10-01 10:00:01,123 [ALERT] [x] y\n")
    own = filled.put("/etc/cloudstack-diagnostics.d/mine", '#!/bin/sh\necho "mine: $*"; exit 3\n', 0o755)
    own.parent.chmod(0o755)
    filled.put("/etc/cloudstack-diagnostics.d/open", "#!/bin/sh\necho open\n", 0o777).chmod(0o777)
    asked = "[getRouterAlerts.sh 2025-01-01 00:00:00] [mine $(id) ;x] [open]"
    found = archive(filled, *f"{asked} [configure.py x] [/bin/sh] [netusage.sh -r] [a b".split())
    assert b"10:00:01,123" in found["scripts/getRouterAlerts.sh_2025-01-01_00:00:00.log"]
    assert found["scripts/mine_--id-_-x.log"] == b"mine: $(id) ;x\n\n[exit status 3]\n"
    assert [("Refused" in line) for line in info(found)] == [False, False, True, True, True, True, True]


def test_archives_are_bounded(filled: Router) -> None:
    names = []
    for number in range(8):
        filled.put(f"/var/log/random{number}", os.urandom(4 * 1024 * 1024))
        names.append(f"/var/log/random{number}")
    lines = info(archive(filled, *names))
    assert sum("Not added: the archive has 20 MiB" in line for line in lines) in (3, 4)


def test_an_archive_never_takes_anothers_name_and_old_ones_go(filled: Router) -> None:
    old = filled.put("/root/diagnostics_files_20250101-000000.zip")
    left = filled.put("/root/.diagnostics_files_20250101-000000-77.part")
    other = filled.put("/root/diagnostics_files.zip")
    for file in (old, left, other):
        os.utime(file, (1, 1))
    found = {filled.run("get_diagnostics_files.py").stdout for _number in range(3)}
    assert len(found) == 3
    assert (old.exists(), left.exists(), other.exists()) == (False, False, True)
    for path in found:
        assert filled.run("cleanup.sh", path.strip()).returncode == 0
    assert not list(filled.path("/root").glob("diagnostics_files_*"))


def test_without_room_there_is_none_and_nothing_is_left(filled: Router, namespaces: list[str]) -> None:
    home = filled.path("/root")
    command = filled.path("/opt/cloud/bin/get_diagnostics_files.py")
    command = f"mount -t tmpfs -o size=10m none {home} && {command}; ls -A {home}"
    done = subprocess.run([*namespaces, "sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.stdout == ""
    assert done.stderr == "get_diagnostics_files.py: /root: expected 30 MiB free\n"
