# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Units of ours are confined, as systemd-analyze(1) counts it: from 0, which can do nothing, to 10."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
MOST = 5.0
CONFINED = ("nginx", "cloudstack-metadata-certificate", "cloudstack-passwords", "cloudstack-powered-off")
CONFINED += ("cloudstack-pair-relay",)
"""What converges, and what it starts for a pair or a tunnel, still has most of root's rights."""


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("name", CONFINED)
def test_a_unit_is_confined(name: str) -> None:
    (unit,) = ROOT.glob(f"roles/*/files/systemd/{name}.service")
    words = ("systemd-analyze", "security", "--offline=true", "--no-pager", str(unit))
    printed = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    (exposure,) = re.findall(r"^\S+ Overall exposure level for \S+: ([0-9.]+) ", printed, re.MULTILINE)
    assert float(exposure) <= MOST
