from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest

import mls
from client import limits
from client.evidence import check_evidence
from client.payload import Payload, encode_payload
from client.room_state import Mark
from client.witness import Witness
from tests.client.builders import ROOM_ID, entropy_of, found_room, identity_of, join, settle
from wire.ids import Sequence

MARKS = [Mark(Sequence(1), b"1" * 32), Mark(Sequence(3), b"3" * 32)]


def witness_of(marks: Iterable[Mark] = MARKS, message_ids: Iterable[tuple[bytes, bytes]] = ()) -> Witness:
    return Witness(ROOM_ID, identity_of("alice"), marks=marks, message_ids=message_ids)


def claim(sequence: int, chain: bytes) -> tuple[Payload, mls.ApplicationMessage]:
    """What bob says that he saw, as alice gets it."""
    alice = found_room()
    bob = join("bob", alice.log)
    settle(alice, bob)
    payload = Payload(1, 1, b"m" * 16, Sequence(sequence), chain, "hej")
    entry = bob.core.group.protect(encode_payload(payload), entropy=entropy_of(1))
    return payload, alice.core.group.unprotect(entry)


def test_another_hash_at_a_place_that_we_know_is_an_alarm_with_evidence() -> None:
    witness = witness_of()

    assert "another history up to 1" in (witness.compare(Sequence(4), *claim(1, b"x" * 32)) or "")

    [evidence] = witness.evidence
    assert check_evidence(evidence).other.name == "bob"


@pytest.mark.parametrize(("sequence", "chain"), [(3, b"3" * 32), (2, b"x" * 32)])
def test_agreement_and_places_that_we_do_not_know_are_none(sequence: int, chain: bytes) -> None:
    witness = witness_of()

    assert witness.compare(Sequence(4), *claim(sequence, chain)) is None
    assert witness.evidence == []


def test_who_saw_more_than_there_is_before_their_message_is_an_alarm() -> None:
    assert "further than ours" in (witness_of().compare(Sequence(4), *claim(4, b"x" * 32)) or "")


def test_memory_of_places_and_evidence_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CHAIN_MARKS_MAX", 2)
    monkeypatch.setattr(limits, "EVIDENCE_MAX", 1)
    witness = witness_of()
    witness.mark(Sequence(5), b"5" * 32)

    alarms = [witness.compare(Sequence(9), *claim(sequence, b"x" * 32)) is not None for sequence in (1, 3, 5)]

    assert alarms == [False, True, True]
    assert witness.new_marks == [Mark(Sequence(5), b"5" * 32)]
    assert len(witness.evidence) == 1


def test_a_message_is_new_once_per_person() -> None:
    witness = witness_of(message_ids=[(b"alice", b"1")])

    assert [witness.is_new(*who) for who in ((b"alice", b"1"), (b"bob", b"1"), (b"bob", b"1"))] == [False, True, False]


def test_memory_of_messages_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MESSAGE_IDS_MAX", 1)
    witness = witness_of()

    assert [witness.is_new(b"bob", word) for word in (b"1", b"2", b"1")] == [True, True, True]
    assert msgspec.msgpack.encode(witness.new_marks) == b"\x90"
