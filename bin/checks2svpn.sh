#!/opt/cloudstack/venv/bin/python -I
# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Report the state of one site-to-site VPN connection: checks2svpn.sh <peer>."""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "lib"))

from vrlib import command, vpn

if __name__ == "__main__":
    command.run(vpn.single)
