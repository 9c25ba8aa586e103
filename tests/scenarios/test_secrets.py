# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""M2: what is secret in a drop is in no log, on no output, in no process's words, and in no file others may read.

Every secret field holds a canary. The drops come through the resident parent and without it, right ones and ones that
fail: by the secret itself, by another field, and while they are applied.
"""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.chaos import pipeline
from tests.lab.lab import Lab
from tests.lab.router import Answer, Router
from tests.scenarios import drops, networks, states
from tests.scenarios.balancer import Balancer, Rule, certificate
from tests.scenarios.drops import Drop
from tests.scenarios.networks import FIXTURES

PUBLIC = "192.0.2.20"
PARENT = ("cloudstack-converge.socket", "cloudstack-converge.service")
RUNS = {"cold": "stop", "warm": "start"}
CANARY = "Canary7f3a"

# Runs on the router: the words come on standard input, so that they stand in nobody's command line by this.
SAMPLER = """
import glob, os, sys, time
words = sys.stdin.buffer.readline().split()
print("ready", flush=True)
seen, rounds = set(), 0
while not os.path.exists("/run/sampled"):
    time.sleep(0.002)
    rounds += 1
    for part in ("cmdline", "environ"):
        for path in glob.glob("/proc/[0-9]*/" + part):
            try:
                with open(path, "rb") as file:
                    text = file.read()
            except OSError:
                continue
            seen |= {(part, text[:300]) for word in words if word in text}
print(rounds, sorted(seen))
"""


@pytest.fixture(scope="module")
def router() -> Iterator[Router]:
    with Lab("secrets") as lab:
        made = networks.fixture_network(lab).router
        made.wait_boot()
        directory = FIXTURES / "isolated"
        states.apply_together(made, "VR-all.cfg", directory, states.ordered(directory)[:3])
        yield made


@contextmanager
def sampled(router: Router, words: list[str]) -> Iterator[None]:
    """Fail when a process on the router has one of the words in its command line or environment meanwhile."""
    router.exec("rm", "-f", "/run/sampled")
    command = [*router.enter(300), "/usr/bin/python3", "-IS", "-c", SAMPLER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as sampler:
        assert sampler.stdin
        assert sampler.stdout
        sampler.stdin.write(" ".join(words) + "\n")
        sampler.stdin.flush()
        assert sampler.stdout.readline() == "ready\n"
        try:
            yield
        finally:
            router.exec("touch", "/run/sampled")
        rounds, _blank, seen = sampler.stdout.read().partition(" ")
    assert int(rounds) > 10
    assert seen.strip() == "[]"


def unit_drop(kind: str, **fields: object) -> Drop:
    """Return the small right drop of a type with some fields changed."""
    return {**pipeline.BODIES[kind], **fields, "type": kind, "delete_from_processed_cache": False}


def canaries(run: str) -> dict[str, str]:
    """Return a canary for each secret, none of them part of another."""
    names = (
        "vm",
        "user",
        "l2tp",
        "psk",
        "bgp",
        "stats",
        "key-password",
        "data",
        "sshkey",
        "root",
        "vrrp",
        "api",
        "boot",
    )
    return {name: f"{CANARY}-{run}-{name}-{len(name)}z" for name in names}


def secret_drops(run: str, folder: Path) -> tuple[dict[str, Drop], list[str]]:
    """Return a drop for each secret field, and the texts by which a secret would be found, encoded ones included."""
    word = canaries(run)
    data = base64.b64encode(f"#cloud-config\npassword: {word['data']}\n".encode()).decode()
    rule = Rule(PUBLIC, 443, machines=("10.7.0.11:80",), tls="192_0_2_20-443")
    certificates = [certificate(folder, rule.tls, "www.example.test", word["key-password"])]
    balancer = Balancer(Router, [rule], certificates, {"stats_on_public": f"{PUBLIC}:8081"}, f"{PUBLIC}:8081:0/0:,")
    balanced = json.loads(json.dumps(balancer.body()).replace("AdMiN123", word["stats"]))
    arguments = {
        **dict(pair.split("=", 1) for pair in (FIXTURES / "isolated" / "cmdline.txt").read_text("utf-8").split()),
        "vmpassword": word["root"],
        "router_password": word["vrrp"],
        "keystore_password": word["boot"],
        "baremetalnotificationapikey": word["api"],
        "userdata": base64.b64encode(word["boot"].encode()).decode(),
    }
    items = [["userdata", "user-data", data], ["metadata", "public-keys", f"ssh-rsa {word['sshkey']}"]]
    sent = {
        "vm_password.json": unit_drop("vmpassword", ip_address="10.7.0.11", password=word["vm"]),
        "vpn_user_list.json": unit_drop(
            "vpnuserlist", vpn_users=[{"user": "alice", "password": word["user"], "add": True}]
        ),
        "site_2_site_vpn.json": unit_drop("site2sitevpn", ipsec_psk=word["psk"], local_public_ip=PUBLIC),
        "remote_access_vpn.json": unit_drop("remoteaccessvpn", preshared_key=word["l2tp"], vpn_server_ip=PUBLIC),
        "bgp_peers.json": unit_drop(
            "bgppeers", peers=[{**pipeline.BODIES["bgppeers"]["peers"][0], "peer_password": word["bgp"]}]
        ),
        "vm_metadata.json": unit_drop("vmdata", vm_ip_address="10.7.0.11", vm_metadata=items),
        "load_balancer.json": balanced,
        "cmd_line.json": unit_drop("cmdline", cmd_line=arguments),
    }
    keys = [(folder / f"{rule.tls}.{kind}").read_text("utf-8").splitlines()[7] for kind in ("key", "locked")]
    return sent, [*word.values(), data[24:64], arguments["userdata"], *keys]


def failing(sent: dict[str, Drop], words: dict[str, str]) -> Iterator[tuple[str, bytes]]:
    """Yield drops that fail though their secrets are all there: each by a secret, by its end, and by another field."""
    for name, body in sent.items():
        text = json.dumps(body)
        yield name, text[:-9].encode()
        yield name, json.dumps({**body, "type": "nothing"}).encode()
        spoilt = {text.replace(f'{word}"', f'{word}\\u0000"') for word in words.values()} - {text}
        # User data may hold any sign.
        yield from ((name, data.encode()) for data in sorted(spoilt) if name != "vm_metadata.json")


def refused_by_daemons(sent: dict[str, Drop], words: dict[str, str]) -> Iterator[tuple[str, bytes]]:
    """Yield drops that fail while they are planned, checked and applied."""
    balancer = json.dumps(sent["load_balancer.json"])
    yield "load_balancer.json", balancer.replace("stats enable", "stats bogus").encode()
    yield "load_balancer.json", balancer.replace(words["key-password"], f"{words['key-password']}x").encode()
    yield "load_balancer.json", balancer.replace(f"bind {PUBLIC}:443", "bind 10.7.0.1:53").encode()


def assert_silent(answers: list[Answer], texts: list[str]) -> None:
    """Fail when an answer repeats a secret."""
    for answer in answers:
        said = answer.stdout + answer.stderr
        assert not [text for text in texts if text in said], answer


def assert_hidden(router: Router, texts: list[str]) -> None:
    """Fail when a log has a secret, or a file that has one may be read by somebody who owns no service."""
    places = ("/etc", "/var", "/run", "/tmp", "/root", "/home", "/opt", "/srv", "/dev/shm")
    flags = ("--recursive", "--devices=skip", "--fixed-strings", "--files-with-matches", "--file=-", "--text")
    found = router.exec("grep", *flags, *places, check=False, stdin="\n".join(texts)).stdout.splitlines()
    assert any(path.startswith(states.DATABAGS) for path in found), "the canaries never came"
    assert [path for path in found if path.startswith(("/var/log", "/tmp", "/run", "/dev"))] == []
    readable = 'while read -r path; do if [ -r "$path" ]; then echo "$path"; fi; done'
    as_nobody = ("runuser", "--user", "nobody", "--", "sh", "-c", readable)
    assert router.exec(*as_nobody, stdin="".join(f"{path}\n" for path in found)).stdout == ""
    journal = router.exec("journalctl", "--no-pager", "--all", "--output", "export").stdout
    assert not [text for text in texts if text in journal]
    logs = router.shell("cat /var/log/cloudstack/*.log").stdout
    assert not [text for text in texts if text in logs]


@pytest.mark.parametrize("run", RUNS)
def test_secrets_are_nowhere_but_where_they_belong(router: Router, tmp_path: Path, run: str) -> None:
    """Without the parent only what makes a difference is tried: it is the same code, and takes four times as long."""
    router.exec("systemctl", RUNS[run], *PARENT)
    sent, texts = secret_drops(run, tmp_path)
    words = canaries(run)
    wrong = [*(failing(sent, words) if run == "warm" else ()), *refused_by_daemons(sent, words)]
    with sampled(router, texts):
        answers = [router.drop(f"{name}.{run}.{at}", data, check=False) for at, (name, data) in enumerate(wrong)]
        assert [answer.command for answer in answers if answer.returncode != 1] == []
        for name, body in sent.items() if run == "warm" else ():
            if name != "cmd_line.json":
                answers.append(router.drop(f"{name}.{run}", body, options="--check --diff"))
                answers.append(router.command(f"update_config.py {name}.{run}"))
        answers.append(states.change(router, *sent.values()))
        broken = {**drops.forward(PUBLIC, (1, 2), "10.7.0.11"), "rules": [{}]}
        answers.append(states.change(router, *sent.values(), broken, check=False))
        assert answers[-1].returncode == 1
    assert_silent(answers, texts)
    assert_hidden(router, texts)


def test_a_secret_would_be_found(router: Router) -> None:
    """The tests above can fail."""
    word = f"{CANARY}-control"
    router.put("/var/lib/cloudstack/found", word, 0o644)
    with pytest.raises(AssertionError):
        assert_hidden(router, [word])
    router.exec("rm", "/var/lib/cloudstack/found")
    with pytest.raises(AssertionError, match=word), sampled(router, [word]):
        router.exec("sh", "-c", "sleep 2", word)
