#!/usr/bin/python3 -IS
# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Start or stop a service, or ask for its state: manage_service.sh ACTION SERVICE."""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "lib"))

from vrlib import command, manage

if __name__ == "__main__":
    command.run(manage.main)
