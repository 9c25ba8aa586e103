# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Say which files the project has, and of what kind, for all checks."""

from __future__ import annotations

import importlib
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
COLLECTIONS = BUILD / "collections"
COLLECTION = "cloudstack.virtual_router"
SHELLS = frozenset({"#!/bin/sh", "#!/bin/bash", "#!/usr/bin/env bash", "#!/usr/bin/bash"})
PACKAGE = f"ansible_collections.{COLLECTION}"


@dataclass(frozen=True)
class Problem:
    """One thing to repair: a path from the root, a line (0: the file as a whole) and what is wrong."""

    path: str
    line: int
    text: str

    def __str__(self) -> str:
        """Print as editors and terminals understand it."""
        return f"{self.path}:{self.line}: {self.text}" if self.line else f"{self.path}: {self.text}"


@cache
def files() -> tuple[str, ...]:
    """List the files git knows or would add, as paths from the root."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    names = {name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()}
    return tuple(sorted(names))


def first_line(path: str) -> str:
    """Read the first line of a file, as far as it is text."""
    with (ROOT / path).open("rb") as file:
        return file.readline(200).decode("utf-8", errors="replace").strip()


@cache
def python_files() -> tuple[str, ...]:
    """List Python files by suffix or by their #! line: the commands of a router keep their old names."""
    return tuple(
        path
        for path in files()
        if path.endswith(".py") or (first_line(path).startswith("#!") and "python" in first_line(path))
    )


@cache
def shell_files() -> tuple[str, ...]:
    """List shell scripts by their #! line."""
    return tuple(path for path in files() if first_line(path) in SHELLS)


def link_collection() -> Path:
    """Make the checkout findable as a collection, and return the path to give to Python and to Ansible."""
    link = COLLECTIONS / PACKAGE.replace(".", "/")
    link.parent.mkdir(parents=True, exist_ok=True)
    try:
        link.symlink_to(Path("../../../.."), target_is_directory=True)
    except FileExistsError:
        # Also made by whoever ran beside this one since; anything but a link is not ours.
        if not link.is_symlink():
            raise
    return COLLECTIONS


def find_collection() -> None:
    """Let this Python import the collection; unit tests find it by their conftest.py."""
    try:
        importlib.import_module(f"{PACKAGE}.plugins")
    except ImportError:
        sys.path.insert(0, str(link_collection()))
        importlib.invalidate_caches()
