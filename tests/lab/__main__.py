# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Bring labs up and down by hand, or from molecule: ``python -m tests.lab up isolated``."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

from tests.lab.access import SSHD
from tests.lab.lab import Lab
from tests.lab.process import LabError
from tests.lab.router import CACHE
from tests.lab.topologies import DROPS, TOPOLOGIES


def up(arguments: argparse.Namespace) -> None:
    """Make a lab of a topology and leave it standing."""
    lab = Lab(arguments.name or arguments.topology)
    lab.up()
    try:
        TOPOLOGIES[arguments.topology](lab)
    except BaseException:
        lab.down()
        raise
    lab.detach()
    status(arguments)


def down(arguments: argparse.Namespace) -> None:
    """Remove a lab, whatever is left of it."""
    Lab(arguments.name or arguments.topology).down()


def status(arguments: argparse.Namespace) -> None:
    """Print the parts of a lab and how to enter them."""
    lab = Lab.attach(arguments.name or arguments.topology)
    for host in lab.hosts.values():
        print(f"host   {host.name:<12} ip netns exec {host.namespace} bash")
    for router in lab.routers.values():
        print(f"router {router.name:<12} python -m tests.lab exec --name {lab.name} {router.name} bash")


def execute(arguments: argparse.Namespace) -> None:
    """Become a command on a router, with this terminal."""
    lab = Lab.attach(arguments.name)
    words = lab.routers[arguments.router].enter(timeout=86400)
    # `timeout` would take the command out of the terminal's foreground.
    words.insert(words.index("timeout") + 1, "--foreground")
    os.execvp(words[0], [*words, *(arguments.command or ["bash"])])  # noqa: S606


def sshd(arguments: argparse.Namespace) -> None:
    """Become an sshd on a router that talks on standard input and output: ssh's ProxyCommand."""
    router = Lab.attach(arguments.name).routers[arguments.router]
    words = router.enter(timeout=86400)
    os.execvp(words[0], [*words, *SSHD])  # noqa: S606


def replay(arguments: argparse.Namespace) -> None:
    """Send the drops of a directory to a router, and print what each command took."""
    router = Lab.attach(arguments.name).routers[arguments.router]
    router.wait_boot()
    for answer in router.replay_steps(arguments.directory):
        print(f"{answer.seconds:7.2f} s  {answer.command}", flush=True)


def configure(arguments: argparse.Namespace) -> None:
    """Send a router the drops of its topology that it has not taken yet, and print their names."""
    router = Lab.attach(arguments.topology).routers[arguments.router]
    router.wait_boot()
    for name, body in DROPS[arguments.topology](router.name):
        if not router.exists(f"{CACHE}/processed/{name}.gz"):
            print(f"{router.drop(name, body).seconds:7.2f} s  {name}", flush=True)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab")
    parser.add_argument("--verbose", action="store_true", help="print every command")
    verbs = parser.add_subparsers(required=True)
    for verb, what in (("up", up), ("down", down), ("status", status)):
        added = verbs.add_parser(verb, help=what.__doc__)
        added.add_argument("topology", choices=sorted(TOPOLOGIES))
        added.add_argument("--name", help="name of the lab, if not that of the topology")
        added.set_defaults(what=what)
    added = verbs.add_parser("exec", help=execute.__doc__)
    added.add_argument("--name", required=True)
    added.add_argument("router")
    added.add_argument("command", nargs=argparse.REMAINDER)
    added.set_defaults(what=execute)
    added = verbs.add_parser("sshd", help=sshd.__doc__)
    added.add_argument("--name", required=True)
    added.add_argument("router")
    added.set_defaults(what=sshd)
    added = verbs.add_parser("replay", help=replay.__doc__)
    added.add_argument("--name", required=True)
    added.add_argument("router")
    added.add_argument("directory", type=Path)
    added.set_defaults(what=replay)
    added = verbs.add_parser("configure", help=configure.__doc__)
    added.add_argument("topology", choices=sorted(DROPS))
    added.add_argument("router")
    added.set_defaults(what=configure)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.DEBUG if arguments.verbose else logging.WARNING, format="%(message)s")
    try:
        arguments.what(arguments)
    except LabError as error:
        sys.exit(f"lab: {error}")


main()
