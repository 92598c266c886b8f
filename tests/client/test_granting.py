"""Keys of old epochs reach those who asked, and nobody else; what is malformed is refused with our error."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mls
from client import limits
from client.archive import FULL_HISTORY
from client.granting import (
    Ask,
    Part,
    encode_grant,
    open_grant,
    read_ask,
    read_grant,
    read_part,
    seal_grant,
    to_text,
)
from client.limits import TEXT_BYTES_MAX
from client.room_state import Cursor, Quest
from tests.client.builders import ROOM_ID, entropy_of
from tests.client.test_archive import kept
from wire.errors import DecodeError
from wire.ids import RoomEpoch, RoomId, Sequence

GRANT = encode_grant(kept(FULL_HISTORY, 5).grant(RoomEpoch(5), 0))


def asked(name: str) -> tuple[Ask, Quest]:
    keys, ask_id = mls.generate_key_pair(entropy_of(name)), entropy_of(("id", name))(16)
    cursor = Cursor(Sequence(50), bytes(32))
    return Ask(ask_id, keys.public, 5), Quest(
        epoch=RoomEpoch(5), cursor=cursor, context=b"", ask_id=ask_id, private=keys.private
    )


def answered(quest: Quest, parts: list[Part]) -> Quest:
    return msgspec.structs.replace(quest, parts=tuple(map(to_text, parts)))


def sealed(*asks: Ask, grant: bytes = GRANT) -> list[Part]:
    return seal_grant(grant, asks, ROOM_ID, entropy_of("seal"))


def test_all_who_asked_open_one_answer() -> None:
    (one, ones), (other, others) = asked("carol"), asked("dave")

    parts = sealed(one, other)

    assert open_grant(answered(ones, parts), ROOM_ID) == open_grant(answered(others, parts), ROOM_ID) == GRANT


def test_nobody_else_opens_it() -> None:
    (one, ones), (_, others) = asked("carol"), asked("mallory")
    parts = sealed(one)
    thief = msgspec.structs.replace(others, ask_id=ones.ask_id)

    for quest in (others, thief):
        with pytest.raises(DecodeError):
            open_grant(answered(quest, parts), ROOM_ID)
    with pytest.raises(DecodeError):
        open_grant(answered(ones, parts), RoomId(bytes(16)))


def test_a_long_grant_travels_in_parts_that_fit_into_messages() -> None:
    asks = [asked(f"newcomer {number}")[0] for number in range(64)]
    long = entropy_of("long")(200_000)

    parts = sealed(*asks, grant=long)

    assert len(parts) == 6
    assert all(len(to_text(part)) <= TEXT_BYTES_MAX for part in parts)
    one, quest = asked("newcomer 7")
    assert one in asks
    assert open_grant(answered(quest, [read_part(to_text(part)) for part in parts]), ROOM_ID) == long


def test_what_is_too_long_is_not_sealed() -> None:
    with pytest.raises(DecodeError):
        sealed(asked("carol")[0], grant=bytes(limits.HISTORY_PARTS_MAX * limits.HISTORY_PART_BYTES + 1))


def test_who_gives_a_key_that_is_none_is_left_out() -> None:
    one, quest = asked("carol")
    nonsense = msgspec.structs.replace(one, key=bytes(32), ask_id=b"n" * 16)

    parts = sealed(nonsense, one)

    assert [ask_id for ask_id, _ in parts[0].keys] == [one.ask_id]
    assert open_grant(answered(quest, parts), ROOM_ID) == GRANT


@pytest.mark.parametrize("bit", [0, 3, 7])
def test_a_changed_answer_does_not_open(bit: int) -> None:
    one, quest = asked("carol")
    (part,) = sealed(one)
    encoded = msgspec.msgpack.encode(part)
    for place in range(0, len(encoded), 11):
        changed = bytearray(encoded)
        changed[place] ^= 1 << bit
        try:
            damaged = msgspec.msgpack.decode(bytes(changed), type=Part)
            opened = open_grant(answered(quest, [damaged]), ROOM_ID)
        except (DecodeError, msgspec.MsgspecError):
            continue
        assert opened == GRANT, place  # A count, or a number: they are compared before.


@given(st.text(max_size=300))
def test_words_that_are_none_are_refused(text: str) -> None:
    for read in (read_ask, read_part):
        with pytest.raises(DecodeError):
            read(text)


@given(st.binary(max_size=400))
def test_a_grant_that_is_none_is_refused(encoded: bytes) -> None:
    with pytest.raises(DecodeError):
        read_grant(encoded)


@pytest.mark.parametrize(
    "ask", [Ask(b"short", bytes(32), 1), Ask(bytes(16), b"short", 1), Ask(bytes(16), bytes(32), -1)]
)
def test_an_ask_with_fields_of_wrong_sizes_is_refused(ask: Ask) -> None:
    with pytest.raises(DecodeError):
        read_ask(to_text(ask))


@pytest.mark.parametrize(
    "part",
    [
        Part(b"short", 0, 1, b""),
        Part(bytes(16), 1, 1, b""),
        Part(bytes(16), -1, 1, b""),
        Part(bytes(16), 0, limits.HISTORY_PARTS_MAX + 1, b""),
    ],
)
def test_a_part_out_of_bounds_is_refused(part: Part) -> None:
    with pytest.raises(DecodeError):
        read_part(to_text(part))


def test_a_grant_is_one_epoch_after_the_other_and_has_a_beginning() -> None:
    records = list(read_grant(GRANT)[0].records)
    for wrong in (
        [],
        records[1:],
        [*records[:2], *records[3:]],
        [records[0], records[2], records[1]],
        [msgspec.structs.replace(records[0], public=b"nonsense")],
        [records[0], msgspec.structs.replace(records[1], env_key=b"short")],
        [records[0], msgspec.structs.replace(records[1], encryption_secret=b"short")],
        [records[0], msgspec.structs.replace(records[1], sequence=records[0].sequence)],
        [msgspec.structs.replace(records[0], chain=b"short")],
    ):
        with pytest.raises(DecodeError):
            read_grant(encode_grant(wrong))
