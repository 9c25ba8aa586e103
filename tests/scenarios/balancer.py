# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Load balancer drops as the management server writes them: a whole configuration each time."""

from __future__ import annotations

import itertools
import json
import subprocess
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.lab.router import Answer, Router

HEAD = """\
global
\tlog 127.0.0.1:3914   local0 warning
\tmaxconn 4096
\tmaxpipes 1024
\tchroot /var/lib/haproxy
\tuser haproxy
\tgroup haproxy
\tstats socket /run/haproxy/admin.sock
\tdaemon
\t\x20
defaults
\tlog     global
\tmode    tcp
\toption  dontlognull
\tretries 3
\toption redispatch
\toption forwardfor
\toption httpclose
\ttimeout connect    5000
\ttimeout client     50000
\ttimeout server     50000
"""
NO_RULES = ["listen  vmops", "\tbind 0.0.0.0:9", "\toption transparent"]
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Rule:
    """A rule: listener, way of balancing, machines `ip:port`, and more lines of its section; `tls` is a certificate."""

    ip: str
    port: int
    balance: str = "roundrobin"
    machines: Sequence[str] = ()
    more: Sequence[str] = ()
    tls: str = ""

    @property
    def name(self) -> str:
        """Return the name of the section, and of the certificate."""
        return f"{self.ip.replace('.', '_')}-{self.port}"

    @property
    def lines(self) -> list[str]:
        """Return the section."""
        tls = f" ssl crt /etc/cloudstack/ssl/{self.name}.pem alpn h2,http/1.1 ssl-min-ver TLSv1.2" if self.tls else ""
        servers = [
            f"\tserver {self.name}_{at} {machine} check cookie {machine.replace('.', '_').replace(':', '-')}"
            for at, machine in enumerate(self.machines)
        ]
        more = [f"\t{line}" for line in self.more]
        return [
            f"listen {self.name}",
            f"\tbind {self.ip}:{self.port}{tls}",
            f"\tbalance {self.balance}",
            *servers,
            *more,
            "\t ",
        ]


@dataclass
class Balancer:
    """The load balancer of a router as the management server knows it: every change sends all of it."""

    router: Router
    rules: list[Rule] = field(default_factory=list)
    certificates: list[dict[str, str]] = field(default_factory=list)
    statistics: dict[str, str] = field(default_factory=dict)
    stat_rule: str = ""

    def apply(self, *rules: Rule, check: bool = True, revoked: Iterable[Rule] = ()) -> Answer:
        """Make these the rules."""
        self.rules = list(rules)
        return self.send(check=check, revoked=revoked)

    def send(self, *, check: bool = True, revoked: Iterable[Rule] = (), more: Sequence[str] = ()) -> Answer:
        """Send the configuration; `more` are lines at its end."""
        body = self.body(revoked, more)
        return self.router.drop(f"load_balancer.json.{uuid.uuid4()}", json.dumps(body), check=check)

    def sessions(self, address: str, port: int) -> int:
        """Return how many connections a VM of a rule has now on average, as the management server asks."""
        return int(self.router.command(f"get_haproxy_stats.sh {address} {port}").stdout)

    def up(self) -> int:
        """Return how many servers haproxy takes for up."""
        return sum(server["status"].startswith("UP") for server in self.servers())

    def connections(self) -> int:
        """Return how many connections haproxy has to all servers now."""
        return sum(int(server["scur"]) for server in self.servers())

    def servers(self) -> list[dict[str, str]]:
        """Return what haproxy says of its servers, one dictionary each (haproxy's management guide, section 9.1)."""
        shown = self.router.shell("echo show stat | socat - /run/haproxy/admin.sock").stdout.splitlines()
        names, *rows = [line.split(",") for line in shown if line]
        return [dict(zip(names, row, strict=False)) for row in rows if row[1] not in ("FRONTEND", "BACKEND")]

    def body(self, revoked: Iterable[Rule] = (), more: Sequence[str] = ()) -> dict[str, Any]:
        """Return the drop."""
        lines = HEAD.splitlines()
        for name, address in self.statistics.items():
            lines += ["", f"listen {name}", f"\tbind {address}", "\tmode http", "\toption httpclose", "\tstats enable"]
            lines += ["\tstats uri     /admin?stats", "\tstats realm   Haproxy\\ Statistics"]
            lines += ["\tstats auth    admin1:AdMiN123\n", "\t "]
        lines += [line for rule in self.rules for line in rule.lines] or NO_RULES
        record = {
            "configuration": [*lines, *more, "\t "],
            "tmp_cfg_file_path": "/etc/haproxy/",
            "tmp_cfg_file_name": f"haproxy.cfg.new.{next(_numbers)}",
            "add_rules": [f"{rule.ip}:{rule.port}:" for rule in self.rules],
            "remove_rules": [f"{rule.ip}:{rule.port}:" for rule in revoked],
            "stat_rules": [self.stat_rule],
            "router_ip": "169.254.7.7",
            "ssl_certs": [{"name": rule.tls, **self._certificate(rule)} for rule in self.rules if rule.tls],
        }
        return {"rules": [record], "type": "loadbalancer", "delete_from_processed_cache": False}

    def _certificate(self, rule: Rule) -> dict[str, str]:
        return next(sent for sent in self.certificates if sent["name"] == rule.tls)

    @property
    def worker(self) -> str:
        """Return the PID of the worker that accepts connections, as the master process tells it."""
        told = self.router.shell("echo 'show proc' | socat - /run/haproxy-master.sock").stdout
        workers = told.partition("# workers")[2].partition("# old workers")[0]
        return workers.split()[0]


def openssl(*words: str | Path) -> None:
    """Run openssl on the lab's machine."""
    subprocess.run(["openssl", *words], check=True, capture_output=True)


def certificate(directory: Path, name: str, common_name: str, password: str | None = None) -> dict[str, str]:
    """Return a certificate as the server sends it, signed by an intermediate authority, with Windows line ends.

    ``<directory>/root.pem`` is what clients have to trust.
    """
    new = ("req", "-newkey", "rsa:2048", "-nodes")
    root, inner, leaf = (directory / f"{part}.pem" for part in ("root", "inner", name))
    if not root.exists():
        openssl(*new, "-x509", "-days", "9", "-subj", "/CN=Root", "-keyout", directory / "root.key", "-out", root)
        _signed(directory, "inner", "Intermediate", "root", "basicConstraints=critical,CA:TRUE")
    _signed(directory, name, common_name, "inner", f"subjectAltName=DNS:{common_name}")
    key = directory / f"{name}.key"
    sent = {"name": name, "cert": leaf.read_text(), "chain": inner.read_text(), "key": key.read_text()}
    if password is not None:
        locked = directory / f"{name}.locked"
        openssl("pkey", "-in", key, "-aes256", "-passout", f"pass:{password}", "-out", locked)
        sent |= {"key": locked.read_text(), "password": password}
    return {field: text.replace("\n", "\r\n") for field, text in sent.items()}


def _signed(directory: Path, name: str, common_name: str, issuer: str, extension: str) -> None:
    key, request, extensions = (directory / f"{name}.{suffix}" for suffix in ("key", "csr", "ext"))
    extensions.write_text(f"{extension}\n")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={common_name}", "-keyout", key, "-out", request)
    by = ("-CA", directory / f"{issuer}.pem", "-CAkey", directory / f"{issuer}.key", "-CAcreateserial", "-days", "9")
    openssl("x509", "-req", "-in", request, *by, "-extfile", extensions, "-out", directory / f"{name}.pem")
