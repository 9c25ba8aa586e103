# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the routers of a VPC's pair say to each other on its tiers: authenticated, fresh, and each packet once.

A datagram is MAGIC, the session of its sender, that of its receiver, a number, what it carries, and a tag: HMAC-SHA-256
over all of that, truncated to 128 bits as IPsec has it (RFC 4868). The key follows from the boot argument
`router_password`. A session is 16 random bytes which a router chooses when it starts. What it is told counts only when
it names that session: so nothing that was recorded before then does, and no clock is asked. Within the session a window
takes each number once (RFC 4303, section 3.4.3). Who does not know the session yet says hello, and is told it.
"""

from __future__ import annotations

import hmac
import os
import struct
from dataclasses import dataclass, field

MAGIC = b"VRp1"
HEAD = struct.Struct("!4s16s16sQ")
TAG = 16
NOBODY = bytes(16)
"""The session of a receiver that is not known yet."""
WINDOW = 1024
"""How many numbers back a packet may come late: conntrackd sends hundreds at once, and tiers differ."""
LIFE = 10.0
"""How long a silent router is still spoken to, in seconds."""
SESSIONS = 8
"""How many sessions of other routers are remembered; one more, and this router begins a new one of its own."""
ANSWERED = 256
"""Of how many sessions it is remembered when they were answered."""
PATIENCE = 0.05
"""Seconds between two answers to one who does not know our session: it may be a recording, played without end."""


@dataclass
class Window:
    """The numbers that were taken: the highest, and a bit for each of those just below it."""

    highest: int = 0
    bits: int = 0

    def is_new(self, number: int) -> bool:
        """Tell whether a number was not taken yet; one below the window counts as taken."""
        behind = self.highest - number
        return behind < 0 or (behind < WINDOW and not self.bits >> behind & 1)

    def take(self, number: int) -> None:
        """Remember a number."""
        if number > self.highest:
            self.bits = (self.bits << min(number - self.highest, WINDOW) | 1) & ((1 << WINDOW) - 1)
            self.highest = number
        else:
            self.bits |= 1 << (self.highest - number)


@dataclass
class Peer:
    """Another router that knows our session: when it was heard last, anywhere and on the first tier."""

    window: Window = field(default_factory=Window)
    heard: float = 0.0
    heard_first: float = float("-inf")


@dataclass(frozen=True)
class Opened:
    """A datagram's sender and content, if it counts; `asks` is the session of one who is to be told ours."""

    peer: Peer | None = None
    content: bytes = b""
    asks: bytes | None = None


class Wire:
    """Seal what is sent, and open what comes; `now` is a time in seconds that only grows."""

    def __init__(self, key: bytes) -> None:
        """Begin a session."""
        self._key, self._number = key, 0
        self.peers: dict[bytes, Peer] = {}
        self._answered: dict[bytes, float] = {}
        self.session = os.urandom(16)

    def has_key(self, key: bytes) -> bool:
        """Tell whether the key is this one."""
        return hmac.compare_digest(key, self._key)

    def living(self, now: float) -> list[bytes]:
        """Return the sessions of the other routers that were heard lately."""
        return [session for session, peer in self.peers.items() if now - peer.heard < LIFE]

    def seal(self, receiver: bytes, content: bytes = b"") -> bytes:
        """Return a datagram for one router; nobody else takes it."""
        self._number += 1
        text = HEAD.pack(MAGIC, self.session, receiver, self._number) + content
        return text + self._tag(text)

    def open(self, datagram: bytes, now: float) -> Opened:
        """Return what a datagram carries; nothing if it is none of another router's, is old, or came before."""
        if len(datagram) < HEAD.size + TAG:
            return Opened()
        magic, sender, receiver, number = HEAD.unpack_from(datagram)
        if magic != MAGIC or sender == self.session:
            return Opened()
        peer = self.peers.get(sender)
        # What costs next to nothing comes first: only a packet that may be new is worth a tag.
        if receiver == self.session:
            known = peer is not None and not peer.window.is_new(number)
        else:
            known = now - self._answered.get(sender, float("-inf")) < PATIENCE
        if known or not hmac.compare_digest(datagram[-TAG:], self._tag(datagram[:-TAG])):
            return Opened()
        if receiver != self.session:
            self._remember(sender, now)
            return Opened(asks=sender)
        if peer is None:
            # It learns our session with the answer, unless it knows it and has it confirmed.
            return self._meet(sender, number, now)
        peer.window.take(number)
        peer.heard = now
        return Opened(peer, datagram[HEAD.size : -TAG])

    def _meet(self, sender: bytes, number: int, now: float) -> Opened:
        """Remember another router; with too many, what they were told no longer counts, and all are told anew."""
        if len(self.peers) >= SESSIONS:
            self.peers.clear()
            self.session = os.urandom(16)
        else:
            peer = self.peers[sender] = Peer(heard=now)
            peer.window.take(number)
        return Opened(asks=sender)

    def _remember(self, sender: bytes, now: float) -> None:
        if len(self._answered) >= ANSWERED:
            del self._answered[min(self._answered, key=self._answered.__getitem__)]
        self._answered[sender] = now

    def _tag(self, text: bytes) -> bytes:
        return hmac.digest(self._key, text, "sha256")[:TAG]
