from __future__ import annotations

import msgspec
import pytest

import mls
from client.commits import commit_block
from client.joining import has_won, prepare_join
from client.room_state import Phase, RoomKeys
from client.seals import open_bundle
from client.timeline import ItemKind
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


def test_joining_twice_needs_the_old_group() -> None:
    alice = found_room()
    bob = join("bob", alice.log)

    with pytest.raises(mls.InvalidArgument):
        attempt_of("bob", alice.log, turn=1)

    again = join("bob", alice.log, old_group=bob.core.group, turn=1)
    settle(alice, again)
    assert again.core.group.epoch_authenticator == alice.core.group.epoch_authenticator
    assert len(alice.core.group.members()) == 2


def test_a_lost_attempt_does_not_throw_the_winner_out() -> None:
    """Both would have got the same leaf; only the key tells that it is not ours."""
    alice = found_room()
    lost = attempt_of("bob", alice.log)
    carol = join("carol", alice.log)
    assert lost.group.own_leaf_index == carol.core.group.own_leaf_index

    bob = join("bob", alice.log, old_group=lost.group, turn=1)
    settle(alice, bob, carol)

    assert len(alice.core.group.members()) == 3
    assert alice.core.phase is carol.core.phase is Phase.LIVE


def test_nobody_may_take_another_members_place() -> None:
    """Mallory makes a commit that is good MLS, and removes bob by it as if he were her older self."""
    alice = found_room()
    bob = join("bob", alice.log)
    settle(alice, bob)
    mallory = identity_of("mallory")
    bundle = open_bundle(
        alice.log.bundle().group_info, key=KEYS.bundle_key, room_id=KEYS.room_id, epoch=alice.log.epoch
    )
    staged, _ = mls.Group.join_external(
        bundle.group_info, mallory.signature_key, mallory.credential(),
        entropy=entropy_of(1), now=NOW_S, remove_old_leaf=bob.core.group.own_leaf_index,
    )  # fmt: skip
    block = commit_block(staged, KEYS, env_key=bundle.env_key, entropy=entropy_of(2), external=True)

    alice.log.append(1, 1, block.data)
    settle(alice)

    assert alice.core.stalled is not None
    assert bob.core.group.own_leaf_index in {member.leaf_index for member in alice.core.group.members()}
    assert "identity" in alice.items(ItemKind.ALARM)[0].text
