"""What servers tell each other; that all messages survive the way is in test_messages.py."""

from __future__ import annotations

import pytest

from wire.errors import DecodeError
from wire.ids import NodeKey, RoomId
from wire.messages import Message, decode, encode
from wire.peer_messages import PeerAskPlaces, PeerPlaces, RoomPlace

PLACE = RoomPlace(RoomId(b"r" * 16), (NodeKey(b"a" * 32), NodeKey(b"b" * 32)), is_movable=True, is_led=False)


@pytest.mark.parametrize("message", [PeerAskPlaces(7, b"r" * 16), PeerPlaces(7, (PLACE, PLACE)), PeerPlaces(7)])
def test_places_of_rooms_survive_the_way(message: Message) -> None:
    assert decode(encode(message)) == message


def test_a_place_without_its_marks_is_malformed() -> None:
    whole = encode(PeerPlaces(7, (PLACE,)))
    assert whole[-2:] == b"\xc3\xc2", "two booleans end it"

    with pytest.raises(DecodeError):
        decode(whole[:-1] + b"\x05")
