#!/usr/bin/python3 -IS
# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Print what the health checks found: getRouterMonitorResults.sh [true|false]."""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

import vr_command
import vr_monitor_results

if __name__ == "__main__":
    vr_command.run(vr_monitor_results.main)
