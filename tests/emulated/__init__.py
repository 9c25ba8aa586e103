# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Routers that boot from the disk that clouds boot, on emulated hardware, wired to the lab's segments.

What a container cannot show is tried here: the disk, the boot, the agent of the hypervisor, and Debian's own kernel.
The machines need neither KVM nor a nested hypervisor; what they are timed at says nothing about real ones.
"""
