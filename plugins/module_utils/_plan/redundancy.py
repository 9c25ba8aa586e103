# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Redundancy: keepalived decides who is primary, conntrackd remembers; here is what both need, and the transition.

A transition starts no interpreter and decides nothing: libexec/vr-transition carries out what is prepared here.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Interface

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.redundancy import PairLink
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import (
    Device,
    Role,
    Router,
    VrrpState,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import interfaces, neighbours
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.shares import SHARES
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import (
    Effect,
    File,
    IpBatch,
    RemoveFile,
    Step,
    Unit,
    Wanted,
)

HEADER = "# Owned by cloudstack.virtual_router (redundancy): do not edit."
DIRECTORY = "/var/lib/cloudstack/redundancy"
RUN = "/run/cloudstack/redundancy"
TRANSITION = "/bin/sh /opt/cloudstack/libexec/vr-transition"
"""keepalived follows the links of a program's path once, when it reads its file, and would call a release that later
upgrades remove. An argument it passes on as it is, and the shell follows the links at each election."""
PAIR = f"{DIRECTORY}/pair"
PEERS = f"{DIRECTORY}/peers.nft"
KEEPALIVED = "/etc/keepalived/keepalived.conf"
CONNTRACKD = "/etc/conntrackd/conntrackd.conf"
RELAY = f"{DIRECTORY}/relay"
KEY = f"{DIRECTORY}/relay.key"
LINK_UNIT, RELAY_UNIT = "cloudstack-pair-link", "cloudstack-pair-relay"
UNITS = (LINK_UNIT, RELAY_UNIT, "conntrackd", "keepalived", "cloudstack-redundancy")

_CHECK = ("keepalived", "--config-test", "--use-file={}")
_NFT_CHECK = ("nft", "--check", "--file", "{}")
_MOVED = re.compile(r"^ +([0-9.]+)/32 dev (\S+) scope link$", re.MULTILINE)
_MOVED6 = re.compile(r"^ +([0-9a-f:]+)/[0-9]+ dev (\S+) -nodad$", re.MULTILINE)
"""An address in keepalived's configuration, as the template writes it, of IPv4 and of IPv6."""

PRIORITY, BUMP = 253, 1
"""Equal on both routers, so nothing but the address breaks a tie; high, because the time that a backup waits after the
last missing advertisement, or a planned handover, is (256 - priority) / 256 of an interval (RFC 5798, section 6.1)."""
PER_INTERVAL = 4
"""Advertisements in each interval given, if hundredths of a second allow that many; see `advertisements`."""
PEER_MEMORY = 3.0
"""How long a router counts as heard after its last packet, in seconds; never less than four intervals."""
ALARM = 600
"""How long nobody new is taken for the other router after somebody spoke beside it, in seconds."""
INNER = "240.0.0.0/4"
"""Where the addresses of a VPC's routers on the link of their pair are (RFC 1112, section 4)."""
WIRE_PORT = 3782
"""The UDP port by which vr-pair-relay carries that link over the tiers."""
HEARD = 1.5
"""How long the lowest tier counts as one on which the other router is heard, in intervals. When the other router has
lost it already, the advertisement that follows goes by all tiers, and in time: a backup waits longer than three."""


@dataclass(frozen=True, slots=True)
class Transition:
    """What becoming primary or backup changes: `ip` lines, addresses to announce, daemons that the primary runs.

    `announce6` are frames, each with its NIC: no program of the router's makes them.
    """

    primary: tuple[str, ...]
    backup: tuple[str, ...]
    withdraw: tuple[str, ...]
    announce: tuple[str, ...]
    announce6: tuple[tuple[str, bytes], ...]
    units: tuple[str, ...]


def wanted(router: Router, render: Callable[..., str]) -> tuple[Wanted, ...]:
    """Return the parts in the order they are applied: an election finds everything prepared, the watchdog all running.

    A router that is not one of a pair has none of it; without a guest network there is nobody to talk to (C4).
    """
    link = router.pair_link
    if link is None:
        return (Wanted(units=tuple(Unit(name, running=False) for name in reversed(UNITS))),)
    return (
        Wanted(files=_prepared(router, link), knobs=_knobs(router)),
        Wanted(
            files=(File(CONNTRACKD, _conntrackd(link, render), effect=Effect.RESTART),),
            units=(Unit("conntrackd"),),
        ),
        Wanted(
            files=(File(KEEPALIVED, _keepalived(router, link, render), effect=Effect.RELOAD, checker=_CHECK),),
            units=(Unit("keepalived"),),
        ),
        Wanted(
            files=(File(PEERS, _peers(router, link, render), effect=Effect.RELOAD, checker=_NFT_CHECK),),
            units=(Unit("cloudstack-redundancy", reload=("nft", "-f", PEERS)),),
        ),
    )


def relay(router: Router) -> Wanted:
    """Return the link of a pair that is no NIC, which has to be there before anything runs on it."""
    link = router.pair_link
    if link is None or not link.relayed:
        return Wanted()
    own = {device.name: device.addresses[0].interface for device in link.wires}
    variables = {
        "OWN": str(link.own),
        "WIRES": " ".join(f"{name}={address}" for name, address in own.items()),
        "HEARD_MS": str(round(HEARD * router.settings.advert_interval * 1000)),
    }
    return Wanted(
        files=(
            File(RELAY, _shell(variables), effect=Effect.RELOAD),
            File(KEY, f"{relay_key(router).hex()}\n", mode=0o600, secret=True, effect=Effect.RELOAD),
        ),
        units=(Unit(LINK_UNIT), Unit(RELAY_UNIT)),
    )


def relay_key(router: Router) -> bytes:
    """Return the key of the link of a VPC's pair, 32 bytes, from its password by HKDF with SHA-256 (RFC 5869).

    A router without a password has the key that everybody can compute: then it only takes more to be believed.
    """
    secret = (router.settings.pair_password or "").encode()
    extracted = hmac.digest(b"cloudstack.virtual_router", secret, "sha256")
    return hmac.digest(extracted, b"link of a pair, version 1\x01", "sha256")


@dataclass(frozen=True, slots=True)
class AwaitRelease(Step):
    """Wait until keepalived has taken addresses away that are no longer its own: pairs of NIC and address."""

    addresses: tuple[tuple[str, str], ...]

    @property
    def summary(self) -> str:
        return "wait until keepalived has released " + ", ".join(f"{ip} on {nic}" for nic, ip in self.addresses)


def leaving(router: Router, config: str) -> tuple[tuple[str, str], ...]:
    """Return the addresses that keepalived's configuration still has and that go with their networks.

    keepalived gives way when somebody else removes an address of it or takes its link down: it must let go first.
    """
    before = {(nic, ip) for known in (_MOVED, _MOVED6) for ip, nic in known.findall(config)}
    after = {(name, str(ip)) for ip, name in _moved(router)} | {(name, str(i.ip)) for i, name in _moved6(router)}
    return tuple(sorted(before - after))


def removed(router: Router, present: Iterable[str]) -> list[Step]:
    """Return the removal of what would say that there is an election, when there is none any more."""
    return [RemoveFile(path) for path in present] if router.pair_link is None else []


def advertisements(interval: float) -> tuple[float, int]:
    """Return the seconds between advertisements, and how many must be missing for an election, for the interval given.

    A router that is frozen just before it advertises is silent for its freeze and for one pause more: a backup that
    waits for three advertisements takes over after a freeze of two intervals. It has to wait for more than three
    intervals and a pause, so that no shorter freeze, at any moment, is a failover (C7), and for no more than 3.6, so
    that a failure costs at most 3.7 intervals and a transition: with a pause of a quarter both is 0.1 intervals away.
    VRRP counts in hundredths of a second. Of an interval below four of them at least one pause is to spare.
    """
    given = round(100 * interval)
    pause = max(given // PER_INTERVAL, 1)
    return pause / 100, max(36 * given // (10 * pause), 3 * given // pause + 2)


def transition(router: Router) -> Transition:
    """Return the difference between the two states: the same plan as a converge's, so routes end up equal (C9)."""
    primary, backup = (replace(router, state=state) for state in (VrrpState.PRIMARY, VrrpState.BACKUP))
    moved = [device for device in router.devices if primary.is_up(device) and not backup.is_up(device)]
    return Transition(
        primary=_lines(primary, interfaces.network(backup)),
        backup=tuple(f"link set dev {device.name} down" for device in moved),
        withdraw=(
            *(f"addr del {ip}/32 dev {name}" for ip, name in _moved(router)),
            *(f"addr del {interface} dev {name}" for interface, name in _moved6(router)),
        ),
        announce=(
            *(f"{v.device.name} {v.interface.ip}" for v in router.virtual_addresses),
            *(f"{device.name} {address.ip}" for device in moved for address in device.addresses),
        ),
        announce6=_frames(router, moved),
        units=tuple(unit for share in SHARES.values() for unit in share.primary_units(router)),
    )


def _frames(router: Router, moved: Iterable[Device]) -> tuple[tuple[str, bytes], ...]:
    """Return the neighbour advertisements of all addresses that move, or are on a link that comes up."""
    macs = {nic.name: nic.mac for nic in router.nics}
    told = [(name, interface.ip) for interface, name in _moved6(router)]
    told += [(device.name, device.six.own.ip) for device in moved if device.six and device.six.own]
    return tuple((name, neighbours.advertisement(macs[name], ip)) for name, ip in told if name in macs)


def _lines(router: Router, live: interfaces.Network) -> tuple[str, ...]:
    return tuple(line for step in interfaces.compare(router, live) if isinstance(step, IpBatch) for line in step.lines)


def _knobs(router: Router) -> tuple[tuple[str, str], ...]:
    """Let the kernel announce all addresses of a link that goes up (C8; ip-sysctl, arp_notify): nothing is faster.

    A router that was frozen has not seen what a connection said meanwhile: it must not call the rest invalid (C7).
    """
    moved = router.by_role(Role.PUBLIC, Role.PRIVATE_GATEWAY)
    announced = [(f"/proc/sys/net/ipv4/conf/{device.name}/arp_notify", "1") for device in moved]
    announced += [(f"/proc/sys/net/ipv6/conf/{device.name}/ndisc_notify", "1") for device in moved if device.six]
    return (*announced, ("/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal", "1"))


def _moved(router: Router) -> tuple[tuple[IPv4Address, str], ...]:
    """Return the addresses that keepalived moves, with their links; the first is the one that it advertises."""
    gateways = [(virtual.interface.ip, virtual.device.name) for virtual in router.virtual_addresses]
    advertised = [] if router.pair_link is None else [(router.pair_link.shared, router.pair_link.name)]
    return tuple(dict.fromkeys([*advertised, *gateways]))


def _moved6(router: Router) -> tuple[tuple[IPv6Interface, str], ...]:
    """Return the IPv6 addresses that keepalived moves, with their links: gateways, and the source of advertisements."""
    guests = router.with_ipv6(Role.GUEST) if router.virtual_addresses else ()
    return tuple((interface, device.name) for device in guests if device.six for interface in device.six.moving)


def _shell(variables: Mapping[str, str]) -> str:
    """Return shell variables as a file."""
    return f"{HEADER}\n" + "".join(f"{name}='{value}'\n" for name, value in variables.items())


def _prepared(router: Router, link: PairLink) -> tuple[File, ...]:
    """Return the files that vr-transition and the watchdog read; the last one holds shell variables."""
    change = transition(router)
    lists = {
        "primary.ip": change.primary,
        "backup.ip": change.backup,
        "withdraw.ip": change.withdraw,
        "announce": change.announce,
        "announce6": tuple(f"{name} {_octal(frame)}" for name, frame in change.announce6),
    }
    public = [device.name for device in router.by_role(Role.PUBLIC) if device.addresses]
    variables = {
        "LINK": link.name,
        "OWN": str(link.own),
        "WIRES": " ".join(device.name for device in link.wires),
        "VIP": str(link.shared),
        "PUBLIC": " ".join(public),
        "UNITS": " ".join(change.units),
        "INTERVAL_MS": str(round(router.settings.advert_interval * 1000)),
        "MEMORY_MS": str(_memory(router)),
    }
    files = [File(f"{DIRECTORY}/{name}", "".join(f"{line}\n" for line in lines)) for name, lines in lists.items()]
    return (*files, File(PAIR, _shell(variables)))


def _octal(frame: bytes) -> str:
    """Return bytes as printf(1) takes them for %b."""
    return "".join(f"\\0{byte:03o}" for byte in frame)


def _peers(router: Router, link: PairLink, render: Callable[..., str]) -> str:
    moving = [f'"{nic}" . {address}' for nic, address in map(str.split, transition(router).announce)]
    return render(
        "redundancy/peers.nft.j2",
        header=HEADER,
        link=link.name,
        own=link.own,
        vrrp_id=router.settings.vrrp_id,
        directory=DIRECTORY,
        pinned=not link.relayed,
        memory=f"{_memory(router)}ms",
        alarm=f"{ALARM}s",
        moving=moving,
    )


def _memory(router: Router) -> int:
    """Return how long an advertisement is remembered, in milliseconds."""
    return round(1000 * max(PEER_MEMORY, 4 * router.settings.advert_interval))


def _conntrackd(link: PairLink, render: Callable[..., str]) -> str:
    return render("conntrackd/conntrackd.conf.j2", header=HEADER, link=link.name, own=link.own)


def _keepalived(router: Router, link: PairLink, render: Callable[..., str]) -> str:
    first, *others = (f"{ip}/32 dev {name} scope link" for ip, name in _moved(router))
    others += [f"{interface} dev {name} -nodad" for interface, name in _moved6(router)]
    pause, missing = advertisements(router.settings.advert_interval)
    return render(
        "keepalived/keepalived.conf.j2",
        header=HEADER,
        name=router.settings.name,
        link=link.name,
        own=link.own,
        vrrp_id=router.settings.vrrp_id,
        priority=PRIORITY,
        bump=BUMP,
        given=f"{router.settings.advert_interval:g}",
        pause=f"{pause:g}",
        missing=missing,
        advertised=first,
        others=others,
        transition=TRANSITION,
        directory=DIRECTORY,
        run=RUN,
    )
