# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Let Python keep the bytecode of this collection's module_utils.

Ansible's loader of collections compiles each file at each start, which for ours takes longer than a small converge has.
Python's own loader keeps what it compiled in ``__pycache__``, and compiles anew when time or size of a file differ.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from types import ModuleType

from ansible.utils.collection_loader import AnsibleCollectionConfig

MODULE_UTILS = "ansible_collections.cloudstack.virtual_router.plugins.module_utils."


class KeptBytecode(MetaPathFinder):
    """Find the modules below module_utils, where Ansible found the package, for Python's own loader."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, _target: ModuleType | None = None, /
    ) -> ModuleSpec | None:
        """Return how to load a module or package of ours; of anything else, or one without a file, nothing."""
        if not path or not name.startswith(MODULE_UTILS):
            return None
        base = os.path.join(path[0], name.rpartition(".")[2])
        for file in (f"{base}.py", os.path.join(base, "__init__.py")):
            if os.path.isfile(file):
                return spec_from_file_location(name, file)
        return None


def keep() -> None:
    """Have the import system ask here before it asks Ansible, if it does that; once."""
    ansible = AnsibleCollectionConfig.collection_finder
    if ansible in sys.meta_path and not any(isinstance(finder, KeptBytecode) for finder in sys.meta_path):
        sys.meta_path.insert(sys.meta_path.index(ansible), KeptBytecode())
