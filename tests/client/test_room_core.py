from __future__ import annotations

import msgspec
import pytest

import mls
from client import limits
from client.evidence import check_evidence
from client.joining import has_won
from client.outbox import Outbox
from client.payload import PayloadKind
from client.room_state import Block, OutcomeKind, Outgoing, Phase, RoomKeys, block_digest
from client.timeline import ItemKind
from tests.client.builders import (
    KEYS,
    NOW_S,
    Device,
    attempt_of,
    entropy_of,
    found_room,
    join,
    joiner,
    settle,
)
from wire.errors import DecodeError
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


def pair() -> tuple[Device, Device]:
    alice = found_room("alice")
    bob = join("bob", alice.log)
    settle(alice, bob)
    return alice, bob


def deliver(device: Device, data: bytes, *, session: int = 99) -> None:
    """A server puts this block into the log, whoever made it."""
    device.log.append(session, len(device.log.deliveries) + 1, data)
    device.read()
    device.work()


# Talking


def test_a_message_is_shown_to_both_at_the_same_sequence() -> None:
    alice, bob = pair()
    message_id = alice.post("hej")

    settle(alice, bob)

    assert alice.messages == bob.messages == [(2, "hej")]
    assert alice.outcomes[message_id].sequence == 2
    assert bob.disk.items[-1].sender.name == "alice"
    assert not bob.disk.items[-1].is_mine
    assert alice.disk.items[-1].is_mine


def test_messages_that_wait_travel_in_one_block_in_their_order() -> None:
    alice, bob = pair()
    texts = [f"line {index}" for index in range(40)]
    for text in texts:
        alice.post(text)

    effects = alice.work()
    settle(alice, bob)

    assert len(effects.appends) == 1
    assert bob.texts == texts


def test_a_long_message_goes_in_a_block_of_its_own() -> None:
    alice, bob = pair()
    texts = ["a" * 59_000, "short", "b" * 59_000]
    for text in texts:
        alice.post(text)

    effects = alice.work()
    settle(alice, bob)

    assert len(effects.appends) == 3
    assert bob.texts == texts


def test_at_most_a_window_of_blocks_is_in_flight() -> None:
    alice, bob = pair()
    for index in range(20):
        alice.post(f"{index} " + "x" * 59_000)

    effects = alice.work()

    assert len(effects.appends) == limits.BLOCKS_IN_FLIGHT_MAX
    settle(alice, bob)
    assert len(bob.texts) == 20


def test_everything_that_is_sent_is_stored_before() -> None:
    alice, _ = pair()
    alice.post("hej")

    effects = alice.core.take_effects(NOW_S)

    assert effects.change.is_promise
    assert effects.change.ratchet_state is not None
    assert [stored.digest for stored in effects.change.sent] == [block.digest for block in effects.appends]


def test_a_delivery_before_its_answer_acknowledges_once() -> None:
    alice, bob = pair()
    message_id = alice.post("hej")
    alice.work()
    alice.transmit()
    alice.read()
    alice.work()
    assert alice.outcomes[message_id].kind is OutcomeKind.ACKNOWLEDGED

    alice.answer()
    settle(alice, bob)

    assert alice.texts == bob.texts == ["hej"]


def test_a_withdrawn_message_is_not_sent() -> None:
    alice, bob = pair()
    message_id = alice.post("no")

    assert alice.core.withdraw(message_id)

    settle(alice, bob)
    assert bob.texts == []


def test_a_message_in_flight_cannot_be_withdrawn() -> None:
    alice, _ = pair()
    message_id = alice.post("too late")
    alice.work()

    assert not alice.core.withdraw(message_id)


def test_the_outbox_says_when_it_is_full() -> None:
    alice, _ = pair()
    for index in range(limits.OUTBOX_MAX):
        alice.post(str(index))

    assert alice.core.is_full


# Epochs


def test_a_stale_message_is_encrypted_again_and_shown_once() -> None:
    alice, bob = pair()
    alice.post("crossing")
    alice.work()
    bob.propose()
    bob.work()
    bob.transmit()

    settle(alice, bob)

    assert alice.texts == bob.texts == ["crossing"]
    assert alice.core.epoch == bob.core.epoch == 2


def test_stale_messages_keep_their_order() -> None:
    alice, bob = pair()
    for text in ("one", "two"):
        alice.post(text)
        alice.work()
    bob.propose()
    bob.work()
    bob.transmit()
    alice.post("three")

    settle(alice, bob)

    assert bob.texts == ["one", "two", "three"]


def test_a_stale_answer_before_the_commit_waits_for_the_commit() -> None:
    alice, bob = pair()
    alice.post("crossing")
    alice.work()
    bob.propose()
    bob.work()
    bob.transmit()
    alice.transmit()
    alice.answer()

    effects = alice.work()

    assert effects.appends == ()
    settle(alice, bob)
    assert bob.texts == ["crossing"]


def test_of_two_commits_one_wins_and_the_other_is_built_again() -> None:
    alice, bob = pair()
    carol = join("carol", alice.log)
    settle(alice, bob, carol)
    alice.propose(carol)
    bob.propose()
    alice.work()
    bob.work()
    bob.transmit()

    settle(alice, bob, carol)

    assert [outcome.reason for outcome in alice.change_outcomes + bob.change_outcomes] == ["", ""]
    assert carol.core.phase is Phase.REMOVED
    assert alice.core.group.epoch_authenticator == bob.core.group.epoch_authenticator


def test_both_removing_the_same_member_is_no_error_for_the_second_but_says_so() -> None:
    alice, bob = pair()
    carol = join("carol", alice.log)
    settle(alice, bob, carol)
    alice.propose(carol)
    bob.propose(carol)

    settle(alice, bob, carol)

    reasons = {outcome.reason for outcome in alice.change_outcomes + bob.change_outcomes}
    assert reasons == {"", "not a member any more"}


def test_a_change_gives_up_after_losing_many_races() -> None:
    alice, bob = pair()
    alice.propose()
    for _ in range(limits.COMMIT_ATTEMPTS_MAX):
        alice.work()
        bob.propose()
        settle(bob)
        alice.read()
        alice.outgoing.clear()

    alice.work()

    assert alice.change_outcomes[0].sequence is None
    assert "kept winning" in alice.change_outcomes[0].reason


def test_a_removed_member_is_told_and_sees_nothing_more() -> None:
    alice, bob = pair()
    alice.propose(bob)
    settle(alice, bob)
    alice.post("secret")

    settle(alice, bob)

    assert bob.core.phase is Phase.REMOVED
    assert bob.texts == []
    assert bob.items(ItemKind.REMOVED)[0].sender.name == "bob"
    assert bob.core.undecryptable == 0


def test_members_see_who_came_and_who_went() -> None:
    alice, bob = pair()
    assert alice.items(ItemKind.JOINED)[0].sender.name == "bob"

    alice.propose(bob)
    settle(alice, bob)

    assert alice.items(ItemKind.REMOVED)[0].sender.name == "bob"


def test_a_message_of_kind_leave_is_a_notice() -> None:
    alice, bob = pair()
    bob.post("", kind=PayloadKind.LEAVE)

    settle(alice, bob)

    assert alice.items(ItemKind.LEFT)[0].sender.name == "bob"
    assert alice.texts == []


def test_a_kind_of_the_future_is_shown_as_such() -> None:
    alice, bob = pair()
    bob.post("👋", kind=77)

    settle(alice, bob)

    assert "kind 77" in alice.items(ItemKind.REFUSED)[0].text


# Joining


def test_of_two_joiners_the_loser_joins_on_a_new_bundle() -> None:
    alice = found_room()
    bob_attempt, carol_attempt = attempt_of("bob", alice.log), attempt_of("carol", alice.log)
    bob, carol = joiner("bob", alice.log, bob_attempt), joiner("carol", alice.log, carol_attempt)
    bob.transmit()
    carol.transmit()
    assert carol.answers[0][1].kind is ResultKind.CONFLICT
    assert not has_won(carol_attempt.group, alice.log.bundle(), KEYS)

    carol = join("carol", alice.log, turn=1)
    settle(alice, bob, carol)

    assert alice.core.group.epoch_authenticator == carol.core.group.epoch_authenticator
    assert bob.core.group.epoch_authenticator == carol.core.group.epoch_authenticator


def test_messages_from_before_joining_are_passed_over_silently() -> None:
    alice = found_room()
    alice.post("before")
    settle(alice)
    bob = join("bob", alice.log)
    alice.post("after")

    settle(alice, bob)

    assert bob.texts == ["after"]
    assert bob.core.undecryptable == 0
    assert bob.core.cursor == alice.core.cursor


def test_a_joiner_recognises_that_it_won_after_losing_the_answer() -> None:
    alice = found_room()
    attempt = attempt_of("bob", alice.log)
    bob = joiner("bob", alice.log, attempt)
    bob.transmit()
    bob.crash()

    assert has_won(bob.core.group, alice.log.bundle(), KEYS)

    bob.read()
    bob.work()
    alice.post("hej")
    settle(alice, bob)
    assert bob.texts == ["hej"]


def test_a_bundle_of_other_people_does_not_open() -> None:
    alice = found_room()
    keys = RoomKeys(room_id=KEYS.room_id, bundle_key=b"x" * 32)

    with pytest.raises(DecodeError, match="does not open"):
        has_won(alice.core.group, alice.log.bundle(), keys)


def test_a_member_that_lost_its_state_comes_back_in_place_of_its_old_leaf() -> None:
    alice, bob = pair()
    again = join("bob", alice.log, old_group=bob.core.group, turn=1)
    settle(alice, again)
    alice.post("welcome back")
    settle(alice, again)

    assert again.texts == ["welcome back"]
    assert len(alice.core.group.members()) == 2
    assert alice.items(ItemKind.REMOVED) == []


def test_a_server_that_lies_about_a_join_is_found_out() -> None:
    alice = found_room()
    bob = joiner("bob", alice.log, attempt_of("bob", alice.log))
    join("carol", alice.log)

    bob.read()
    bob.work()

    assert bob.core.phase is Phase.BROKEN
    assert "lied about our joining" in bob.items(ItemKind.ALARM)[0].text


# Crashes and lost answers


def test_a_message_that_reached_the_log_before_a_crash_is_shown_once_as_mine() -> None:
    alice, bob = pair()
    alice.post("hej")
    alice.work()
    alice.transmit()
    alice.crash()

    settle(alice, bob)

    assert alice.texts == bob.texts == ["hej"]
    assert alice.items(ItemKind.MESSAGE)[0].is_mine


def test_a_message_that_never_left_before_a_crash_is_kept_as_unsent() -> None:
    alice, bob = pair()
    message_id = alice.post("lost on the way")
    alice.work()
    alice.outgoing.clear()
    alice.crash()

    settle(alice, bob)

    assert alice.outcomes[message_id].kind is OutcomeKind.UNSENT
    assert alice.disk.unsent[message_id].text == "lost on the way"
    assert alice.texts == bob.texts == []


def test_an_unsent_message_can_be_sent_again() -> None:
    alice, bob = pair()
    message_id = alice.post("again")
    alice.work()
    alice.outgoing.clear()
    alice.crash()
    settle(alice, bob)

    alice.core.post(alice.disk.unsent[message_id])
    settle(alice, bob)

    assert alice.texts == bob.texts == ["again"]
    assert alice.disk.unsent == {}


def test_a_block_that_arrives_after_a_crash_was_thought_lost_is_refused_by_its_epoch() -> None:
    alice, bob = pair()
    message_id = alice.post("slow")
    alice.work()
    slow = alice.outgoing.pop()
    alice.crash()
    settle(alice, bob)
    assert alice.outcomes[message_id].kind is OutcomeKind.UNSENT

    result = alice.log.append(slow[0], slow[1], slow[2].data)

    assert result.kind is ResultKind.STALE


def test_a_lost_session_settles_by_another_epoch_and_the_message_is_shown_once() -> None:
    alice, bob = pair()
    alice.post("which?")
    alice.work()
    alice.outgoing.append(alice.outgoing[0])
    alice.transmit()
    alice.lose_session()

    settle(alice, bob)

    assert alice.texts == bob.texts == ["which?"]


def test_a_lost_session_sends_again_what_did_not_arrive() -> None:
    alice, bob = pair()
    message_id = alice.post("which?")
    alice.work()
    alice.lose_session()
    alice.outgoing.clear()

    settle(alice, bob)

    assert alice.texts == bob.texts == ["which?"]
    assert alice.outcomes[message_id].kind is OutcomeKind.ACKNOWLEDGED


def test_nothing_new_is_sent_while_an_outcome_is_open() -> None:
    alice, _ = pair()
    alice.post("first")
    alice.work()
    alice.lose_session()
    alice.post("second")

    effects = alice.work()

    assert effects.appends == ()


def test_our_own_commit_is_followed_after_a_crash() -> None:
    alice, bob = pair()
    alice.propose()
    alice.work()
    alice.transmit()
    alice.crash()

    settle(alice, bob)

    assert alice.core.group.epoch_authenticator == bob.core.group.epoch_authenticator


def test_a_change_whose_answer_was_lost_is_done_once() -> None:
    alice, bob = pair()
    carol = join("carol", alice.log)
    settle(alice, bob, carol)
    alice.propose(carol)
    alice.work()
    alice.transmit()
    alice.lose_session()

    settle(alice, bob, carol)

    assert len(alice.change_outcomes) == 1
    assert len(bob.items(ItemKind.REMOVED)) == 1


# Attacks


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
