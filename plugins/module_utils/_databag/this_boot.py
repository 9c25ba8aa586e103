# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tell one boot of the router from the next.

The kernel's boot_id would not do: a container has that of its host. /run is empty at each boot of either.
"""

from __future__ import annotations

import os
import time

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.disk import PRIVATE_DIRECTORY, Disk
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.errors import DatabagError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.paths import Paths
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.start import Boot


def identify(paths: Paths, disk: Disk) -> Boot:
    """Return this boot, which whoever asks first gives its name; DatabagError when the name cannot be read."""
    try:
        found = disk.read(paths.boot)
    except FileNotFoundError:
        found = _name(paths, disk)
    try:
        name, since = found.decode("ascii").split()
        return Boot(name, max(_now() - float(since), 0.0))
    except ValueError:
        raise DatabagError(str(paths.boot), f"expected a name and seconds, got {len(found)} other bytes") from None


def _name(paths: Paths, disk: Disk) -> bytes:
    """Give this boot a name, unless somebody else has done so meanwhile: the first one counts."""
    name = os.urandom(8).hex()
    disk.make_directory(paths.boot.parent, PRIVATE_DIRECTORY)
    draft = paths.boot.with_name(f".boot.{name}")
    disk.write(draft, f"{name} {_now():.3f}\n".encode(), durable=False)
    try:
        disk.link(draft, paths.boot)
    except FileExistsError:
        pass
    finally:
        disk.remove(draft)
    return disk.read(paths.boot)


def _now() -> float:
    """Return seconds that no change of the time of day moves."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
