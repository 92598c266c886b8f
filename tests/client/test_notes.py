from __future__ import annotations

from client.notes import Notes
from client.payload import Payload, PayloadKind
from client.timeline import ItemKind, Sender
from tests.client.builders import identity_of
from wire.ids import Sequence
from wire.room import Delivery

BOB = Sender("bob", b"u" * 32, True)


def notes() -> Notes:
    made = Notes(identity_of("alice"), undecryptable=0, alarms=0)
    made.time_us = 70
    return made


def entry(sequence: int) -> Delivery:
    return Delivery(Sequence(sequence), 70, 1, 1, b"")


def test_what_is_noted_at_one_place_has_places_of_its_own_in_the_order_of_importance() -> None:
    made = notes()
    made.add(entry(7), ItemKind.MESSAGE, sender=BOB, text="hej")
    made.alarm(Sequence(7), "one")
    made.alarm(Sequence(7), "another", BOB)
    made.word(Sequence(7), ItemKind.HISTORY_READ, "5", is_own=False)

    assert [item.text for item in sorted(made.items, key=lambda item: item.part)] == ["hej", "one", "another", "5"]
    assert len({item.part for item in made.items}) == 4
    assert {item.timestamp_us for item in made.items} == {70}
    assert made.alarms == 2


def test_entries_of_a_block_have_sequences_of_their_own() -> None:
    made = notes()
    for index, kind in enumerate([PayloadKind.TEXT, PayloadKind.LEAVE, 99]):
        payload = Payload(1, kind, bytes([index]) * 16, Sequence(0), bytes(32), "hej")
        made.show(entry(7), index, payload, BOB)

    assert [(item.sequence, item.kind) for item in made.items] == [
        (7, ItemKind.MESSAGE),
        (8, ItemKind.LEFT),
        (9, ItemKind.REFUSED),
    ]
    assert made.undecryptable == 1
