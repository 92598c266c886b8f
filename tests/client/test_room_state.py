from __future__ import annotations

from client.room_state import DIGEST_BYTES, Cursor, Effects, InFlight, RoomChange, block_digest
from wire.ids import Sequence


def test_an_empty_change_says_so() -> None:
    assert RoomChange().is_empty
    assert not RoomChange(cursor=Cursor(Sequence(1), b"c")).is_empty
    assert Effects(change=RoomChange(), appends=(), outcomes=(), change_outcome=None).is_empty


def test_only_what_is_about_to_be_sent_is_a_promise() -> None:
    assert RoomChange(sent=(InFlight(b"d", ()),)).is_promise
    assert not RoomChange(settled=(b"d",)).is_promise


def test_digests_tell_blocks_apart() -> None:
    assert block_digest(b"a") != block_digest(b"b")
    assert len(block_digest(b"a")) == DIGEST_BYTES
