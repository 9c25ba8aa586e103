# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Build the disk a second time, from the same versions of packages, and get the same bytes.

Not among the tests that pytest finds by itself: it takes a minute or two.
"""

from __future__ import annotations

import shutil
import sys

from image.machine import tree
from image.machine.formats import sha256
from tests.emulated.machine import DISK
from tests.lab.process import run

AGAIN = DISK.parents[1] / "template-again"


def test_a_second_build_has_the_same_bytes() -> None:
    words = ("--again", "--only-raw", "--into", AGAIN)
    run(sys.executable, tree.ROOT / "image" / "template", *words, timeout=900)
    for suffix in (".packages", ".cdx.json", ".raw"):
        first, second = DISK.with_suffix(suffix), AGAIN / f"{DISK.stem}{suffix}"
        assert sha256(first) == sha256(second), f"{first} and {second} differ"
    shutil.rmtree(AGAIN)
