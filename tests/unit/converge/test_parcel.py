# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._converge import parcel
from ansible_collections.cloudstack.virtual_router.plugins.plugin_utils.router_action import read_templates


def test_templates_come_out_as_they_went_in() -> None:
    templates = read_templates()
    word = parcel.packed(templates)
    assert parcel.unpacked(word) == templates
    assert len(word) < sum(len(text) for text in templates.values()) / 2


def test_no_word_is_no_template() -> None:
    assert parcel.unpacked(None) == {}


def test_the_journal_is_not_told_the_templates_and_nobody_is_offered_the_option() -> None:
    """Ansible's modules log their arguments, but for those with no_log; ansible-doc shows what is documented."""
    ((name, option),) = parcel.SPEC.items()
    assert name.startswith("_")
    assert option["no_log"] is True
