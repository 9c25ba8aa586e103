# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.load_balancer import (
    Listener,
    load_balancer,
)


def bags(*records: dict[str, Any], **others: Any) -> dict[str, Any]:
    return {"loadbalancer": {"id": "loadbalancer", "config": list(records)}, **others}


def test_no_record_no_load_balancer() -> None:
    assert load_balancer({}) is None
    assert load_balancer(bags()) is None


def test_lines_are_split_where_one_element_has_several() -> None:
    found = load_balancer(bags({"configuration": ["global\n\tmaxconn 1\r\n", "", "\tdaemon"]}))
    assert found is not None
    assert [line.strip() for line in found.lines if line.strip()] == ["global", "maxconn 1", "daemon"]


def test_lines_end_only_where_haproxy_ends_them() -> None:
    """Python ends lines at U+2028 and its like, which a user may write into a name."""
    found = load_balancer({"loadbalancer": {"config": [{"configuration": ["acl a\u2028b\x85c\n\tmode tcp\r\n"]}]}})
    assert found is not None
    assert found.lines == ("acl a\u2028b\x85c", "\tmode tcp\r", "")


def test_listeners_are_sorted_and_once() -> None:
    """Their order comes from a hash set of the server; the statistics may be nowhere, or everywhere."""
    rules = {"add_rules": ["192.0.2.11:443:", "192.0.2.11:80:", "192.0.2.9:80:"], "remove_rules": ["192.0.2.11:25:"]}
    record = {"configuration": [], **rules, "stat_rules": [""]}
    first, ninth = IPv4Address("192.0.2.11"), IPv4Address("192.0.2.9")
    found = load_balancer(bags(record))
    assert found is not None
    assert found.listeners == (Listener(ninth, 80), Listener(first, 80), Listener(first, 443))
    everywhere = load_balancer(bags({"configuration": [], "stat_rules": ["0.0.0.0/0:8081:0/0:,"]}))
    assert everywhere is not None
    assert everywhere.listeners == (Listener(None, 8081),)


def test_several_records_are_one_load_balancer() -> None:
    """G3: two tiers."""
    tiers = [{"configuration": [f"listen {ip}"], "add_rules": [f"{ip}:80:"]} for ip in ("10.2.1.1", "10.2.2.1")]
    found = load_balancer(bags(*tiers))
    assert found is not None
    assert found.lines == ("listen 10.2.1.1", "listen 10.2.2.1")
    assert len(found.listeners) == 2


def test_certificates_lose_carriage_returns_and_show_no_key() -> None:
    sent = {"name": "c", "cert": "A\r\nB\r\n", "key": "THE\r\nKEY", "password": "secret"}
    found = load_balancer(bags({"configuration": [], "ssl_certs": [sent]}))
    assert found is not None
    (certificate,) = found.certificates
    assert (certificate.certificate, certificate.key, certificate.chain) == ("A\nB\n", "THE\nKEY\n", "")
    assert "KEY" not in repr(found)
    assert "secret" not in repr(found)


def test_addresses_are_all_that_the_databags_give_the_router() -> None:
    """Also on NICs that are not there yet, and those a pair shares."""
    found = load_balancer(
        bags(
            {"configuration": []},
            cmdline={"config": {"eth0ip": "10.1.1.2", "guestgw": "10.1.1.1"}},
            ips={"id": "ips", "ethNone": [{"public_ip": "192.0.2.10"}]},
            guestnetwork={
                "id": "guestnetwork",
                "eth2": [{"router_guest_ip": "10.2.1.84", "router_guest_gateway": "None"}],
            },
        )
    )
    assert found is not None
    assert sorted(map(str, found.addresses)) == ["10.1.1.1", "10.1.1.2", "10.2.1.84", "192.0.2.10"]
