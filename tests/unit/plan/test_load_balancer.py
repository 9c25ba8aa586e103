# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.load_balancer import (
    Certificate,
    Listener,
    LoadBalancer,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Router
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import load_balancer
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.files import Live, LiveFile
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall import flow_patterns
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.conntrack import Change
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.judge import Flow
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.haproxy import CERTIFICATES, Bind
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.load_balancer import CONFIG, Socket
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.refusal import RefusedError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import Wanted
from tests.golden.cases import renderer
from tests.unit.plan.samples import CLIENT, FIRST, isolated

GUEST, CONTROL, FOREIGN = IPv4Address("10.1.1.1"), IPv4Address("169.254.3.101"), IPv4Address("192.0.2.99")
LINES = ("global", "listen a", f"\tbind {FIRST}:80", "\tserver b 10.1.1.11:80")
PLAIN = Certificate("c", "CERT\n", "KEY\n", "CHAIN\n")
LOCKED = replace(PLAIN, key="-----BEGIN ENCRYPTED PRIVATE KEY-----\n", password="secret")


def balancer(
    *lines: str, listeners: tuple[Listener, ...] = (), certificates: tuple[Certificate, ...] = ()
) -> LoadBalancer:
    own = frozenset({FIRST, GUEST, CONTROL})
    return LoadBalancer(lines or LINES, listeners or (Listener(FIRST, 80),), certificates, own)


def router(found: LoadBalancer | None) -> Router:
    return replace(isolated(), load_balancer=found)


def wanted(found: LoadBalancer, **keys: str) -> Wanted:
    return load_balancer.wanted(found, keys, renderer())


def live(target: Wanted, *active: str) -> Live:
    return Live({file.path: LiveFile(file.content, file.mode) for file in target.files}, {}, frozenset(active))


def summaries(target: Wanted, found: Live, present: tuple[str, ...] = ()) -> list[str]:
    return [step.summary for step in load_balancer.compare(target, found, present)]


def test_nothing_to_do_when_everything_is_as_wanted() -> None:
    target = wanted(balancer())
    assert summaries(target, live(target, "haproxy")) == []


def test_files_are_secrets_of_root() -> None:
    """The configuration has the password of the statistics page."""
    files = wanted(balancer(certificates=(PLAIN,)), c="KEY\n").files
    assert {(file.path, file.mode, file.secret) for file in files} == {
        (CONFIG, 0o600, True),
        (f"{CERTIFICATES}/c.pem", 0o600, True),
    }


def test_haproxy_starts_reloads_and_stops() -> None:
    target, without = wanted(balancer()), wanted(balancer("global", "listen vmops", "bind :9"))
    assert summaries(target, Live({}, {}, frozenset())) == [f"write {CONFIG}", "start haproxy"]
    assert summaries(target, live(without, "haproxy")) == [f"write {CONFIG}", "reload haproxy"]
    assert summaries(target, live(target)) == ["start haproxy"], "stopped by hand"
    assert summaries(without, live(target, "haproxy")) == [f"write {CONFIG}", "stop haproxy"]
    assert summaries(without, live(without)) == []
    assert summaries(without, Live({}, {}, frozenset())) == [f"write {CONFIG}", "judge haproxy"], "nothing to stop"


def test_the_step_judges_all_files() -> None:
    target = wanted(balancer(certificates=(PLAIN,)), c="KEY\n")
    step = load_balancer.compare(target, Live({}, {}, frozenset()), (), ("hidden",))[-1]
    assert (getattr(step, "files", None), getattr(step, "hidden", None)) == (target.files, ("hidden",))
    assert "hidden" not in repr(step)
    assert "KEY" not in repr(step)


def test_certificates_nobody_names_are_removed() -> None:
    target = wanted(balancer(certificates=(PLAIN,)), c="KEY\n")
    present = (f"{CERTIFICATES}/old.pem", f"{CERTIFICATES}/c.pem", f"{CERTIFICATES}/c.pem.new")
    assert summaries(target, live(target, "haproxy"), present) == [
        f"remove {CERTIFICATES}/c.pem.new",
        f"remove {CERTIFICATES}/old.pem",
    ]


def test_pem_has_certificate_chain_and_key_in_this_order() -> None:
    assert load_balancer.pem(PLAIN, "KEY\n") == "CERT\nCHAIN\nKEY\n"


@pytest.mark.parametrize("title", ["-----BEGIN ENCRYPTED PRIVATE KEY-----", "Proc-Type: 4,ENCRYPTED"])
def test_encrypted_keys_are_known_by_their_form(title: str) -> None:
    assert load_balancer.encrypted(replace(PLAIN, key=f"{title}\n"))
    assert not load_balancer.encrypted(replace(PLAIN, password="not needed"))


def test_a_decrypted_key_is_found_again() -> None:
    """As long as nothing that made it, and nothing in the file, has changed."""
    pem = load_balancer.pem(LOCKED, "KEY\n")
    assert load_balancer.decrypted_key(LOCKED, pem) == "KEY\n"
    assert load_balancer.decrypted_key(replace(LOCKED, password="other"), pem) is None
    assert load_balancer.decrypted_key(replace(LOCKED, certificate="OTHER\n"), pem) is None
    assert load_balancer.decrypted_key(LOCKED, pem.replace("KEY", "EDITED")) is None
    assert load_balancer.decrypted_key(LOCKED, None) is None
    assert "secret" not in pem


def opened(found: LoadBalancer | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return load_balancer.opened(router(found))


@pytest.mark.parametrize(
    ("listeners", "outside", "inside"),
    [
        ((Listener(FIRST, 80), Listener(FIRST, 8081)), (f"{FIRST} . 80", f"{FIRST} . 8081"), ()),
        ((Listener(GUEST, 8081),), (f"{GUEST} . 8081",), ()),
        ((Listener(CONTROL, 8081),), (), (f"{CONTROL} . 8081",)),
        ((Listener(FOREIGN, 80),), (), ()),
        ((Listener(None, 80),), (f"{FIRST} . 80",), ()),
        ((Listener(None, 8081),), (), ()),
    ],
)
def test_opened_by_visibility(
    listeners: tuple[Listener, ...], outside: tuple[str, ...], inside: tuple[str, ...]
) -> None:
    """0.0.0.0/0 opens the addresses that haproxy listens on with that port."""
    assert opened(balancer(listeners=listeners)) == (outside, inside)


def test_nothing_is_opened_without_a_load_balancer() -> None:
    assert opened(None) == ((), ())


def test_only_new_listeners_are_judged() -> None:
    """What was committed once must not stop a boot, or the drop that takes its address away."""
    before, after = router(balancer()), router(balancer(*LINES, "listen c", "bind 192.0.2.99:81"))
    assert load_balancer.new_binds(before, before) == ()
    assert load_balancer.new_binds(after, before) == (Bind(FOREIGN, 81),)
    assert load_balancer.new_binds(before, router(None)) == (Bind(FIRST, 80),)


def test_only_new_words_and_listeners_are_judged() -> None:
    """What was committed before there was this rule must not stop a boot, or a drop about the addresses."""
    before, after = balancer(), balancer(*LINES, "program spy", "command /bin/sh")
    moved = replace(after, addresses=frozenset({FIRST}))
    assert load_balancer.is_new(router(after), router(before))
    assert load_balancer.is_new(router(before), router(None))
    assert load_balancer.is_new(router(balancer(listeners=(Listener(FIRST, 81),))), router(before))
    assert not load_balancer.is_new(router(moved), router(after))


def test_a_word_that_nobody_needs_is_refused_where_it_stands() -> None:
    found = replace(
        balancer(*LINES, "\tlog 203.0.113.9:514 local0"), places=("", "", "", "", "rules[0].configuration[3]")
    )
    with pytest.raises(
        RefusedError,
        match=r'rules\[0\]\.configuration\[3\]: expected words .*, got "203.0.113.9:514 in a line of log 203',
    ):
        load_balancer.require_known_words(found, "")
    load_balancer.require_known_words(balancer(), "")


def test_no_message_repeats_a_password() -> None:
    lines = (*LINES, "mode http", "stats auth admin:HiddenWord HiddenWord")
    for more in ((), ("http-request deny HiddenWord",)):
        with pytest.raises(RefusedError) as caught:
            load_balancer.require_known_words(balancer(*lines[: -1 if more else None], *more, *lines[-1:]), "")
        assert "HiddenWord" not in str(caught.value)


def test_an_operator_may_add_words() -> None:
    logged = balancer(*LINES, "log 203.0.113.9:514 local0")
    load_balancer.require_known_words(logged, "# our syslog\n\nproxy log 203.0.113.9:514 FACILITY\n")
    for wrong in ("proxy", "nowhere log", "proxy log {nothing}", "proxy log SOMETHING"):
        with pytest.raises(RefusedError, match=f"^{load_balancer.ADDED_WORDS}: line: expected place, .*{wrong}"):
            load_balancer.require_known_words(logged, wrong)


def test_a_server_is_another_machine() -> None:
    for address in (FIRST, CONTROL, IPv4Address("127.0.0.1")):
        with pytest.raises(RefusedError, match=f"{address}:22 in a line of server"):
            load_balancer.require_known_words(balancer(*LINES, f"server b {address}:22"), "")


@pytest.mark.parametrize(
    ("line", "listener"),
    [
        (f"bind {FIRST}:80", Listener(FIRST, 80)),
        ("bind *:80", Listener(FIRST, 80)),
        (f"bind {FIRST}:79-81", Listener(FIRST, 80)),
        (f"bind {GUEST}:80", Listener(None, 80)),
    ],
)
def test_what_is_opened_is_bound(line: str, listener: Listener) -> None:
    load_balancer.require_bound(balancer("listen a", line, listeners=(listener,)))
    for other in ("bind 10.1.1.1:81", "# none"):
        with pytest.raises(RefusedError, match=r"rules\[0\]\.add_rules: .*:80, which no bind has"):
            load_balancer.require_bound(balancer("listen a", other, listeners=(listener,)))
    with pytest.raises(RefusedError, match="which no bind has"):
        load_balancer.require_bound(balancer("listen vmops", line, listeners=(listener,)))


def test_listeners_must_be_on_addresses_of_the_router() -> None:
    load_balancer.require_own_addresses([Bind(FIRST, 1), Bind(None, 2), Bind(IPv4Address("127.0.0.1"), 3)], balancer())
    with pytest.raises(RefusedError, match=r"addresses of this router, got 192\.0\.2\.99:81$"):
        load_balancer.require_own_addresses([Bind(FOREIGN, 81)], balancer())


def test_a_listener_that_the_drop_opens_may_come_before_its_address() -> None:
    """The server sends addresses first in every flow that was read, but that is no promise."""
    early = replace(balancer(), listeners=(Listener(FOREIGN, 81),))
    load_balancer.require_own_addresses([Bind(FOREIGN, 81)], early)
    with pytest.raises(RefusedError, match=r"addresses of this router, got 192\.0\.2\.99:82$"):
        load_balancer.require_own_addresses([Bind(FOREIGN, 82)], early)


SOCKETS = [Socket(GUEST, 53, "dnsmasq"), Socket(None, 111, "rpcbind"), Socket(FIRST, 80, "haproxy")]


@pytest.mark.parametrize("bind", [Bind(FIRST, 53), Bind(FIRST, 80), Bind(None, 80), Bind(FIRST, 112)])
def test_free_ports_are_fine(bind: Bind) -> None:
    """Port 53 of a public address too: dnsmasq is on the guest address (G4)."""
    load_balancer.require_free([bind], SOCKETS)


@pytest.mark.parametrize(
    ("bind", "program"), [(Bind(GUEST, 53), "dnsmasq"), (Bind(None, 53), "dnsmasq"), (Bind(FIRST, 111), "rpcbind")]
)
def test_a_port_of_another_daemon_is_refused(bind: Bind, program: str) -> None:
    with pytest.raises(RefusedError, match=f"{bind.port}, which {program} listens on"):
        load_balancer.require_free([bind], SOCKETS)


def test_parse_sockets() -> None:
    listing = """\
LISTEN 0 128 0.0.0.0:3922 0.0.0.0:* users:(("sshd",pid=47,fd=3))
LISTEN 0 128 [::]:3922 [::]:* users:(("sshd",pid=47,fd=4))
LISTEN 0 32 10.1.1.1%eth0:53 0.0.0.0:* users:(("dnsmasq",pid=9,fd=5),("dnsmasq",pid=10,fd=5))
LISTEN 0 32 *:111 *:*
LISTEN 0 32 [::ffff:10.1.1.1]:8080 *:* users:(("java",pid=1,fd=1))
"""
    assert load_balancer.parse_sockets(listing) == [
        Socket(None, 3922, "sshd"),
        Socket(GUEST, 53, "dnsmasq"),
        Socket(None, 111, "another program"),
        Socket(GUEST, 8080, "java"),
    ]


def test_connections_of_closed_listeners_are_cut() -> None:
    """And of none else (B18)."""
    balanced = router(balancer(listeners=(Listener(FIRST, 80), Listener(FIRST, 81))))
    balanced = replace(balanced, settings=replace(balanced.settings, per_ip_firewall=False))
    closed = replace(balanced, load_balancer=balancer())
    flows = [Flow("tcp", CLIENT, FIRST, 40000, port, FIRST, CLIENT, port) for port in (80, 81, 82)]
    assert set(flow_patterns.patterns((balanced,), closed)) == {flow_patterns.Pattern(FIRST, 6, 81)}
    assert not flow_patterns.patterns((closed,), balanced)
    assert [flow.port for flow in flows if Change(balanced, closed).cuts(flow)] == [81]
    assert not any(Change(closed, balanced).cuts(flow) for flow in flows)
