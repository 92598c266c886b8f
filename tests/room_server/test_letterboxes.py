from __future__ import annotations

import pytest

from room_server import limits
from room_server.errors import RefusedError
from room_server.letterboxes import LetterBoxes
from tests.room_server.fakes import Client, LocalBackend, refusal
from wire.errors import RefusalCode
from wire.limits import LETTER_BYTES_MAX
from wire.messages import BOX_BYTES, Done, Letter, PutLetter, TakeLetter

BOX = b"b" * BOX_BYTES


def box(number: int) -> bytes:
    return number.to_bytes(BOX_BYTES, "big")


def test_a_letter_is_handed_out_once_to_whoever_knows_its_box(backend: LocalBackend) -> None:
    Client(backend).one(PutLetter(1, BOX, b"sealed"), Done)
    other = Client(backend)

    assert other.one(TakeLetter(2, BOX), Letter).letter == b"sealed"
    assert refusal(other.say(TakeLetter(3, BOX))) is RefusalCode.NOT_FOUND


def test_nobody_replaces_a_letter_that_waits(backend: LocalBackend) -> None:
    client = Client(backend)
    client.one(PutLetter(1, BOX, b"first"), Done)

    assert refusal(client.say(PutLetter(2, BOX, b"second"))) is RefusalCode.ROOM_CONFLICT
    assert client.one(TakeLetter(3, BOX), Letter).letter == b"first"


def test_letters_grow_old() -> None:
    boxes = LetterBoxes()
    boxes.put(BOX, b"old", 0.0)
    boxes.put(box(1), b"young", 1.0)

    assert boxes.take(BOX, limits.LETTER_S_MAX) is None
    assert boxes.take(box(1), limits.LETTER_S_MAX) == b"young"
    assert len(boxes) == 0


def test_letters_are_rationed_and_their_number_is_bounded() -> None:
    boxes = LetterBoxes()
    refused, number, now = 0, 0, 0.0
    for number in range(4 * limits.LETTERS_MAX):
        now += limits.LETTER_S_MAX / (8 * limits.LETTERS_MAX)
        try:
            boxes.put(box(number), b"x", now)
        except RefusedError:
            refused += 1
    assert refused > limits.LETTERS_MAX
    assert len(boxes) <= limits.LETTERS_MAX

    with pytest.raises(RefusedError) as busy:
        boxes.put(box(number + 1), b"x", now)
    assert busy.value.code is RefusalCode.BUSY


@pytest.mark.parametrize(("number", "letter"), [(b"short", b"x"), (BOX, b""), (BOX, bytes(LETTER_BYTES_MAX + 1))])
def test_letters_of_wrong_sizes_are_refused(number: bytes, letter: bytes) -> None:
    boxes = LetterBoxes()

    with pytest.raises(RefusedError) as refused:
        boxes.put(number, letter, 0.0)
    assert refused.value.code is RefusalCode.MALFORMED
    assert len(boxes) == 0
