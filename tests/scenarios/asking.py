# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A VM that goes on asking for names while a test changes the router."""

from __future__ import annotations

import itertools
import threading
import time
from concurrent.futures import Future

from tests.lab.host import Host
from tests.lab.probes import Answer

INTERVAL = 0.01
"""Seconds between two questions."""


class Asking:
    """Ask a DNS server for names by turns, a hundred times per second, from entering a with-block to its end.

    A question is lost after `patience` seconds without an answer.
    """

    def __init__(self, client: Host, server: str, names: tuple[str, ...], patience: float) -> None:
        # The prober itself: two threads that ask a host for it at once would start two.
        self._probe, self._names = client.probe, itertools.cycle(names)
        self._question = {"server": server, "timeout": patience}
        self._asked: list[Future[Answer]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Asking:
        """Start asking."""
        self._thread.start()
        return self

    def _ask(self) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            self._asked.append(self._probe.submit("dns", name=next(self._names), **self._question))
            due += INTERVAL
            time.sleep(max(0.0, due - time.monotonic()))

    def __exit__(self, *_error: object) -> None:
        """Stop asking."""
        self._stop.set()
        self._thread.join()

    @property
    def count(self) -> int:
        """Return how many questions were asked."""
        return len(self._asked)

    @property
    def lost(self) -> int:
        """Return how many questions had no answer."""
        return sum(not future.result(30).get("answers") for future in self._asked)
