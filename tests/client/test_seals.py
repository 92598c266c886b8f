from __future__ import annotations

import pytest

import mls
from client.seals import (
    OpenBundle,
    bundle_key,
    epoch_secrets,
    open_bundle,
    open_commit,
    public_key,
    seal_bundle,
    seal_commit,
)
from tests.client.builders import NOW_S, ROOM_ID, entropy_of, identity_of
from wire.errors import DecodeError
from wire.ids import RoomEpoch, RoomId

KEY = b"k" * 32
BUNDLE = OpenBundle(b"group info", b"e" * 32)


def sealed_commit() -> bytes:
    return seal_commit(b"commit", env_key=KEY, room_id=ROOM_ID, epoch=RoomEpoch(3), entropy=entropy_of(1))


def sealed_bundle(bundle: OpenBundle = BUNDLE) -> bytes:
    return seal_bundle(bundle, key=KEY, room_id=ROOM_ID, epoch=RoomEpoch(3), entropy=entropy_of(1))


def test_commits_and_bundles_open_where_they_belong() -> None:
    assert open_commit(sealed_commit(), env_key=KEY, room_id=ROOM_ID, epoch=RoomEpoch(3)) == b"commit"
    assert open_bundle(sealed_bundle(), key=KEY, room_id=ROOM_ID, epoch=RoomEpoch(3)) == BUNDLE


@pytest.mark.parametrize(
    ("key", "room", "epoch"),
    [(b"x" * 32, ROOM_ID, 3), (KEY, RoomId(b"r" * 16), 3), (KEY, ROOM_ID, 4)],
    ids=["key", "room", "epoch"],
)
def test_a_seal_does_not_open_elsewhere(key: bytes, room: RoomId, epoch: int) -> None:
    with pytest.raises(DecodeError, match="does not open"):
        open_commit(sealed_commit(), env_key=key, room_id=room, epoch=RoomEpoch(epoch))
    with pytest.raises(DecodeError, match="does not open"):
        open_bundle(sealed_bundle(), key=key, room_id=room, epoch=RoomEpoch(epoch))


def test_a_commit_is_no_bundle() -> None:
    with pytest.raises(DecodeError):
        open_bundle(sealed_commit(), key=KEY, room_id=ROOM_ID, epoch=RoomEpoch(3))


def test_every_changed_byte_is_noticed() -> None:
    sealed = sealed_commit()
    for index in range(len(sealed)):
        changed = bytearray(sealed)
        changed[index] ^= 1
        with pytest.raises(DecodeError):
            open_commit(bytes(changed), env_key=KEY, room_id=ROOM_ID, epoch=RoomEpoch(3))


@pytest.mark.parametrize("size", [0, 24, 39])
def test_cut_seals_are_refused(size: int) -> None:
    with pytest.raises(DecodeError):
        open_commit(sealed_commit()[:size], env_key=KEY, room_id=ROOM_ID, epoch=RoomEpoch(3))


def test_a_bundle_with_a_short_key_is_refused() -> None:
    with pytest.raises(DecodeError, match="wrong size"):
        open_bundle(sealed_bundle(OpenBundle(b"g", b"e")), key=KEY, room_id=ROOM_ID, epoch=RoomEpoch(3))


def test_a_sealed_thing_that_is_no_bundle_is_refused() -> None:
    from client.seals import _place, _Purpose, _seal

    sealed = _seal(_Purpose.BUNDLE, b"no", key=KEY, place=_place(ROOM_ID, RoomEpoch(3)), entropy=entropy_of(1))

    with pytest.raises(DecodeError, match="malformed"):
        open_bundle(sealed, key=KEY, room_id=ROOM_ID, epoch=RoomEpoch(3))


def test_an_epochs_secrets_are_distinct_and_change_with_the_epoch() -> None:
    alice = identity_of("alice")
    group = mls.Group.create(ROOM_ID, alice.signature_key, alice.credential(), entropy=entropy_of("g"), now=NOW_S)
    later = group.commit(entropy=entropy_of("c"), now=NOW_S).merge()

    before, after = epoch_secrets(group), epoch_secrets(later)

    values = [before.env_key, before.write_seed, before.read_seed, after.env_key, after.write_seed, after.read_seed]
    assert len(set(values)) == 6
    assert before.write_key == public_key(before.write_seed)
    assert before.read_key == public_key(before.read_seed)


def test_the_bundle_key_comes_from_the_join_secret() -> None:
    assert bundle_key(b"a" * 32) != bundle_key(b"b" * 32)
    assert len(bundle_key(b"a" * 32)) == 32
