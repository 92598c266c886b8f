from __future__ import annotations

from client.identity import Person
from client.timeline import ItemKind, Message, Notice, Sender, TimelineItem, event_of, sender_of
from wire.ids import Sequence

ITEM = TimelineItem(sequence=Sequence(7), timestamp_us=1_800_000_000_000_000, kind=ItemKind.MESSAGE, text="hej")


def test_messages_and_notices_are_told_apart() -> None:
    message = event_of(ITEM)
    notice = event_of(TimelineItem(sequence=Sequence(8), timestamp_us=0, kind=ItemKind.REFUSED, text="forged"))

    assert isinstance(message, Message)
    assert (message.sequence, message.text, message.mine) == (7, "hej", False)
    assert message.timestamp.isoformat() == "2027-01-15T08:00:00+00:00"
    assert isinstance(notice, Notice)
    assert notice.is_undecryptable
    assert notice.timestamp.year == 1970


def test_a_sender_has_a_name_that_is_safe_to_print() -> None:
    person = Person(name="bo\x1bb", user_key=b"u" * 32, device_label="", is_verified=True)

    assert sender_of(person) == Sender("bob", b"u" * 32, True)
