#!/usr/bin/python
# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: vr_facts
short_description: Return the databags of a router as facts
version_added: 0.1.0
description:
  - Reads the databags in force and the NICs that are plugged in. Waits for no converge, and changes nothing.
  - No password, key, certificate or user data is among the facts.
extends_documentation_fragment:
  - cloudstack.virtual_router.router
options:
  gather_subset:
    description: Which topics to return.
    type: list
    elements: str
    choices: [all, router, tiers, nat, firewall, acl, dhcp, lb, routes, vpn, bgp, pair]
    default: [all]
"""

EXAMPLES = r"""
- name: Read which VMs the router knows, and which of their ports are public
  cloudstack.virtual_router.vr_facts:
    gather_subset: [dhcp, nat]

- name: Show the forwards
  ansible.builtin.debug:
    msg: "{{ ansible_facts.cloudstack_router.nat | selectattr('kind', 'equalto', 'forward') }}"
"""

RETURN = r"""
ansible_facts:
  description: The facts.
  returned: always
  type: complex
  contains:
    cloudstack_router:
      description: What the databags in force say, by topic; only the topics that were asked for. All values are texts.
      returned: always
      type: complex
      contains:
        router:
          description: What the router is as a whole, and what waits or is not applied.
          returned: when it is in O(gather_subset)
          type: list
          elements: dict
          contains:
            what:
              description: Name, kind, domain, state, pending, warning and the like.
              returned: always
              type: str
            value:
              description: Its value.
              returned: always
              type: str
        tiers:
          description: The NICs that have a role.
          returned: when it is in O(gather_subset)
          type: list
          elements: dict
          contains:
            nic:
              description: Name of the NIC.
              returned: always
              type: str
            role:
              description: One of guest, control, public, private_gateway.
              returned: always
              type: str
            addresses:
              description: Addresses with their prefix lengths, separated by blanks.
              returned: always
              type: str
            gateway:
              description: Next hop of its primary subnet, empty if there is none.
              returned: always
              type: str
            mtu:
              description: In bytes.
              returned: always
              type: str
            domain:
              description: Domain of a tier.
              returned: always
              type: str
        nat:
          description: Port forwards, static NAT and source NAT.
          returned: when it is in O(gather_subset)
          type: list
          elements: dict
          contains:
            kind:
              description: One of forward, static, source.
              returned: always
              type: str
            public:
              description: The public address.
              returned: always
              type: str
            protocol:
              description: Protocol, or C(any).
              returned: always
              type: str
            ports:
              description: Public port or range, or C(all).
              returned: always
              type: str
            internal:
              description: Address of the VM, or the NIC of source NAT.
              returned: always
              type: str
            internal_ports:
              description: Port or range of the VM.
              returned: always
              type: str
            sources:
              description: Networks of the clients, or C(any).
              returned: always
              type: str
        firewall:
          description: Rules of public addresses and of what enters a routed network, egress rules, and those of IPv6.
          returned: when it is in O(gather_subset)
          type: list
          elements: dict
          contains:
            way:
              description: Into which address or the network, or out of it, and C(IPv6) if it is of that.
              returned: always
              type: str
            action:
              description: C(allow) or C(deny).
              returned: always
              type: str
            protocol:
              description: Protocol, or C(any).
              returned: always
              type: str
            ports:
              description: Port or range, or type and code of ICMP.
              returned: always
              type: str
            sources:
              description: Networks.
              returned: always
              type: str
            destinations:
              description: Networks.
              returned: always
              type: str
            record:
              description: Record of the databag, or C(default).
              returned: always
              type: str
        acl:
          description: ACLs of the devices of a VPC, with the keys of C(firewall).
          returned: when it is in O(gather_subset)
          type: list
          elements: dict
          contains:
            way:
              description: Towards or from which NIC, and C(IPv6) if it is of that.
              returned: always
              type: str
            action:
              description: C(allow) or C(deny).
              returned: always
              type: str
            protocol:
              description: Protocol, or C(any).
              returned: always
              type: str
            ports:
              description: Port or range, or type and code of ICMP.
              returned: always
              type: str
            sources:
              description: Networks.
              returned: always
              type: str
            destinations:
              description: Networks.
              returned: always
              type: str
            record:
              description: Record of the databag, or C(default).
              returned: always
              type: str
        dhcp:
          description: VMs that get an address.
          returned: when it is in O(gather_subset)
          type: list
          elements: dict
          contains:
            ip:
              description: Address.
              returned: always
              type: str
            mac:
              description: MAC address.
              returned: always
              type: str
            name:
              description: Name in DNS.
              returned: always
              type: str
            nic:
              description: NIC of the router.
              returned: always
              type: str
            default_nic:
              description: C(true) where its default route is.
              returned: always
              type: str
        lb:
          description: Listeners of the load balancer.
          returned: when it is in O(gather_subset)
          type: list
          elements: dict
          contains:
            listener:
              description: Address and port.
              returned: always
              type: str
        routes:
          description: Routes of the databags and connected networks.
          returned: when it is in O(gather_subset)
          type: list
          elements: dict
          contains:
            network:
              description: Network, or C(default).
              returned: always
              type: str
            via:
              description: Next hop.
              returned: always
              type: str
            nic:
              description: NIC.
              returned: always
              type: str
        vpn:
          description: Tunnels of site-to-site VPN, without their keys.
          returned: when it is in O(gather_subset)
          type: list
          elements: dict
          contains:
            peer:
              description: Address or name of the peer.
              returned: always
              type: str
            local:
              description: Public address of this end.
              returned: always
              type: str
            local_networks:
              description: Networks of this end, separated by blanks.
              returned: always
              type: str
            remote_networks:
              description: Networks of the peer, separated by blanks.
              returned: always
              type: str
            ike:
              description: Proposals of IKE, separated by blanks.
              returned: always
              type: str
            esp:
              description: Proposals of ESP, separated by blanks.
              returned: always
              type: str
            passive:
              description: C(true) where the peer is waited for.
              returned: always
              type: str
        bgp:
          description: BGP sessions, without their passwords.
          returned: when it is in O(gather_subset)
          type: list
          elements: dict
          contains:
            peer:
              description: Address of the peer.
              returned: always
              type: str
            as:
              description: AS number of the peer.
              returned: always
              type: str
            own_as:
              description: AS number of this router.
              returned: always
              type: str
            networks:
              description: Networks that the peer is told, separated by blanks.
              returned: always
              type: str
            hops:
              description: How many hops away the peer may be, empty for a neighbour.
              returned: always
              type: str
        pair:
          description: The pair of routers, empty for a single one.
          returned: when it is in O(gather_subset)
          type: list
          elements: dict
          contains:
            what:
              description: State, link, own and shared address, what moves.
              returned: always
              type: str
            value:
              description: Its value.
              returned: always
              type: str
"""

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._converge.module import main

if __name__ == "__main__":
    main("vr_facts")
