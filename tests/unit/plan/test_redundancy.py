# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Interface, IPv4Network

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import (
    Router,
    StaticRoute,
    VrrpState,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import interfaces, redundancy
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall import ruleset as firewall
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import (
    Announce,
    Effect,
    IpBatch,
    RemoveFile,
    Unit,
    Wanted,
)
from tests.golden.cases import renderer
from tests.unit.plan.pairs import isolated_pair, vpc_pair
from tests.unit.plan.samples import isolated

BOTH = [isolated_pair, vpc_pair]


@pytest.fixture(scope="module")
def render() -> Callable[..., str]:
    return renderer()


def text(router: Router, path: str, render: Callable[..., str]) -> str:
    return next(f.content for part in redundancy.wanted(router, render) for f in part.files if f.path == path)


def batch(router: Router, live: interfaces.Network) -> list[str]:
    return [x for step in interfaces.compare(router, live) if isinstance(step, IpBatch) for x in step.lines]


# What a node must be, by its state


@pytest.mark.parametrize("make", BOTH)
def test_backup_has_no_route_through_a_link_that_is_down(make: Callable[..., Router]) -> None:
    network = interfaces.network(make())
    down = {name for name, link in network.links.items() if not link.up}
    assert down
    assert not [route for route in network.routes if route.device in down]
    assert not [route for route in network.routes if route.network == "default"]


@pytest.mark.parametrize("make", BOTH)
def test_primary_is_routed_like_a_single_router(make: Callable[..., Router]) -> None:
    pair = make(state=VrrpState.PRIMARY)
    single = replace(pair, settings=replace(pair.settings, redundant=False))
    assert interfaces.network(pair) == interfaces.network(single)


@pytest.mark.parametrize("state", list(VrrpState))
def test_gateway_address_is_left_to_vrrp(state: VrrpState) -> None:
    router = isolated_pair(state=state)
    live = interfaces.network(router)
    shared = IPv4Interface("10.1.1.1/24")
    assert batch(router, replace(live, addresses={**live.addresses, "eth0": (*live.addresses["eth0"], shared)})) == []


def test_any_other_stray_address_is_removed_from_a_pair_too() -> None:
    router = isolated_pair()
    live = interfaces.network(router)
    stray = IPv4Interface("10.1.1.9/24")
    found = batch(router, replace(live, addresses={**live.addresses, "eth0": (*live.addresses["eth0"], stray)}))
    assert found[0] == "addr del 10.1.1.9/24 dev eth0"


def test_backup_announces_no_public_address() -> None:
    """It would take the traffic of the primary away, or fail on a link that is down (C18)."""
    for state, wanted in ((VrrpState.BACKUP, set()), (VrrpState.PRIMARY, {"eth2", "eth3"})):
        router = isolated_pair(state=state)
        live = interfaces.network(router)
        bare = replace(live, addresses={**live.addresses, "eth2": (), "eth3": ()})
        steps = [step for step in interfaces.compare(router, bare) if isinstance(step, Announce)]
        assert {name for step in steps for name, _ip, _gateway in step.addresses} == wanted


@pytest.mark.parametrize("make", BOTH)
def test_ruleset_does_not_depend_on_the_state(make: Callable[..., Router]) -> None:
    assert firewall.ruleset(make(state=VrrpState.PRIMARY)) == firewall.ruleset(make(state=VrrpState.BACKUP))


def test_ruleset_opens_vrrp_on_its_link_only() -> None:
    def nics(router: Router) -> tuple[str, ...]:
        return next(found.elements for found in firewall.ruleset(router).sets if found.name == "vrrp_nics")

    assert nics(isolated_pair()) == ("eth0",)
    assert nics(vpc_pair()) == ("pair0", "eth2", "eth3")
    assert nics(vpc_pair(tiers=0)) == ()
    assert nics(isolated()) == ()


# The transition


@pytest.mark.parametrize("make", BOTH)
def test_transition_to_primary_ends_in_the_routes_of_a_converge(make: Callable[..., Router]) -> None:
    """C9: the prepared lines are the plan's own; a converge afterwards finds nothing to do."""
    primary, backup = make(state=VrrpState.PRIMARY), make(state=VrrpState.BACKUP)
    lines = redundancy.transition(backup).primary
    assert lines == redundancy.transition(primary).primary, "they do not depend on the state in which they were made"
    target, live = interfaces.network(primary), interfaces.network(backup)
    raised = {f"link set dev {name} up" for name in target.links if target.links[name] != live.links[name]}
    added = {f"route replace {route.line}" for route in target.routes - live.routes}
    assert set(lines) == raised | added
    assert len(raised) == 2
    assert max(map(lines.index, raised)) < min(map(lines.index, added)), "links first: a route needs its link (C4)"


def test_transition_to_backup_takes_links_down_and_nothing_else() -> None:
    """The kernel forgets the routes of a link that goes down."""
    assert redundancy.transition(vpc_pair()).backup == ("link set dev eth1 down", "link set dev eth4 down")


def test_static_route_through_a_private_gateway_comes_with_the_transition() -> None:
    route = StaticRoute(IPv4Network("172.21.0.0/16"), IPv4Interface("172.20.0.1/24").ip, "eth4")
    lines = redundancy.transition(replace(vpc_pair(), routes=(route,))).primary
    assert "route replace 172.21.0.0/16 via 172.20.0.1 dev eth4 table 254 proto static" in lines


def test_every_address_that_appears_is_announced() -> None:
    assert redundancy.transition(isolated_pair()).announce == (
        "eth0 10.1.1.1",
        "eth2 192.0.2.10",
        "eth2 192.0.2.11",
        "eth3 198.51.100.20",
    )


def test_every_address_that_appears_is_defended(render: Callable[..., str]) -> None:
    conf = text(isolated_pair(), redundancy.PEERS, render)
    assert re.findall(r'"(\S+)" \. ([0-9.]+)', conf) == [
        tuple(line.split()) for line in redundancy.transition(isolated_pair()).announce
    ]
    assert "size 4\n" in conf, "the other router claims them all"


def test_gateway_addresses_are_withdrawn_when_keepalived_cannot() -> None:
    assert redundancy.transition(isolated_pair()).withdraw == ("addr del 10.1.1.1/32 dev eth0",)
    assert redundancy.transition(vpc_pair()).withdraw == (
        "addr del 240.0.0.0/32 dev pair0",
        "addr del 10.2.1.1/32 dev eth2",
        "addr del 10.2.2.1/32 dev eth3",
    )


# The files


def test_configuration_of_keepalived(render: Callable[..., str]) -> None:
    conf = text(vpc_pair(), redundancy.KEEPALIVED, render)
    for wanted in (
        "vrrp_version 3\n",
        "state BACKUP\n    nopreempt\n    interface pair0\n    mcast_src_ip 240.0.0.84\n    virtual_router_id 7\n",
        "    priority 253\n",
        "    advert_int 0.25\n    down_timer_adverts 14\n",
        "virtual_ipaddress {\n        240.0.0.0/32 dev pair0 scope link\n    }\n",
        "virtual_ipaddress_excluded {\n        10.2.1.1/32 dev eth2 scope link\n"
        "        10.2.2.1/32 dev eth3 scope link\n    }\n",
    ):
        assert wanted in conf
    assert "auth" not in conf


def test_keepalived_is_given_no_path_that_it_would_keep_as_the_directory_of_one_release(
    render: Callable[..., str],
) -> None:
    """It resolves the program's links when it reads its file; two upgrades later that directory is gone."""
    conf = text(vpc_pair(), redundancy.KEEPALIVED, render)
    called = re.findall(r'^ +notify_\w+ +"(.*)"$', conf, re.MULTILINE)
    assert len(called) == conf.count("notify_") == 5
    assert {words.split()[0] for words in called} == {"/bin/sh"}
    assert {words.split()[1] for words in called} == {"/opt/cloudstack/libexec/vr-transition"}


@pytest.mark.parametrize(
    ("given", "pause", "missing"),
    [
        (1.0, "0.25", 14),
        (0.3, "0.07", 15),
        (0.1, "0.02", 18),
        (0.05, "0.01", 18),
        (0.01, "0.01", 5),
        (40.95, "10.23", 14),
    ],
)
def test_a_router_advertises_several_times_in_the_interval_given(
    render: Callable[..., str], given: float, pause: str, missing: int
) -> None:
    conf = text(isolated_pair(advert_interval=given), redundancy.KEEPALIVED, render)
    assert f"    advert_int {pause}\n    down_timer_adverts {missing}\n" in conf


def test_no_freeze_below_three_intervals_is_a_failover_and_every_failure_is_one_in_time() -> None:
    """C7: a takeover may cost 0.1 s on top of 3.7 intervals; all is in hundredths of a second here, as in VRRP."""
    for given in range(1, 4096):
        seconds, missing = redundancy.advertisements(given / 100)
        pause = round(100 * seconds)
        patience = missing * pause
        assert (seconds, missing) == (pause / 100, min(missing, 100)), "what keepalived takes"
        if given < 4:
            assert 3 * given + 2 * pause <= patience <= 3.7 * given + 2
        else:
            assert 3.1 * given + pause <= patience <= 3.6 * given


@pytest.mark.parametrize("make", BOTH)
def test_both_routers_differ_in_their_own_addresses_only(
    make: Callable[..., Router], render: Callable[..., str]
) -> None:
    for path in (redundancy.KEEPALIVED, redundancy.CONNTRACKD, redundancy.PEERS):
        one, other = (text(make(own=own), path, render) for own in (84, 85))
        assert one != other
        assert re.sub(r"\b84\b", "85", one) == other


def test_a_further_tier_changes_no_file_that_a_daemon_restarts_for(render: Callable[..., str]) -> None:
    """C5: keepalived reloads, and what it advertises stays the same, so that the other router still believes it."""
    before, after = vpc_pair(tiers=1), vpc_pair(tiers=2)
    assert text(before, redundancy.CONNTRACKD, render) == text(after, redundancy.CONNTRACKD, render)
    advertised = [
        text(router, redundancy.KEEPALIVED, render).partition("virtual_ipaddress {")[2].partition("}")[0]
        for router in (before, after)
    ]
    assert advertised[0] == advertised[1]


def test_advertisements_of_other_virtual_routers_are_not_the_pairs(render: Callable[..., str]) -> None:
    assert " @th,8,8 51 update @primaries " in text(isolated_pair(), redundancy.PEERS, render)


def test_keepalived_is_reloaded_and_never_restarted(render: Callable[..., str]) -> None:
    effects = {f.path: f.effect for part in redundancy.wanted(isolated_pair(), render) for f in part.files}
    assert effects[redundancy.KEEPALIVED] is Effect.RELOAD
    assert effects[redundancy.CONNTRACKD] is Effect.RESTART, "conntrackd cannot reload"
    prepared = {path: effect for path, effect in effects.items() if path.startswith(redundancy.DIRECTORY)}
    assert {effect for path, effect in prepared.items() if path != redundancy.PEERS} == {Effect.NONE}


def test_connection_sync_writes_no_log(render: Callable[..., str]) -> None:
    """C16: it filled /var on busy pairs."""
    conf = text(isolated_pair(), redundancy.CONNTRACKD, render)
    assert "LogFile off" in conf
    assert "Syslog off" in conf


def test_units_are_applied_after_all_that_they_need(render: Callable[..., str]) -> None:
    units = [unit.name for part in redundancy.wanted(isolated_pair(), render) for unit in part.units]
    assert units == ["conntrackd", "keepalived", "cloudstack-redundancy"]


def test_a_vpcs_link_is_relayed_over_its_tiers_the_lowest_first() -> None:
    relay = redundancy.relay(vpc_pair(names=("eth7", "eth5"), advert_interval=0.3))
    assert relay.files[0].content.splitlines()[1:] == [
        "OWN='240.0.0.84'",
        "WIRES='eth7=10.2.1.84/24 eth5=10.2.2.84/24'",
        "HEARD_MS='450'",
    ]
    assert relay.units == (Unit(redundancy.LINK_UNIT), Unit(redundancy.RELAY_UNIT))


def test_the_key_of_the_link_follows_from_the_password_alone_and_is_never_shown() -> None:
    """HKDF (RFC 5869): equal on both routers; the password itself is on no wire and in no file but the databag."""
    keys = {
        (number, secret): redundancy.relay_key(vpc_pair(own=number, pair_password=secret))
        for number in (84, 85)
        for secret in (None, "1", "2")
    }
    assert {keys[84, secret] == keys[85, secret] for secret in (None, "1", "2")} == {True}
    assert len(set(keys.values())) == 3
    assert {len(key) for key in keys.values()} == {32}
    (_relay, key) = redundancy.relay(vpc_pair(pair_password="1234567")).files
    assert (key.path, key.mode, key.secret) == (redundancy.KEY, 0o600, True)
    assert "1234567" not in key.content
    assert "1234567" not in repr(vpc_pair(pair_password="1234567"))


@pytest.mark.parametrize("router", [isolated_pair(), isolated(), vpc_pair(tiers=0)])
def test_nothing_else_is_relayed(router: Router) -> None:
    assert redundancy.relay(router) == Wanted()


def test_without_a_guest_network_nothing_runs(render: Callable[..., str]) -> None:
    """C4: defined, and no error."""
    (part,) = redundancy.wanted(vpc_pair(tiers=0), render)
    assert part.files == ()
    assert {unit.name for unit in part.units if not unit.running} == set(redundancy.UNITS)


def test_files_that_speak_of_an_election_go_with_the_last_tier() -> None:
    present = [redundancy.KEEPALIVED, redundancy.PEERS]
    assert redundancy.removed(vpc_pair(tiers=0), present) == [RemoveFile(path) for path in present]
    assert redundancy.removed(vpc_pair(tiers=0), []) == []
    assert redundancy.removed(vpc_pair(tiers=1), present) == []


def test_prepared_variables_are_safe_for_a_shell(render: Callable[..., str]) -> None:
    lines = text(isolated_pair(), redundancy.PAIR, render).splitlines()[1:]
    assert "LINK='eth0'" in lines
    assert "PUBLIC='eth2 eth3'" in lines
    assert all(line.count("'") == 2 and line.endswith("'") for line in lines)


def test_gateway_addresses_leave_with_their_networks(render: Callable[..., str]) -> None:
    """keepalived gives way when somebody else takes an address of it away."""
    config = text(vpc_pair(tiers=2), redundancy.KEEPALIVED, render)
    assert redundancy.leaving(vpc_pair(tiers=2), config) == ()
    assert redundancy.leaving(vpc_pair(tiers=1), config) == (("eth3", "10.2.2.1"),)
    assert redundancy.leaving(vpc_pair(tiers=0), config) == (
        ("eth2", "10.2.1.1"),
        ("eth3", "10.2.2.1"),
        ("pair0", "240.0.0.0"),
    )
    assert redundancy.leaving(vpc_pair(tiers=2), text(vpc_pair(tiers=1), redundancy.KEEPALIVED, render)) == ()
