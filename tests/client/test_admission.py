"""Rooms by approval: only the owner's commits let people in, whoever made a commit and whatever a server accepts."""

from __future__ import annotations

import msgspec
import pytest

import mls
from client.commits import MemberChange, commit_block, judge_commit, seal_group_info
from client.facts import RoomFacts, facts_extension, facts_of
from client.identity import Identity
from client.room_core import RoomCore
from client.room_state import Cursor, Phase
from client.seals import epoch_secrets
from room_server.room import RoomService
from tests.client.builders import (
    KEYS,
    NOW_S,
    ROOM_ID,
    Device,
    Log,
    entropy_of,
    genesis_of,
    identity_of,
    memory_of,
    settle,
)
from tests.client.knockers import knock
from tests.room_server.builders import commit
from tests.room_server.test_room import apply
from wire.errors import DecodeError
from wire.ids import RoomEpoch, Sequence
from wire.room import CommitBody, ResultKind, decode_commit


def package_of(identity: Identity) -> mls.KeyPackageBundle:
    return mls.new_key_package(identity.signature_key, identity.credential(), entropy_of(identity.name), NOW_S)


def founded(*, by_approval: bool = True) -> mls.Group:
    alice = identity_of("alice")
    facts = facts_extension(RoomFacts(1, "lobby", alice.user_key, by_approval=by_approval))
    return mls.Group.create(
        ROOM_ID, alice.signature_key, alice.credential(), entropy=entropy_of(1), now=NOW_S, extensions=(facts,)
    )


def two(*, by_approval: bool = True) -> tuple[mls.Group, mls.Group]:
    """Alice owns the room and has let bob in."""
    founder, bob = founded(by_approval=by_approval), identity_of("bob")
    package = package_of(bob)
    staged = founder.commit(add=[package.key_package_bytes], entropy=entropy_of(2), now=NOW_S)
    assert staged.welcome is not None
    return staged.merge(), mls.Group.join(staged.welcome, package, bob.signature_key, NOW_S)


def body_of(staged: mls.StagedCommit, author: mls.Group, *, external: bool = False) -> CommitBody:
    env_key = epoch_secrets(author).env_key
    return decode_commit(commit_block(staged, KEYS, env_key=env_key, entropy=entropy_of(4), external=external).data)


def judged(body: CommitBody, reader: mls.Group) -> mls.StagedCommit:
    return judge_commit(body, reader, KEYS, env_key=epoch_secrets(reader).env_key, now_s=NOW_S)


def adding(author: mls.Group) -> mls.StagedCommit:
    package = package_of(identity_of("carol"))
    return author.commit(add=[package.key_package_bytes], entropy=entropy_of(3), now=NOW_S)


def test_the_owner_lets_people_in() -> None:
    alice, bob = two()

    assert [member.identity for member in judged(body_of(adding(alice), alice), bob).added] == [
        identity_of("carol").credential()
    ]


def test_nobody_but_the_owner_lets_people_in() -> None:
    alice, bob = two()

    with pytest.raises(DecodeError, match="only the room's owner"):
        judged(body_of(adding(bob), bob), alice)


def test_an_owner_by_name_only_lets_nobody_in() -> None:
    """The user key in a credential counts only with its certificate."""
    alice, bob = two()
    stolen = bob.commit(
        add=[package_of(identity_of("carol")).key_package_bytes], identity=identity_of("alice").credential(),
        entropy=entropy_of(3), now=NOW_S,
    )  # fmt: skip

    with pytest.raises((DecodeError, mls.PeerError)):
        judged(body_of(stolen, bob), alice)


@pytest.mark.parametrize("says_so", [True, False])
def test_nobody_comes_in_by_a_commit_of_their_own(says_so: bool) -> None:
    """Not even with a GroupInfo that a member gave away."""
    alice, bob = two()
    carol = identity_of("carol")
    staged, _ = mls.Group.join_external(
        bob.group_info(), carol.signature_key, carol.credential(), entropy=entropy_of(3), now=NOW_S
    )

    with pytest.raises(DecodeError, match="on their own"):
        judged(body_of(staged, alice, external=says_so), alice)


def test_in_other_rooms_members_let_in_whom_they_like() -> None:
    alice, bob = two(by_approval=False)

    assert len(judged(body_of(adding(bob), bob), alice).added) == 1


def test_a_room_by_approval_stays_one_even_for_its_owner() -> None:
    alice, bob = two()
    open_to_all = facts_extension(msgspec.structs.replace(facts_of(alice), by_approval=False))
    staged = alice.commit(extensions=(open_to_all,), entropy=entropy_of(3), now=NOW_S)

    with pytest.raises(DecodeError, match="never change"):
        judged(body_of(staged, alice), bob)


def test_who_has_the_link_is_told_nothing_of_the_members() -> None:
    alice, bob = two()

    assert seal_group_info(alice, epoch_secrets(alice), KEYS, entropy_of(1)) == b""
    assert body_of(adding(bob), bob).group_info == b""
    assert seal_group_info(founded(by_approval=False), epoch_secrets(alice), KEYS, entropy_of(1)) != b""


def test_servers_of_a_room_by_approval_take_no_external_commit() -> None:
    group = founded()
    genesis = msgspec.structs.replace(genesis_of(b"", epoch_secrets(group)), by_approval=True)
    room = RoomService(genesis)

    kinds = [result.kind for result in apply(room, commit(0, external=True), commit(0))]

    assert kinds == [ResultKind.FORBIDDEN, ResultKind.ACCEPTED]
    assert room.epoch == RoomEpoch(1)


def owner_device() -> Device:
    """The owner of a room by approval, with its log."""
    group, alice = founded(), identity_of("alice")
    log = Log(b"", epoch_secrets(group))
    memory = memory_of(group, Cursor(Sequence(0), log.chain), Phase.LIVE)
    return Device("alice", RoomCore(KEYS, alice, group, memory=memory, entropy=entropy_of(9)), log, session=1)


def test_nobody_is_let_in_by_a_commit_that_was_made_for_something_else() -> None:
    alice = owner_device()
    knock(alice.log, package_of(identity_of("bob")))
    settle(alice)
    alice.core.knocks.be_due()
    alice.propose()
    settle(alice)

    assert alice.core.epoch == 1
    assert len(alice.core.group.members()) == len(alice.core.knocks.waiting) == 1


def test_only_those_who_were_approved_are_let_in() -> None:
    alice = owner_device()
    for name in ("bob", "carol"):
        knock(alice.log, package_of(identity_of(name)))
    settle(alice)

    alice.core.propose(MemberChange(let_in=(identity_of("carol").signature_key.public,)))
    settle(alice)

    assert [member.identity for member in alice.core.group.members()][1:] == [identity_of("carol").credential()]
    assert [waiting.person.name for waiting in alice.core.knocks.waiting] == ["bob"]


def test_whoever_was_turned_away_is_not_heard_again_even_after_a_restart() -> None:
    alice, bob = owner_device(), identity_of("bob")
    knock(alice.log, package_of(bob))
    settle(alice)
    alice.core.knocks.deny([bob.signature_key.public])
    alice.work()
    alice.crash()

    other_device = Identity.for_user(bob.user_seed, name="bob", label="b", entropy=entropy_of(7), now_s=NOW_S)
    knock(alice.log, package_of(other_device))
    settle(alice)

    assert alice.core.knocks.waiting == ()


def test_a_person_waits_once_and_nobody_under_a_key_that_is_not_theirs() -> None:
    alice, bob = owner_device(), identity_of("bob")
    knock(alice.log, package_of(bob))
    other_device = Identity.for_user(bob.user_seed, name="bob", label="b", entropy=entropy_of(7), now_s=NOW_S)
    knock(alice.log, package_of(other_device))
    eve = identity_of("eve")
    knock(alice.log, mls.new_key_package(eve.signature_key, bob.credential(), entropy_of("eve"), NOW_S))
    settle(alice)

    assert [waiting.device_key for waiting in alice.core.knocks.waiting] == [other_device.signature_key.public]


def test_who_waits_at_a_door_outlives_a_restart() -> None:
    alice = owner_device()
    knock(alice.log, package_of(identity_of("bob")))
    settle(alice)

    alice.crash()

    assert [waiting.person.name for waiting in alice.core.knocks.waiting] == ["bob"]
