"""Rule R5: who has the link may knock, so often, and nothing else changes by it."""

from __future__ import annotations

import msgspec
import pytest

from room_server import limits
from room_server.attachment import Attachment
from room_server.feed import RingBudget
from room_server.room import RoomService
from room_server.rooms import HostedRoom
from tests.room_server.builders import commit, genesis, knock, request
from tests.room_server.fakes import keyed_genesis
from tests.room_server.test_attachment import proven
from tests.room_server.test_room import apply
from tests.room_server.test_room_rules import Clocked
from wire.errors import RefusalCode
from wire.room import Purpose, ResultKind, StoredWelcome, decode_commit, decode_genesis, encode_commit_block


def test_a_knock_takes_a_place_in_the_log_and_leaves_the_epoch() -> None:
    room = RoomService(genesis())

    [knocked] = apply(room, knock(0))

    assert (knocked.kind, knocked.sequence) == (ResultKind.ACCEPTED, 1)
    assert (room.epoch, room.next_sequence, room.write_key) == (0, 2, b"w" * 32)


def test_so_many_knocks_are_taken_between_two_commits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "KNOCKS_MAX", 2)
    room = RoomService(genesis())

    kinds = [result.kind for result in apply(room, knock(0), knock(0), knock(0), commit(0), knock(0))]

    assert kinds == [ResultKind.ACCEPTED] * 2 + [ResultKind.CONFLICT] + [ResultKind.ACCEPTED] * 2


def test_bound_of_knocks_outlives_a_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "KNOCKS_MAX", 1)
    room, restored = RoomService(genesis()), RoomService(genesis())
    apply(room, knock(0))

    restored.restore(room.snapshot())

    assert [result.kind for result in apply(restored, knock(0))] == [ResultKind.CONFLICT]


def test_knocks_of_the_future_and_of_long_ago_are_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "KNOCK_EPOCHS_MAX", 1)
    room = RoomService(genesis())
    apply(room, commit(0), commit(1))

    kinds = [result.kind for result in apply(room, knock(3), knock(0), knock(1))]

    assert kinds == [ResultKind.STALE, ResultKind.STALE, ResultKind.ACCEPTED]


def test_a_knock_does_not_vouch_for_the_commit_before_it() -> None:
    clocked = Clocked()
    clocked.append(commit(0, fill=b"p"))
    clocked.append(knock(1))

    clocked.now_us += limits.STALL_US_MAX

    assert clocked.append(commit(0, fill=b"q")).kind is ResultKind.ACCEPTED


def test_knocks_need_the_link_and_are_rationed_with_other_joins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "JOINS_AT_ONCE_MAX", 2)
    room = HostedRoom(decode_genesis(keyed_genesis()), b"", RingBudget())
    stranger, holder = Attachment(room), proven(room, Purpose.JOIN)

    assert stranger.why_not_append(knock(0), 10.0) is RefusalCode.NOT_PROVEN
    refusals = [holder.why_not_append(block, 10.0) for block in (knock(0), commit(0, external=True), knock(0))]
    assert refusals == [None, None, RefusalCode.BUSY]


def test_one_welcome_is_kept_once_and_found_by_each_of_its_readers() -> None:
    room = RoomService(genesis())
    body = msgspec.structs.replace(decode_commit(commit(0)), welcomes=(StoredWelcome((b"1", b"2"), b"hello"),))

    room.apply(1, 7, [request(encode_commit_block(0, body))])  # type: ignore[arg-type]  # plain numbers

    assert room.welcome(b"1") is room.welcome(b"2") is not None
    assert room.welcome(b"3") is None
    assert room.snapshot().count(b"hello") == 1
