# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Let the real nft and kernel take rulesets, where they concern nobody."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

needs_kernel = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("nft") is None, reason="loading a ruleset needs root and nft"
)


def in_private_kernel(script: str, **files: str) -> str:
    """Run a shell script in a network namespace of its own; $name holds the text of a file."""
    done = subprocess.run(
        ("unshare", "-n", "sh", "-euc", script),
        env={**os.environ, **files},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
