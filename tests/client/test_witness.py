from __future__ import annotations

import pytest

from client import limits
from client.room_state import Mark
from client.witness import Witness
from wire.ids import Sequence


def test_another_hash_at_a_place_that_we_know_is_a_contradiction() -> None:
    witness = Witness([Mark(Sequence(1), b"one")], [])
    witness.mark(Sequence(3), b"three")

    assert witness.contradicts(Sequence(1), b"other")
    assert witness.contradicts(Sequence(3), b"other")
    assert not witness.contradicts(Sequence(3), b"three")
    assert not witness.contradicts(Sequence(2), b"whatever")
    assert witness.new_marks == [Mark(Sequence(3), b"three")]


def test_memory_of_places_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CHAIN_MARKS_MAX", 2)
    witness = Witness([], [])

    for sequence in (1, 2, 3):
        witness.mark(Sequence(sequence), b"%d" % sequence)

    assert [witness.contradicts(Sequence(sequence), b"other") for sequence in (1, 2, 3)] == [False, True, True]


def test_a_message_is_new_once_per_person() -> None:
    witness = Witness([], [(b"alice", b"1")])

    assert [witness.is_new(*who) for who in ((b"alice", b"1"), (b"bob", b"1"), (b"bob", b"1"))] == [False, True, False]
