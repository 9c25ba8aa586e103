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
  - A control node and the routers that it provisions have the same release.
  - Each release has its own directory, and one link leads to the release in use. Commands and converges are reached
    by that link, so each of them uses one release as a whole.
  - Waits until a converge that runs on the router has ended. Keeps the former release until the next installation,
    because commands and daemons that started with it go on.
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
    description: Where converges look for the collection on the router. It becomes a link.
    type: path
    default: /usr/share/ansible/collections/ansible_collections/cloudstack/virtual_router
  home:
    description: Directory in which each release has a directory of its own.
    type: path
    default: /opt/cloudstack
  links:
    description: Links to make on the router, and the directories of the collection that they lead to.
    type: dict
    default:
      /opt/cloud/bin: bin
      /opt/cloudstack/libexec: libexec
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
    link,
    linked,
    read,
)

DEST = "/usr/share/ansible/collections/ansible_collections/cloudstack/virtual_router"


SPECIFICATION = {
    "dest": {"type": "path", "default": DEST},
    "home": {"type": "path", "default": "/opt/cloudstack"},
    "links": {"type": "dict", "default": {"/opt/cloud/bin": "bin", "/opt/cloudstack/libexec": "libexec"}},
    "archive": {"type": "path"},
}


def main() -> None:
    """Compare the archive with what is installed, and exchange it if they differ."""
    module = AnsibleModule(SPECIFICATION, supports_check_mode=True)
    dest, home, links, archive = (module.params[name] for name in SPECIFICATION)
    if not archive or not os.path.isfile(archive):
        module.fail_json(msg=f"archive: expected a file on the router, got {archive!r}")
    try:
        wanted = read(archive)
        before = installed(dest)
        changed = before != wanted or not linked(links, dest)
        if not module.check_mode:
            # A new link comes first: the new release looks for its programs there from its first moment.
            link({path: part for path, part in links.items() if not os.path.lexists(path)}, dest)
            if before != wanted:
                exchange(wanted, dest, home)
            link(links, dest)
    except (OSError, ValueError) as error:
        module.fail_json(msg=f"{dest}: {error}")
    result = {"changed": changed, "files": len(wanted)}
    if module._diff:
        result["diff"] = {"prepared": "\n".join(differences(before, wanted))}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
