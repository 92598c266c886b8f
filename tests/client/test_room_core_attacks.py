"""Whoever lies, forges, replays or forks is noticed, and harms nobody else."""

from __future__ import annotations

import msgspec
import pytest

import mls
from client.evidence import check_evidence
from client.outbox import Outbox
from client.payload import PayloadKind
from client.room_state import Block, OutcomeKind, Outgoing, Phase, block_digest
from client.timeline import ItemKind
from tests.client.builders import (
    NOW_S,
    Device,
    entropy_of,
    settle,
)
from tests.client.pairs import deliver, pair
from wire.ids import RoomEpoch, Sequence
from wire.room import (
    BlockResult,
    Delivery,
    ResultKind,
    decode_commit,
    decode_entries,
    encode_app_block,
    encode_commit_block,
)


def block_of(sender: Device, text: str) -> Block:
    sender.post(text)
    return sender.work().appends[0]


def test_a_replayed_message_is_refused_and_shown_as_such() -> None:
    alice, bob = pair()
    block = block_of(alice, "once")
    alice.transmit()
    bob.read()

    deliver(bob, block.data)

    assert bob.texts == ["once"]
    assert "replay" in bob.items(ItemKind.REFUSED)[0].text
    assert bob.core.undecryptable == 1


def test_our_own_message_replayed_is_refused() -> None:
    alice, bob = pair()
    block = block_of(alice, "once")
    settle(alice, bob)

    deliver(alice, block.data)

    assert alice.texts == ["once"]
    assert "copy of something" in alice.items(ItemKind.REFUSED)[0].text


@pytest.mark.parametrize("at", [-1, -20, -100])
def test_a_changed_message_is_refused_and_the_real_one_still_reads(at: int) -> None:
    alice, bob = pair()
    block = block_of(alice, "real")
    forged = bytearray(block.data)
    forged[at] ^= 1

    deliver(bob, bytes(forged))
    settle(alice, bob)

    assert bob.texts == ["real"]
    assert len(bob.items(ItemKind.REFUSED)) == 1


def test_messages_of_one_block_swapped_still_read_and_are_attributed() -> None:
    """Within an epoch any order decrypts; that it is the log's order is what the servers promise and the chain shows."""
    alice, bob = pair()
    first, second = block_of(alice, "one"), block_of(alice, "two")
    alice.outgoing.clear()

    deliver(bob, second.data)
    deliver(bob, first.data)

    assert bob.texts == ["two", "one"]


def test_a_message_of_another_epoch_is_refused() -> None:
    alice, bob = pair()
    block = block_of(alice, "old")
    alice.outgoing.clear()
    bob.propose()
    settle(bob)
    entries = encode_app_block(RoomEpoch(2), [block.data[-500:]])

    deliver(bob, encode_app_block(RoomEpoch(2), _entries(block.data)))
    deliver(bob, entries)

    assert [item.text for item in bob.items(ItemKind.REFUSED)] == ["of another epoch", "malformed"]


def _entries(data: bytes) -> list[bytes]:
    return decode_entries(data)


def test_a_message_of_another_room_is_refused() -> None:
    alice, bob = pair()
    identity = alice.identity
    other = mls.Group.create(b"o" * 16, identity.signature_key, identity.credential(), entropy=entropy_of(1), now=NOW_S)
    foreign = other.protect(b"x" * 256, entropy=entropy_of(2))

    deliver(bob, encode_app_block(RoomEpoch(1), [foreign]))

    assert bob.items(ItemKind.REFUSED)[0].text == "of another room"


def test_garbage_inside_a_true_message_is_refused_with_its_sender() -> None:
    alice, bob = pair()
    entry = alice.core.group.protect(b"no end marker", entropy=entropy_of(3))

    deliver(bob, encode_app_block(RoomEpoch(1), [entry]))

    assert bob.items(ItemKind.REFUSED)[0].sender.name == "alice"


def test_a_double_under_the_same_message_id_is_refused() -> None:
    alice, bob = pair()
    message_id = alice.post("twice")
    settle(alice, bob)
    alice.outcomes.clear()
    alice.core.post(Outgoing(message_id, PayloadKind.TEXT, "twice"))
    settle(alice, bob)

    assert bob.texts == ["twice"]
    assert "double" in bob.items(ItemKind.REFUSED)[0].text


def test_a_garbage_commit_is_an_alarm_and_is_waited_out() -> None:
    alice, bob = pair()
    alice.propose()
    data = alice.work().appends[0].data
    body = msgspec.structs.replace(decode_commit(data), commit=b"garbage" * 20)

    deliver(bob, encode_commit_block(RoomEpoch(1), body))

    assert bob.core.stalled == (1, 0)
    assert "does not hold" in bob.items(ItemKind.ALARM)[0].text


def test_a_commit_that_announces_foreign_keys_is_refused() -> None:
    alice, bob = pair()
    alice.propose()
    data = alice.work().appends[0].data
    body = msgspec.structs.replace(decode_commit(data), next_write_key=b"w" * 32)

    deliver(bob, encode_commit_block(RoomEpoch(1), body))

    assert bob.core.stalled == (1, 0)
    assert "announces keys" in bob.items(ItemKind.ALARM)[0].text


def test_a_broken_room_still_restarts_as_broken() -> None:
    alice, bob = pair()
    bob.core.on_deliveries([Delivery(Sequence(50), 0, 1, 1, b"")])
    bob.work()

    bob.crash()

    assert bob.core.phase is Phase.BROKEN
    assert bob.core.alarms == 1
    alice.post("hello?")
    settle(alice, bob)
    assert bob.texts == []


def test_a_skip_in_the_history_is_an_alarm() -> None:
    alice, bob = pair()
    alice.post("one")
    alice.work()
    alice.transmit()
    alice.post("two")
    alice.work()
    alice.transmit()

    bob.core.on_deliveries(bob.log.deliveries[-1:])
    bob.work()

    assert bob.core.phase is Phase.BROKEN
    assert "skipped from 1 to 3" in bob.items(ItemKind.ALARM)[0].text
    assert bob.texts == []


def test_a_forked_history_is_noticed_at_the_first_crossing_message() -> None:
    """Two servers show two histories; a message that crosses tells (e2ee.md §5)."""
    alice, bob = pair()
    block = block_of(alice, "hej")
    ours, theirs = (Delivery(Sequence(2), stamp, 1, 1, block.data) for stamp in (1_000_000, 2_000_000))
    alice.core.on_deliveries([ours])
    bob.core.on_deliveries([theirs])
    alice.work()
    bob.work()
    crossing = block_of(alice, "what do you see?")

    bob.core.on_deliveries([Delivery(Sequence(3), 3_000_000, 1, 2, crossing.data)])
    bob.work()

    assert "another history up to 2" in bob.items(ItemKind.ALARM)[0].text
    [evidence] = bob.disk.evidence
    finding = check_evidence(evidence)
    assert (finding.sequence, finding.one.name, finding.other.name) == (2, "bob", "alice")
    assert bob.items(ItemKind.ALARM)[0].sender.name == "alice"


def test_a_sender_who_saw_more_than_there_is_raises_an_alarm() -> None:
    alice, bob = pair()
    alice.core.cursor = type(alice.core.cursor)(Sequence(900), b"c" * 32)
    block = block_of(alice, "from the future")

    deliver(bob, block.data)

    assert "goes further than ours" in bob.items(ItemKind.ALARM)[0].text


def test_an_acknowledgement_that_the_log_belies_is_an_alarm() -> None:
    alice, bob = pair()
    block = block_of(alice, "swallowed")
    alice.outgoing.clear()
    alice.core.on_result(block.digest, BlockResult(ResultKind.ACCEPTED, Sequence(2), RoomEpoch(1)))
    bob.post("something else")

    settle(bob, alice)

    assert "acknowledged a message" in alice.items(ItemKind.ALARM)[0].text


def test_an_acknowledgement_at_a_place_that_was_read_already_acknowledges_nothing() -> None:
    """So a server would answer that takes the message for one of an earlier session."""
    alice, bob = pair()
    message_id = alice.post("not lost")
    block = alice.work().appends[0]
    alice.outgoing.clear()
    bob.post("something else")
    settle(bob, alice)

    alice.core.on_result(block.digest, BlockResult(ResultKind.ACCEPTED, alice.core.cursor.sequence, RoomEpoch(1)))
    alice.work()

    assert message_id not in alice.outcomes
    assert "acknowledged a message" in alice.items(ItemKind.ALARM)[0].text
    alice.core.on_caught_up()
    settle(alice, bob)
    settle(alice, bob)
    assert alice.outcomes[message_id].kind is OutcomeKind.ACKNOWLEDGED
    assert "not lost" in bob.texts


def test_a_commit_whose_place_the_log_gave_to_another_block_does_no_harm_later() -> None:
    alice, bob = pair()
    alice.propose()
    block = alice.work().appends[0]
    alice.outgoing.clear()
    alice.core.on_result(block.digest, BlockResult(ResultKind.ACCEPTED, Sequence(2), RoomEpoch(1)))
    bob.post("something else")
    settle(bob, alice)
    bob.propose()

    settle(bob, alice)

    assert alice.items(ItemKind.ALARM)
    assert alice.core.epoch == bob.core.epoch


def test_a_refused_block_fails_its_messages() -> None:
    alice, _ = pair()
    message_id = alice.post("no")
    block = alice.work().appends[0]

    alice.core.on_result(block.digest, BlockResult(ResultKind.FORBIDDEN, Sequence(0), RoomEpoch(1)))
    alice.work()

    assert alice.outcomes[message_id].kind is OutcomeKind.FAILED


def test_a_refused_commit_ends_the_change() -> None:
    alice, _ = pair()
    alice.propose()
    block = alice.work().appends[0]

    alice.core.on_result(block.digest, BlockResult(ResultKind.MALFORMED, Sequence(0), RoomEpoch(1)))
    alice.work()

    assert alice.change_outcomes[0].reason == "the servers refuse it as malformed"


def test_an_answer_for_an_unknown_block_is_ignored() -> None:
    alice, _ = pair()

    alice.core.on_result(block_digest(b"?"), BlockResult(ResultKind.STALE, Sequence(0), RoomEpoch(9)))

    assert alice.work().is_empty


def test_an_empty_outbox_has_nothing_to_tell() -> None:
    outbox = Outbox()

    assert not outbox.may_fly
    assert outbox.epoch_ended() == []
