# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Render templates: they print fields of a plan and decide nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Renderer:
    """Render the project's templates; an unknown field is an error, not an empty text."""

    def __init__(self, templates: Mapping[str, str]) -> None:
        # Imported here: Ansible imports module_utils on machines that are no routers and have no Jinja2.
        from jinja2 import DictLoader, Environment, StrictUndefined

        self._environment = Environment(
            loader=DictLoader(templates),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            autoescape=False,  # noqa: S701 - configuration files, not HTML; the values are checked against the schema
        )

    def __call__(self, name: str, /, **fields: Any) -> str:
        """Return the text of a template with the given fields."""
        return self._environment.get_template(name).render(**fields)

    def compile(self) -> None:
        """Compile all templates now instead of at their first use."""
        for name in self._environment.list_templates():
            self._environment.get_template(name)
