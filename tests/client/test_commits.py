from __future__ import annotations

import msgspec
import pytest

import mls
from client import commits
from client.commits import commit_block, judge_commit, seal_group_info
from client.room_state import block_digest
from client.seals import epoch_secrets, open_bundle
from tests.client.builders import KEYS, NOW_S, ROOM_ID, entropy_of, identity_of
from wire.errors import DecodeError
from wire.ids import RoomEpoch
from wire.room import BlockKind, decode_block_header, decode_commit

ALICE, BOB = identity_of("alice"), identity_of("bob")


def alone() -> mls.Group:
    return mls.Group.create(ROOM_ID, ALICE.signature_key, ALICE.credential(), entropy=entropy_of("g"), now=NOW_S)


def two() -> tuple[mls.Group, mls.Group]:
    """Alice and bob in epoch 1."""
    group = alone()
    staged, commit = mls.Group.join_external(
        group.group_info(), BOB.signature_key, BOB.credential(), entropy=entropy_of("b"), now=NOW_S
    )
    return group.process_commit(commit, NOW_S).merge(), staged.merge()


def block_by(group: mls.Group) -> bytes:
    staged = group.commit(entropy=entropy_of("c"), now=NOW_S)
    return commit_block(staged, KEYS, env_key=epoch_secrets(group).env_key, entropy=entropy_of("s")).data


def test_a_block_carries_everything_of_the_next_epoch() -> None:
    alice, bob = two()
    data = block_by(alice)
    body = decode_commit(data)

    staged = judge_commit(body, bob, KEYS, env_key=epoch_secrets(bob).env_key, now_s=NOW_S)

    header = decode_block_header(data)
    secrets = epoch_secrets(staged.group)
    bundle = open_bundle(body.group_info, key=KEYS.bundle_key, room_id=ROOM_ID, epoch=RoomEpoch(2))
    assert (header.kind, header.epoch) == (BlockKind.COMMIT, 1)
    assert (body.next_write_key, body.next_read_key) == (secrets.write_key, secrets.read_key)
    assert bundle.env_key == secrets.env_key
    assert not body.external


def test_the_digest_names_the_block() -> None:
    group = alone()
    staged = group.commit(entropy=entropy_of("c"), now=NOW_S)

    block = commit_block(staged, KEYS, env_key=epoch_secrets(group).env_key, entropy=entropy_of("s"))

    assert block.digest == block_digest(block.data)


@pytest.mark.parametrize("field", ["next_write_key", "next_read_key"])
def test_announcing_other_keys_is_refused(field: str) -> None:
    alice, bob = two()
    body = msgspec.structs.replace(decode_commit(block_by(alice)), **{field: b"w" * 32})

    with pytest.raises(DecodeError, match="announces keys"):
        judge_commit(body, bob, KEYS, env_key=epoch_secrets(bob).env_key, now_s=NOW_S)


def test_a_commit_sealed_under_another_key_is_refused() -> None:
    alice, bob = two()

    with pytest.raises(DecodeError, match="does not open"):
        judge_commit(decode_commit(block_by(alice)), bob, KEYS, env_key=b"x" * 32, now_s=NOW_S)


def test_a_room_that_outgrew_a_commit_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits, "COMMIT_BYTES_MAX", 100)

    with pytest.raises(DecodeError, match="too many members"):
        block_by(alone())


def test_a_genesis_bundle_opens_with_the_link() -> None:
    group = alone()
    sealed = seal_group_info(group, epoch_secrets(group), KEYS, entropy_of("s"))

    bundle = open_bundle(sealed, key=KEYS.bundle_key, room_id=ROOM_ID, epoch=RoomEpoch(0))

    assert bundle.group_info == group.group_info()
