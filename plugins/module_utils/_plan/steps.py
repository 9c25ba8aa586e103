# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a plan is made of: each step is plain data, with a line for the operator and the two sides of a diff.

The same steps are printed (diff), counted (changed) and executed (apply); check mode is not executing them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.table_text import Change

_VERB = re.compile(" (?:add|replace|set) ")
HIDDEN = "(a secret, not shown)\n"


class Effect(Enum):
    """What the change of a file asks of the daemon that reads it."""

    NONE = 0
    RELOAD = 1
    RESTART = 2


@dataclass(frozen=True, slots=True)
class File:
    """A file wanted on the router; `checker` is the daemon's own check, with `{}` for the candidate.

    One that is `durable` is on the disk before it counts: what guards the boot must survive a power cut. `owner` is the
    user and group that has it, root if none is named. `hidden` are words of it that no message may repeat.
    """

    path: str
    content: str
    mode: int = 0o644
    secret: bool = False
    effect: Effect = Effect.NONE
    checker: tuple[str, ...] = ()
    durable: bool = False
    owner: str = ""
    hidden: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Unit:
    """A systemd unit: wanted running or stopped; `reload` is the command that makes it reread its files."""

    name: str
    running: bool = True
    reload: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """The files, kernel settings (path to value) and units of a service."""

    files: tuple[File, ...] = ()
    knobs: tuple[tuple[str, str], ...] = ()
    units: tuple[Unit, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """Base of all steps."""

    moot_at_verify: ClassVar[bool] = False

    @property
    def summary(self) -> str:
        """Return one line that says what is done."""
        raise NotImplementedError

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return what the result must say of it besides."""
        return ()

    @property
    def before(self) -> str:
        """Return the left side of the diff."""
        return ""

    @property
    def after(self) -> str:
        """Return the right side of the diff."""
        return f"{self.summary}\n"


@dataclass(frozen=True, slots=True)
class WriteFile(Step):
    """Put a file in place as a whole."""

    file: File
    old: str | None

    @property
    def summary(self) -> str:
        return f"write {self.file.path}"

    @property
    def before(self) -> str:
        return HIDDEN if self.file.secret and self.old else self.old or ""

    @property
    def after(self) -> str:
        return HIDDEN if self.file.secret else self.file.content


@dataclass(frozen=True, slots=True)
class SetKnob(Step):
    """Write a kernel setting below /proc/sys or /sys."""

    path: str
    value: str
    old: str

    @property
    def summary(self) -> str:
        return f"set {self.path} to {self.value}"

    @property
    def before(self) -> str:
        return f"{self.path} = {self.old}\n"

    @property
    def after(self) -> str:
        return f"{self.path} = {self.value}\n"


@dataclass(frozen=True, slots=True)
class Run(Step):
    """Run a command; `why` is the line for the operator, `hidden` are words that no message may repeat."""

    argv: tuple[str, ...]
    why: str
    hidden: tuple[str, ...] = field(default=(), repr=False)

    @property
    def summary(self) -> str:
        return self.why


@dataclass(frozen=True, slots=True)
class IpBatch(Step):
    """Change links, addresses, routes and policy rules by one `ip -batch`; `foreign` are routes of others that go.

    A diff shows what goes on its left side, and what comes on its right, as `ip` names it without the verb.
    """

    lines: tuple[str, ...]
    foreign: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(
            f"route {route}: removed, somebody added it by hand and it contradicts the databags"
            for route in self.foreign
        )

    @property
    def summary(self) -> str:
        return f"change {len(self.lines)} of links, addresses, routes and rules"

    @property
    def before(self) -> str:
        gone = (line.replace(" del ", " ", 1) for line in self.lines if " del " in line)
        turned = (f"{line[:-2]}down" if line.endswith(" up") else f"{line[:-4]}up" for line in self._switched)
        return "".join(f"{line}\n" for line in (*gone, *(line.replace(" set ", " ", 1) for line in turned)))

    @property
    def after(self) -> str:
        come = (_VERB.sub(" ", line, count=1) for line in self.lines if " del " not in line)
        return "".join(f"{line}\n" for line in come)

    @property
    def _switched(self) -> tuple[str, ...]:
        """Return the lines that set a link up or down: it was the other."""
        return tuple(line for line in self.lines if line.endswith((" up", " down")))


@dataclass(frozen=True, slots=True)
class Announce(Step):
    """Announce new addresses: (device, address, gateway or empty), without waiting for an answer (A4, D9, D11)."""

    addresses: tuple[tuple[str, str, str], ...]

    @property
    def summary(self) -> str:
        return "announce " + ", ".join(f"{ip} on {device}" for device, ip, _gateway in self.addresses)


@dataclass(frozen=True, slots=True)
class LoadRuleset(Step):
    """Load an nftables ruleset in one transaction, and remember what the kernel made of it.

    `cleanup` are commands for objects that only the kernel knows of; they are no part of the ruleset. `change` is what
    makes the table that is there into the wanted one; without it the table is loaded as a whole.
    """

    table: str
    text: str
    old: str | None
    reason: str
    cleanup: str = ""
    change: Change | None = None

    @property
    def summary(self) -> str:
        return f"load table inet {self.table}: {self.reason}"

    @property
    def before(self) -> str:
        return self.old or ""

    @property
    def after(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class CloseRouter(Step):
    """Load the ruleset of a closed router, with ssh on these NICs: there is none, and links are about to come up."""

    control: tuple[str, ...]

    @property
    def summary(self) -> str:
        return f"close the router but for ssh on {', '.join(self.control) or 'no NIC'}: it has no packet filter"


@dataclass(frozen=True, slots=True)
class ReleaseLease(Step):
    """Make dnsmasq forget a lease that no VM owns any more (F3, F4); `server` is the name of a tier's dnsmasq."""

    ip: str
    mac: str
    server: str = ""

    @property
    def summary(self) -> str:
        return f"release the lease of {self.ip} to {self.mac}"


@dataclass(frozen=True, slots=True)
class SetRootPassword(Step):
    """Set root's password to the one of the boot arguments."""

    password: str = field(repr=False)

    @property
    def summary(self) -> str:
        return "set root's password"


@dataclass(frozen=True, slots=True)
class RemoveFile(Step):
    """Remove a file from a directory that the service is the only owner of."""

    path: str

    @property
    def summary(self) -> str:
        return f"remove {self.path}"


@dataclass(frozen=True, slots=True)
class RemoveDirectory(Step):
    """Remove a directory that the service is the only owner of, with what is in it."""

    path: str

    @property
    def summary(self) -> str:
        return f"remove {self.path}"


@dataclass(frozen=True, slots=True)
class HaproxyService(Step):
    """Start or stop haproxy, or make it take over its new files without losing a connection (G1).

    `files` are what it is judged by beforehand, configuration last; `hidden` are words that no message may repeat.
    The verb is `judge` when haproxy neither runs nor shall run.
    """

    verb: str
    files: tuple[File, ...] = field(repr=False)
    hidden: tuple[str, ...] = field(default=(), repr=False)

    @property
    def summary(self) -> str:
        return f"{self.verb} haproxy"

    @property
    def serves(self) -> bool:
        """Tell whether haproxy is to run with these files."""
        return self.verb in ("start", "reload")
