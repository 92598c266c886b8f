from __future__ import annotations

import pytest

from client import limits
from client.joining import has_won
from client.payload import PayloadKind
from client.room_state import OutcomeKind, Phase, RoomKeys
from client.timeline import ItemKind
from tests.client.builders import (
    KEYS,
    NOW_S,
    attempt_of,
    found_room,
    join,
    joiner,
    settle,
)
from tests.client.pairs import pair
from wire.errors import DecodeError
from wire.room import (
    ResultKind,
)


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
