from __future__ import annotations

import json

import msgspec
import pytest

from client.connection import ConnectionState, StateChanged
from client.discovery import Attempt
from client.timeline import ItemKind, Message, Notice, Sender
from samtala.cli.show import attempt_json, event_json, event_line, margin, plain, state_line, status_json
from wire.identity import ServerAddress
from wire.ids import NodeKey, RoomEpoch, RoomId, Sequence
from wire.messages import ReplicaStatus, RoomStatus

BOB = Sender("bob", b"\xab" * 32, True)
MESSAGE = Message(sequence=Sequence(7), sender=BOB, text="hej", timestamp_us=0, mine=False, message_id=b"\x01" * 16)
SERVER = ServerAddress("192.0.2.1", 7610, NodeKey(b"k" * 32))
STATUS = RoomStatus(
    1, RoomId(b"r" * 16), 4, "normal", NodeKey(b"k" * 32), 9, 9, RoomEpoch(2), Sequence(8), b"c" * 32, 1,
    (ReplicaStatus(NodeKey(b"k" * 32), "a", True, 0),),
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("hej", "hej"),
        ("two\nlines", "two\n  lines"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("\u202eevil", "\\x202eevil"),
        ("👩\u200d👧 ❤\ufe0f", "👩\u200d👧 ❤\ufe0f"),
        ("tab\there", "tab\there"),
        ("carriage\rreturn", "carriage\\x0dreturn"),
    ],
)
def test_messages_cannot_command_the_terminal(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_messages_as_lines() -> None:
    assert event_line(MESSAGE).endswith(" bob: hej")
    unverified = msgspec.structs.replace(MESSAGE, sender=Sender("bob", b"", False))
    assert event_line(unverified).endswith(" bob (unverified): hej")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (ItemKind.JOINED, "-- bob joined"),
        (ItemKind.REMOVED, "-- bob was removed"),
        (ItemKind.LEFT, "-- bob left"),
        (ItemKind.REFUSED, "-- an entry could not be read: why"),
        (ItemKind.ALARM, "-- ALARM: why"),
    ],
)
def test_notices_as_lines(kind: ItemKind, said: str) -> None:
    notice = Notice(sequence=Sequence(1), kind=kind, sender=BOB, text="why", timestamp_us=0)

    assert event_line(notice).endswith(said)
    assert event_json(notice)["type"] == kind.name.lower()


def test_messages_as_json() -> None:
    value = json.loads(json.dumps(event_json(MESSAGE)))

    assert value == {
        "type": "message", "sequence": 7, "time": "1970-01-01T00:00:00+00:00",
        "sender": {"name": "bob", "key": "ab" * 32, "verified": True}, "text": "hej", "mine": False,
        "message_id": "01" * 16, "history": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (ConnectionState.LIVE, "-- live · 192.0.2.1:7610"),
        (ConnectionState.CONNECTING, "-- connecting · 192.0.2.1:7610"),
        (ConnectionState.OFFLINE, "-- offline · 192.0.2.1:7610: refused; trying again"),
        (ConnectionState.CLOSED, "-- closed"),
    ],
)
def test_states_as_lines(state: ConnectionState, said: str) -> None:
    assert state_line(StateChanged(state, SERVER, "refused")) == said


@pytest.mark.parametrize(
    ("spare", "said"), [(-1, "read-only"), (0, "survives no more failures"), (2, "survives 2 more")]
)
def test_the_margin_in_words(spare: int, said: str) -> None:
    assert said in margin(msgspec.structs.replace(STATUS, spare_failures=spare))


def test_a_status_as_json() -> None:
    value = json.loads(json.dumps(status_json(STATUS)))

    assert value["replicas"][0]["name"] == "a"
    assert value["primary"] == value["replicas"][0]["key"]


def test_sources_of_a_search_for_programs() -> None:
    answered = Attempt(source="hints", asked="a", began_s=0.1, answered_s=0.103, seq=5 << 32 | 1, has_begun=True)
    silent = Attempt(source="known nodes", asked="b", began_s=0.15)

    assert attempt_json(answered, 9.0) == {
        "source": "hints", "asked": "a", "began_ms": 100.0, "ms": 3.0, "outcome": "no answer yet",
        "version": "5.1", "first": True, "wins": False,
    }  # fmt: skip
    assert (attempt_json(silent, 0.25)["ms"], attempt_json(silent, 0.25)["version"]) == (100.0, None)
