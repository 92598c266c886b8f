from __future__ import annotations

import msgspec
import pytest

import mls
from client.commits import RoomKeys
from client.joining import has_won, prepare_join
from tests.client.builders import KEYS, NOW_S, attempt_of, entropy_of, found_room, identity_of, join, settle
from wire.errors import DecodeError
from wire.room import ResultKind


def test_an_attempt_follows_the_log_from_its_bundle() -> None:
    alice = found_room()

    attempt = attempt_of("bob", alice.log)

    assert attempt.cursor.sequence == 0
    assert attempt.group.epoch == 1
    assert alice.log.append(1, 1, attempt.block.data).kind is ResultKind.ACCEPTED
    assert has_won(attempt.group, alice.log.bundle(), KEYS)


def test_an_attempt_that_is_not_in_the_log_has_not_won() -> None:
    alice = found_room()
    attempt = attempt_of("bob", alice.log)

    assert not has_won(attempt.group, alice.log.bundle(), KEYS)


def test_holders_of_another_link_cannot_join() -> None:
    alice = found_room()
    keys = RoomKeys(room_id=KEYS.room_id, bundle_key=b"x" * 32)

    with pytest.raises(DecodeError):
        prepare_join(alice.log.bundle(), keys, identity_of("bob"), entropy=entropy_of(1), now_s=NOW_S)


def test_a_bundle_of_another_epoch_is_refused() -> None:
    alice = found_room()
    bundle = msgspec.structs.replace(alice.log.bundle(), epoch=1)

    with pytest.raises(DecodeError):
        prepare_join(bundle, KEYS, identity_of("bob"), entropy=entropy_of(1), now_s=NOW_S)


def test_joining_twice_needs_the_old_leaf() -> None:
    alice = found_room()
    bob = join("bob", alice.log)

    with pytest.raises(mls.InvalidArgument):
        attempt_of("bob", alice.log, turn=1)

    old_leaf = bob.core.group.own_leaf_index
    again = join("bob", alice.log, old_leaf=old_leaf, turn=1)
    settle(alice, again)
    assert again.core.group.epoch_authenticator == alice.core.group.epoch_authenticator


def test_nobody_may_take_another_members_place() -> None:
    alice = found_room()
    bob = join("bob", alice.log)
    settle(alice, bob)
    mallory = join("mallory", alice.log, old_leaf=bob.core.group.own_leaf_index)

    settle(alice)

    assert alice.core.phase.name == "BROKEN"
    assert mallory.core.phase.name == "LIVE"
