#!/usr/bin/python
# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: vr_collection
short_description: Install this collection on the router
version_added: 0.1.0
description:
  - Packs the collection that runs this task, sends it, and puts it where the router's own converges find it.
  - So a router that is provisioned from a control node has one release of everything.
  - The directory is exchanged as a whole. A converge finds the former release or this one, never a part of each.
author:
  - Contributors to the cloudstack.virtual_router project (@apache)
requirements:
  - Debian 12 or later on the router
  - Python 3.11 or later
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying the router.
    support: full
  diff_mode:
    description: Returns the names of the files that come, go or change.
    support: full
  idempotent:
    description: Nothing is written when the files on the router are the same.
    support: full
options:
  dest:
    description: Directory of the collection on the router.
    type: path
    default: /usr/share/ansible/collections/ansible_collections/cloudstack/virtual_router
  archive:
    description:
      - Path on the router of a tar archive of the collection.
      - When it is absent the collection that runs this task is packed and sent.
    type: path
"""

EXAMPLES = r"""
- name: Install this collection on the router
  cloudstack.virtual_router.vr_collection:
"""

RETURN = r"""
files:
  description: How many files the collection has.
  returned: success
  type: int
  sample: 312
"""

import os

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.collection import (
    differences,
    exchange,
    installed,
    read,
)

DEST = "/usr/share/ansible/collections/ansible_collections/cloudstack/virtual_router"


def main() -> None:
    """Compare the archive with what is installed, and exchange it if they differ."""
    specification = {"dest": {"type": "path", "default": DEST}, "archive": {"type": "path"}}
    module = AnsibleModule(specification, supports_check_mode=True)
    dest, archive = module.params["dest"], module.params["archive"]
    if not archive or not os.path.isfile(archive):
        module.fail_json(msg=f"archive: expected a file on the router, got {archive!r}")
    try:
        wanted = read(archive)
        before = installed(dest)
        if before != wanted and not module.check_mode:
            exchange(wanted, dest)
    except (OSError, ValueError) as error:
        module.fail_json(msg=f"{dest}: {error}")
    result = {"changed": before != wanted, "files": len(wanted)}
    if module._diff:
        result["diff"] = {"prepared": "\n".join(differences(before, wanted))}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
