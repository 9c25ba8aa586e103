#!/usr/bin/python3 -IS
# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keep a password for a VM until it asks for it: savepassword.sh -v ADDRESS -p PASSWORD."""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "lib"))

from vrlib import command, save_password

if __name__ == "__main__":
    command.run(save_password.main)
