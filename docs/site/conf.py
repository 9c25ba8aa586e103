# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Settings of Sphinx for the site: the guides as they lie in docs/, and the pages of plugins and roles."""

project = "cloudstack.virtual_router"
project_copyright = "Contributors to the cloudstack.virtual_router project"
extensions = ["myst_parser", "sphinx_antsibull_ext"]
html_theme = "sphinx_ansible_theme"
html_show_sphinx = False
myst_heading_anchors = 4
root_doc = "index"
# The guides are read in the repository, too: their code blocks name languages as GitHub does.
# Labels of Ansible's own site are not looked up, so that building needs no network. A broken link of ours still fails.
suppress_warnings = ["misc.highlighting_failure", "ref.ref"]
