# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the routers of a VPC's pair tell each other, and what somebody on a tier can make of it."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))

from vrlib import pair_wire as wire
from vrlib.pair_wire import NOBODY, Wire

KEY = bytes(range(32))


def met(now: float = 0.0) -> tuple[Wire, Wire]:
    """Return two routers that know each other."""
    one, other = Wire(KEY), Wire(KEY)
    asked = other.open(one.seal(NOBODY), now)
    assert asked.asks == one.session
    answered = one.open(other.seal(asked.asks), now)
    assert answered.asks == other.session
    assert other.open(one.seal(answered.asks), now).asks == one.session
    assert list(one.peers) == [other.session]
    assert list(other.peers) == [one.session]
    return one, other


def test_two_that_met_hear_each_other() -> None:
    one, other = met()
    for sender, receiver in ((one, other), (other, one)):
        assert receiver.open(sender.seal(receiver.session, b"news"), 1).content == b"news"


def test_who_has_another_password_is_not_heard_and_not_answered() -> None:
    one, stranger = Wire(KEY), Wire(bytes(32))
    for receiver in (NOBODY, one.session):
        found = one.open(stranger.seal(receiver, b"news"), 0)
        assert (found.content, found.peer, found.asks) == (b"", None, None)
    assert one.peers == {}


@pytest.mark.parametrize("seed", range(8))
def test_no_changed_bit_is_overlooked(seed: int) -> None:
    one, other = met()
    datagram, chance = bytearray(one.seal(other.session, b"news")), random.Random(seed)
    for _number in range(200):
        at = chance.randrange(8 * len(datagram))
        changed = bytearray(datagram)
        changed[at // 8] ^= 1 << at % 8
        assert other.open(bytes(changed), 1).content == b""
    assert other.open(bytes(datagram), 1).content == b"news"


@pytest.mark.parametrize("length", [0, 1, 43, 44, 59])
def test_a_datagram_that_is_cut_is_nothing(length: int) -> None:
    one, other = met()
    assert other.open(one.seal(other.session, b"news")[:length], 1) == wire.Opened()


def test_each_packet_counts_once_in_whatever_order_they_come() -> None:
    one, other = met()
    sent = [one.seal(other.session, bytes([number % 256])) for number in range(500)]
    random.Random(1).shuffle(sent)
    assert sum(other.open(datagram, 1).content != b"" for datagram in [*sent, *sent, *sent]) == 500


def test_what_comes_too_late_to_tell_is_refused() -> None:
    one, other = met()
    late = one.seal(other.session, b"late")
    for _number in range(wire.WINDOW):
        last = one.seal(other.session, b"on time")
    assert other.open(last, 1).content == b"on time"
    assert other.open(late, 1).content == b""


def test_a_recording_is_worth_nothing_after_a_restart_of_either() -> None:
    """Nor after a long silence: what was said before stays said."""
    one, other = met()
    recorded = [one.seal(other.session, b"a planned handover") for _number in range(10)]
    assert all(other.open(datagram, 1).content for datagram in recorded)
    for later in (1.1, 1000.0):
        assert not any(other.open(datagram, later).content for datagram in recorded)
    restarted = Wire(KEY)
    assert not any(restarted.open(datagram, 2).content for datagram in recorded)
    assert restarted.peers == {}


def test_what_one_says_counts_nothing_when_it_is_sent_back() -> None:
    one, other = met()
    assert one.open(one.seal(other.session, b"news"), 1) == wire.Opened()
    assert one.open(one.seal(NOBODY), 1) == wire.Opened()


def test_a_greeting_that_is_played_again_and_again_is_answered_now_and_then() -> None:
    one, other = met()
    old = Wire(KEY).seal(NOBODY)
    answers = [one.open(old, number / 1000).asks for number in range(1000)]
    assert len(answers) - answers.count(None) <= 1 / wire.PATIENCE + 1
    assert one.open(other.seal(one.session, b"news"), 1).content == b"news"


def test_a_router_that_restarts_is_heard_again_and_the_old_session_fades() -> None:
    one, other = met()
    again = Wire(KEY)
    asked = one.open(again.seal(NOBODY), 5)
    assert asked.asks is not None
    assert again.open(one.seal(asked.asks), 5).asks == one.session
    assert one.open(again.seal(one.session), 5).asks == again.session
    assert one.living(5) == [other.session, again.session]
    assert one.living(wire.LIFE + 1) == [again.session]


def test_many_restarts_need_no_more_memory_and_open_nothing_to_recordings() -> None:
    one, recorded = Wire(KEY), []
    for _number in range(5 * wire.SESSIONS):
        other = Wire(KEY)
        for _try in range(3):
            datagram = other.seal(one.session, b"once")
            recorded.append(datagram)
            one.open(datagram, 1)
        assert len(one.peers) <= wire.SESSIONS
    assert not any(one.open(datagram, 2).content for datagram in recorded)
    assert len(one._answered) <= wire.ANSWERED
