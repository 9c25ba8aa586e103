# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the container of an isolated network's router is asked, asked of a machine with Debian's own kernel."""

from __future__ import annotations

from tests.scenarios.test_isolated_traffic import (
    test_a_vm_without_static_nat_leaves_with_the_source_nat_address,
    test_all_pairs_of_own_public_addresses_reach_each_other,
    test_each_rule_and_forward_lets_in_what_it_says_and_nothing_else,
    test_egress_rules_and_source_nat_of_each_nic,
    test_guests_reach_the_services_of_the_router_and_no_others,
    test_hairpin_reaches_every_forward_from_every_vm,
    test_icmp_rules_decide_who_may_ping,
    test_management_reaches_sshd_on_the_control_address_only,
    test_no_protocol_without_a_rule_enters,
    test_only_the_given_icmp_type_passes,
    test_the_guest_network_cannot_be_reached_around_its_addresses,
    test_usage_counts_bytes_between_guests_and_each_public_nic,
    test_what_enters_keeps_its_source_address,
)

__all__ = [
    "test_a_vm_without_static_nat_leaves_with_the_source_nat_address",
    "test_all_pairs_of_own_public_addresses_reach_each_other",
    "test_each_rule_and_forward_lets_in_what_it_says_and_nothing_else",
    "test_egress_rules_and_source_nat_of_each_nic",
    "test_guests_reach_the_services_of_the_router_and_no_others",
    "test_hairpin_reaches_every_forward_from_every_vm",
    "test_icmp_rules_decide_who_may_ping",
    "test_management_reaches_sshd_on_the_control_address_only",
    "test_no_protocol_without_a_rule_enters",
    "test_only_the_given_icmp_type_passes",
    "test_the_guest_network_cannot_be_reached_around_its_addresses",
    "test_usage_counts_bytes_between_guests_and_each_public_nic",
    "test_what_enters_keeps_its_source_address",
]
