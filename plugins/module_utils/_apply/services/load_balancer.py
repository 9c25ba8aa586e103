# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Load balancer: read haproxy's files, refuse listeners it cannot have, and plan."""

from __future__ import annotations

import os

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply import files, haproxy
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.host import Host
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.observe import observe
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.service import Service
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.load_balancer import (
    Certificate,
    LoadBalancer,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Router
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import haproxy as config
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import load_balancer
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.haproxy import CERTIFICATES
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import (
    HaproxyService,
    RemoveFile,
    Step,
)


def plan(host: Host, router: Router, committed: Router) -> list[Step]:
    """Plan haproxy: its files and certificates, and whether it runs.

    Raises RefusedError for a new listener that cannot work, and for a word nobody may write, before any change (G4).
    """
    balancer = router.load_balancer
    if balancer is None:
        return _without()
    if load_balancer.is_new(router, committed):
        added = files.read(load_balancer.ADDED_WORDS)
        load_balancer.require_known_words(balancer, added.content if added else "")
        load_balancer.require_bound(balancer)
    _check_binds(host, router, committed, balancer)
    keys = {sent.name: _key(host, sent) for sent in balancer.certificates}
    wanted = load_balancer.wanted(balancer, keys, host.render)
    hidden = config.secrets(load_balancer.sections(balancer))
    return load_balancer.compare(wanted, observe(host, wanted), _present(), hidden)


def _without() -> list[Step]:
    """Plan a router that was never asked for a load balancer, without starting a process when there is nothing."""
    found = files.read(load_balancer.CONFIG)
    ours = [load_balancer.CONFIG] if found and found.content.startswith(load_balancer.HEADER) else []
    stop = load_balancer.stop() if haproxy.answers() else []
    return [*stop, *(RemoveFile(path) for path in (*ours, *_present()))]


def _check_binds(host: Host, router: Router, committed: Router, balancer: LoadBalancer) -> None:
    fresh = load_balancer.new_binds(router, committed)
    if fresh:
        load_balancer.require_own_addresses(fresh, balancer)
        load_balancer.require_free(fresh, load_balancer.parse_sockets(host.run(("ss", "-Hltnp"))))


def _key(host: Host, sent: Certificate) -> str:
    if not load_balancer.encrypted(sent):
        return sent.key
    live = files.read(load_balancer.pem_path(sent))
    return load_balancer.decrypted_key(sent, live.content if live else None) or haproxy.decrypt(host.run, sent)


def _present() -> list[str]:
    try:
        with os.scandir(CERTIFICATES) as entries:
            return [entry.path for entry in entries if entry.is_file(follow_symlinks=False)]
    except FileNotFoundError:
        return []


SERVICE = Service(
    plan,
    handlers={HaproxyService: haproxy.serve},
    checks={HaproxyService: haproxy.check},
    judges_history=True,
)
