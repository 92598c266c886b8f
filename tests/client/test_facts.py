"""Who may change what members have agreed on; what a new link closes."""

from __future__ import annotations

import msgspec
import pytest

from client.commits import NewLink, commit_block, judge_commit, override_block
from client.facts import RoomFacts, current_link, facts_extension, facts_of, join_key_of, keys_in, keys_of, room_name
from client.seals import epoch_secrets, open_bundle
from mls import Group
from tests.client.builders import NOW_S, entropy_of, identity_of
from wire.errors import DecodeError
from wire.ids import RoomEpoch
from wire.link import Link
from wire.room import CommitBody, Override, decode_commit, decode_control

LINK = Link(root_public=b"R" * 32, secret=b"s" * 16)
NEW = Link(root_public=b"R" * 32, secret=b"n" * 16)
KEYS = keys_of(LINK)


def group_of_two() -> tuple[Group, Group]:
    """Alice owns the room, bob is in it."""
    alice, bob = identity_of("alice"), identity_of("bob")
    facts = facts_extension(RoomFacts(1, "lobby", alice.user_key))
    founder = Group.create(
        LINK.room_id, alice.signature_key, alice.credential(), entropy=entropy_of(1), now=NOW_S, extensions=(facts,)
    )
    staged, _ = Group.join_external(
        founder.group_info(), bob.signature_key, bob.credential(), entropy=entropy_of(2), now=NOW_S
    )
    return founder.process_commit(staged.commit, NOW_S).merge(), staged.merge()


def commit_facts(author: Group, facts: RoomFacts, *, new_link: NewLink | None) -> CommitBody:
    staged = author.commit(extensions=(facts_extension(facts),), entropy=entropy_of(3), now=NOW_S)
    env_key = epoch_secrets(author).env_key
    block = commit_block(staged, KEYS, env_key=env_key, entropy=entropy_of(4), new_link=new_link)
    return decode_commit(block.data)


def judged(body: CommitBody, reader: Group) -> Group:
    return judge_commit(body, reader, KEYS, env_key=epoch_secrets(reader).env_key, now_s=NOW_S).merge()


def rotated(author: Group, link: Link = NEW) -> CommitBody:
    facts = msgspec.structs.replace(facts_of(author), link_secret=link.secret)
    return commit_facts(author, facts, new_link=NewLink(secret=link.secret, descriptor=b"signed"))


def test_new_link_is_agreed_on_by_all_and_closes_the_old_one() -> None:
    alice, bob = group_of_two()

    body = rotated(alice)
    after = judged(body, bob)

    assert (body.join_key, body.descriptor) == (join_key_of(NEW), b"signed")
    assert body.join_key != join_key_of(LINK)
    assert current_link(LINK, after) == NEW
    assert keys_in(after, KEYS) == keys_of(NEW)
    with pytest.raises(DecodeError):
        open_bundle(body.group_info, key=KEYS.bundle_key, room_id=LINK.room_id, epoch=RoomEpoch(2))
    bundle = open_bundle(body.group_info, key=keys_of(NEW).bundle_key, room_id=LINK.room_id, epoch=RoomEpoch(2))
    assert bundle.env_key == epoch_secrets(after).env_key


def test_only_the_owner_may_change_facts() -> None:
    alice, bob = group_of_two()

    with pytest.raises(DecodeError, match="only the room's owner"):
        judged(rotated(bob), alice)


@pytest.mark.parametrize(
    "facts",
    [
        RoomFacts(1, "lobby", b"m" * 32),
        RoomFacts(1, "lobby", identity_of("alice").user_key, b"short"),
    ],
)
def test_even_the_owner_cannot_give_the_room_away_or_break_its_link(facts: RoomFacts) -> None:
    alice, bob = group_of_two()

    with pytest.raises(DecodeError):
        judged(commit_facts(alice, facts, new_link=None), bob)


def test_servers_and_members_are_told_of_the_same_link() -> None:
    alice, bob = group_of_two()
    body = rotated(alice)

    for lie in (b"", join_key_of(LINK)):
        with pytest.raises(DecodeError, match="different links"):
            judged(msgspec.structs.replace(body, join_key=lie), bob)
    quiet = alice.commit(entropy=entropy_of(5), now=NOW_S)
    block = commit_block(quiet, KEYS, env_key=epoch_secrets(alice).env_key, entropy=entropy_of(6))
    with pytest.raises(DecodeError, match="different links"):
        judged(msgspec.structs.replace(decode_commit(block.data), join_key=join_key_of(NEW)), bob)


def test_room_without_facts_has_a_name_all_the_same() -> None:
    alice = identity_of("alice")
    group = Group.create(b"\xab" * 16, alice.signature_key, alice.credential(), entropy=entropy_of(1), now=NOW_S)

    assert facts_of(group) == RoomFacts(1, "")
    assert room_name(group) == "abababab"
    assert current_link(LINK, group) == LINK
    assert keys_in(group, KEYS) is KEYS


def test_rescue_of_a_room_whose_link_was_replaced_opens_with_the_new_one_only() -> None:
    alice, bob = group_of_two()
    after = judged(rotated(alice), bob)

    body = decode_control(override_block(after, KEYS, entropy_of(7)).data)

    assert isinstance(body, Override)
    open_bundle(body.group_info, key=keys_of(NEW).bundle_key, room_id=LINK.room_id, epoch=RoomEpoch(2))
    with pytest.raises(DecodeError):
        open_bundle(body.group_info, key=KEYS.bundle_key, room_id=LINK.room_id, epoch=RoomEpoch(2))
