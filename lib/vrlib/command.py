# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What all commands share: where things are, and a failure in one line.

Nothing here imports Ansible, and little else (dataclasses alone costs 5 ms): a command must start at once. Where the
router's files are follows from where this file is installed (below ``<root>/usr/share/ansible/collections``) and never
from the environment, so that nobody who can set a variable can redirect a command that runs as root.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable

COLLECTIONS = "/usr/share/ansible/collections"
COLLECTION = COLLECTIONS + "/ansible_collections/cloudstack/virtual_router"

# Behind the link of a router that was provisioned anew there is another directory: its root is `/` as well.
_HERE, _FOUND, _ = os.path.abspath(__file__).rpartition(COLLECTION + "/lib/vrlib/")
ROOT = _HERE if _FOUND else ""

# Programs are looked up under the root first, which is the same place on a router.
_FOLDERS = ("/usr/sbin", "/usr/bin", "/sbin", "/bin")
PATH = ":".join(prefix + folder for prefix in dict.fromkeys((ROOT, "")) for folder in _FOLDERS)

COMMANDS = "/opt/cloud/bin"
PROGRAMS = "/opt/cloudstack/libexec"
"""What units and daemons start; COMMANDS is for the management server and for people."""
INBOX = "/var/cache/cloud"
DATABAGS = "/etc/cloudstack"
RESULTS = "/var/lib/cloudstack/results"
# Where a record is that the disk did not take; it is newer than one on disk.
UNWRITTEN = "/run/cloudstack/results"
PLAYBOOK = COLLECTION + "/playbooks/converge.yml"
CMD_LINE = "cmd_line.json"

# The management server gives up after 600 s (contract.md); a line that says why must come before that.
LIMIT = 590.0

# First a letter or digit: neither hidden file nor option. No brace: Ansible templates extra variables.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")


class CommandError(Exception):
    """Report a failure in one line, which is all that the caller of a command gets to see."""


def at(path: str) -> str:
    """Return where an absolute path of the router is on this file system."""
    return ROOT + path


def text(path: str) -> str:
    """Return what is in a text file of the router, nothing when it is not there."""
    try:
        with open(at(path), encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def line(path: str) -> str:
    """Return the first line of a text file of the router, nothing when it is not there."""
    return text(path).partition("\n")[0].strip()


def one_line(said: object) -> str:
    """Return text without line breaks, control characters and runs of blanks, cut after 2,000 characters."""
    words = " ".join(str(said).split())
    return "".join(sign if sign.isprintable() else "?" for sign in words)[:2000]


def check_name(name: str) -> str:
    """Return a file name of the inbox, or refuse it: separators, ``..`` and anything but letters, digits, ``._-``."""
    if not _NAME.fullmatch(name) or ".." in name:
        raise CommandError(f"{one_line(ascii(name))[:100]}: expected the plain name of a file in {INBOX}")
    return name


def is_command(program: str) -> bool:
    """Tell whether a plain name is an executable file of /opt/cloud/bin.

    No link is: an upgrade leaves some there, to programs of daemons that were there before.
    """
    path = at(f"{COMMANDS}/{program}")
    is_file = os.path.isfile(path) and not os.path.islink(path)
    return bool(_NAME.fullmatch(program)) and is_file and os.access(path, os.X_OK)


def is_due(name: str) -> bool:
    """Tell whether a drop waits to be taken; not if it was taken before (drops.md); an unknown name is an error."""
    if os.path.isfile(at(f"{INBOX}/{name}")):
        return True
    if os.path.isfile(at(f"{INBOX}/processed/{name}.gz")):
        return False
    raise CommandError(f"{name}: no such file in {INBOX}")


def run(main: Callable[[list[str]], None]) -> None:
    """Call a command's main with its arguments; a failure is one line on stderr and exit status 1."""
    os.umask(0o077)
    try:
        main(sys.argv[1:])
    except (CommandError, OSError) as error:
        sys.stderr.write(one_line(error) + "\n")
        sys.exit(1)


def use_collection() -> None:
    """Make the collection's pure packages importable; they are namespace packages and need no Ansible.

    They are those of the release that this command began with: an upgrade may change the link at any moment.
    """
    folder = at(COLLECTIONS)
    if folder not in sys.path:
        sys.path.append(folder)
        import ansible_collections.cloudstack.virtual_router as collection

        release = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
        collection.__path__ = [release]


def write_atomically(path: str, data: bytes, mode: int = 0o600) -> None:
    """Replace a file by new content in one step; after a power loss it is the old one or the new one.

    A link in the place of its draft is an error: some directories have another owner.
    """
    draft = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.new")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    os.replace(draft, path)
