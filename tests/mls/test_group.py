"""Whole groups: histories, agreement, forgery, replay, storing."""

from __future__ import annotations

import pytest

from mls import (
    ROOM_EXTENSION,
    Extension,
    Group,
    GroupClosed,
    InvalidArgument,
    InvalidCommit,
    InvalidGroupInfo,
    InvalidLeafNode,
    InvalidSignature,
    Member,
    NotForUs,
    OwnCommit,
    WrongEpoch,
    propose_to_join,
)
from mls.crypto import SignatureKey
from mls.limits import KEY_PACKAGE_LIFETIME_S
from mls.proposals import ReInit, Remove
from tests.mls.builders import NOW, assert_agree, bundle_of, committed, group_of, key_of, seeded


def names_of(group: Group) -> list[str]:
    return [member.identity.decode() for member in group.members()]


def snapshot(group: Group) -> tuple[bytes, bytes]:
    return group.epoch_state(), group.ratchet_state()


# Beginnings


def test_a_founder_is_alone_in_epoch_0() -> None:
    group = Group.create(b"room", key_of("alice"), b"alice", entropy=seeded(1), now=NOW)

    assert (group.group_id, group.epoch, group.own_leaf_index) == (b"room", 0, 0)
    assert group.members() == [Member(leaf_index=0, identity=b"alice", signature_public_key=key_of("alice").public)]


@pytest.mark.parametrize("force_path", [True, False])
@pytest.mark.parametrize("size", [2, 3, 5, 9, 16])
def test_everybody_added_by_one_commit_agrees(size: int, force_path: bool) -> None:
    groups = group_of(*(f"member {number}" for number in range(size)), force_path=force_path)

    assert_agree(groups)
    assert [group.own_leaf_index for group in groups] == list(range(size))
    for sender in groups:
        message = sender.protect(b"hej", b"header", entropy=seeded(sender.own_leaf_index))
        for other in groups:
            if other is not sender:
                received = other.unprotect(message)
                assert (received.plaintext, received.authenticated_data) == (b"hej", b"header")
                assert received.sender == sender.members()[sender.own_leaf_index]
                assert (received.epoch, received.generation) == (1, 0)


def test_a_welcome_serves_only_those_it_names() -> None:
    staged = group_of("alice")[0].commit(add=[bundle_of("bob").key_package_bytes], entropy=seeded(1), now=NOW)
    assert staged.welcome is not None

    with pytest.raises(NotForUs):
        Group.join(staged.welcome, bundle_of("carol"), key_of("carol"), NOW)
    with pytest.raises(InvalidArgument):
        Group.join(staged.welcome, bundle_of("bob"), key_of("carol"), NOW)


def test_an_outsider_joins_by_group_info() -> None:
    alice, bob = group_of("alice", "bob")

    staged, commit = Group.join_external(bob.group_info(), key_of("carol"), b"carol", entropy=seeded(1), now=NOW)
    at_alice, at_bob = alice.process_commit(commit, NOW), bob.process_commit(commit, NOW)

    assert staged.committer == at_alice.committer == at_bob.committer
    assert at_alice.added == [at_alice.committer] == staged.added
    groups = [at_alice.merge(), at_bob.merge(), staged.merge()]
    assert_agree(groups)
    assert names_of(groups[0]) == ["alice", "bob", "carol"]
    assert groups[0].unprotect(groups[2].protect(b"hej", entropy=seeded(2))).sender.identity == b"carol"


def test_outsiders_join_one_after_the_other() -> None:
    groups = group_of("alice")
    for number in range(12):
        staged, commit = Group.join_external(
            groups[number // 2].group_info(), key_of(f"m{number}"), b"m", entropy=seeded(number), now=NOW
        )
        groups = [*(group.process_commit(commit, NOW).merge() for group in groups), staged.merge()]
        assert_agree(groups)
    assert_agree(committed(groups[5], [*groups[:5], *groups[6:]]))


def test_a_returning_member_replaces_its_old_leaf() -> None:
    alice, bob, carol = group_of("alice", "bob", "carol")

    staged, commit = Group.join_external(
        alice.group_info(),
        SignatureKey.generate(seeded("new key")),
        b"bob",
        entropy=seeded(1),
        now=NOW,
        remove_old_leaf=1,
    )

    at_alice, at_bob, at_carol = (group.process_commit(commit, NOW) for group in (alice, bob, carol))
    assert [member.leaf_index for member in at_alice.removed] == [1]
    assert at_bob.self_removed
    assert_agree([at_alice.merge(), at_carol.merge(), staged.merge()])
    assert staged.merge().own_leaf_index == 1


def test_a_newcomer_cannot_throw_out_somebody_else() -> None:
    alice, bob = group_of("alice", "bob")
    _, commit = Group.join_external(
        alice.group_info(), key_of("mallory"), b"mallory", entropy=seeded(1), now=NOW, remove_old_leaf=1
    )

    for group in (alice, bob):
        with pytest.raises(InvalidCommit):
            group.process_commit(commit, NOW)

    allowed = alice.process_commit(
        commit, NOW, may_replace=lambda old, new: (old.identity, new.identity) == (b"bob", b"mallory")
    )
    assert allowed.removed[0].identity == b"bob"


def test_a_group_info_without_external_key_or_tree_admits_nobody() -> None:
    (alice,) = group_of("alice")

    with pytest.raises(InvalidGroupInfo):
        Group.join_external(
            alice.group_info(with_external_pub=False), key_of("bob"), b"bob", entropy=seeded(1), now=NOW
        )
    bare = alice.group_info(with_tree=False)
    with pytest.raises(InvalidGroupInfo):
        Group.join_external(bare, key_of("bob"), b"bob", entropy=seeded(1), now=NOW)
    staged, commit = Group.join_external(
        bare, key_of("bob"), b"bob", entropy=seeded(1), now=NOW, ratchet_tree=alice.ratchet_tree()
    )
    assert_agree([alice.process_commit(commit, NOW).merge(), staged.merge()])


def test_a_member_cannot_join_again_without_removing_itself() -> None:
    alice, _ = group_of("alice", "bob")

    with pytest.raises(InvalidArgument):
        Group.join_external(alice.group_info(), key_of("bob"), b"bob", entropy=seeded(1), now=NOW)
    with pytest.raises(InvalidArgument):
        Group.join_external(
            alice.group_info(), key_of("carol"), b"carol", entropy=seeded(1), now=NOW, remove_old_leaf=5
        )
    staged, commit = Group.join_external(
        alice.group_info(), key_of("bob"), b"bob", entropy=seeded(1), now=NOW, remove_old_leaf=1
    )
    assert_agree([alice.process_commit(commit, NOW).merge(), staged.merge()])


# Commits


def test_a_commit_changes_nothing_until_it_is_merged() -> None:
    alice, bob = group_of("alice", "bob")
    before = snapshot(alice), snapshot(bob)

    staged = alice.commit(add=[bundle_of("carol").key_package_bytes], entropy=seeded(1), now=NOW)
    at_bob = bob.process_commit(staged.commit, NOW)

    assert (snapshot(alice), snapshot(bob)) == before
    assert (staged.epoch, at_bob.epoch, alice.epoch) == (2, 2, 1)
    assert staged.group.export("write", b"", 32) == at_bob.group.export("write", b"", 32)
    assert (
        staged.added
        == at_bob.added
        == [Member(leaf_index=2, identity=b"carol", signature_public_key=key_of("carol").public)]
    )
    assert at_bob.welcome is None
    assert at_bob.commit == staged.commit


def test_the_losers_commit_is_of_the_wrong_epoch_after_the_winners() -> None:
    alice, bob, carol = group_of("alice", "bob", "carol")
    winner = alice.commit(entropy=seeded(1), now=NOW)
    loser = bob.commit(entropy=seeded(2), now=NOW)

    bob, carol = (group.process_commit(winner.commit, NOW).merge() for group in (bob, carol))

    with pytest.raises(WrongEpoch):
        carol.process_commit(loser.commit, NOW)
    assert_agree([winner.merge(), bob, carol])


def test_our_own_commit_is_recognised_and_others_in_our_name_are_not() -> None:
    alice, bob = group_of("alice", "bob")
    staged = alice.commit(entropy=seeded(1), now=NOW)

    with pytest.raises(OwnCommit):
        alice.process_commit(staged.commit, NOW)
    forged = bytearray(staged.commit)
    forged[-40] ^= 1
    with pytest.raises(InvalidSignature):
        alice.process_commit(bytes(forged), NOW)
    assert_agree([staged.merge(), bob.process_commit(staged.commit, NOW).merge()])


def test_a_removed_member_is_told_and_locked_out() -> None:
    alice, bob, carol = group_of("alice", "bob", "carol")

    staged = alice.commit(remove=[1], entropy=seeded(1), now=NOW)
    at_bob, at_carol = bob.process_commit(staged.commit, NOW), carol.process_commit(staged.commit, NOW)

    assert (at_bob.self_removed, at_carol.self_removed, staged.self_removed) == (True, False, False)
    assert [member.identity for member in at_carol.removed] == [b"bob"]
    for use in (at_bob.merge, lambda: at_bob.group, lambda: at_bob.group_info):
        with pytest.raises(GroupClosed):
            use()
    alice, carol = staged.merge(), at_carol.merge()
    assert_agree([alice, carol])
    with pytest.raises(WrongEpoch):
        bob.unprotect(alice.protect(b"without bob", entropy=seeded(2)))
    with pytest.raises(WrongEpoch):
        alice.unprotect(bob.protect(b"still here?", entropy=seeded(3)))


def test_removed_and_added_in_one_commit() -> None:
    alice, bob, carol = group_of("alice", "bob", "carol")
    again = bundle_of("bob", nonce=1)

    staged = alice.commit(remove=[1], add=[again.key_package_bytes], entropy=seeded(1), now=NOW)

    assert staged.welcome is not None
    assert bob.process_commit(staged.commit, NOW).self_removed
    back = Group.join(staged.welcome, again, key_of("bob"), NOW)
    assert_agree([staged.merge(), carol.process_commit(staged.commit, NOW).merge(), back])
    assert back.own_leaf_index == 1


def test_nobody_removes_themselves_or_the_absent() -> None:
    alice, _ = group_of("alice", "bob")

    for leaf in (0, 2, 77, -1):
        with pytest.raises(InvalidArgument):
            alice.commit(remove=[leaf], entropy=seeded(1), now=NOW)


def test_nobody_is_added_twice() -> None:
    alice, _ = group_of("alice", "bob")
    carol = bundle_of("carol").key_package_bytes

    for add in (
        [carol, carol],
        [carol, bundle_of("carol", nonce=1).key_package_bytes],
        [bundle_of("bob", nonce=1).key_package_bytes],
    ):
        with pytest.raises(InvalidLeafNode):
            alice.commit(add=add, entropy=seeded(1), now=NOW)


@pytest.mark.parametrize("later", [-2 * 86_400, KEY_PACKAGE_LIFETIME_S + 1])
def test_a_key_package_outside_its_lifetime_is_not_added(later: int) -> None:
    with pytest.raises(InvalidLeafNode):
        group_of("alice")[0].commit(add=[bundle_of("bob").key_package_bytes], entropy=seeded(1), now=NOW + later)


def test_adding_without_a_path_is_smaller_and_still_works() -> None:
    alice, bob = group_of("alice", "bob")
    small = alice.commit(add=[bundle_of("carol").key_package_bytes], force_path=False, entropy=seeded(1), now=NOW)
    full = alice.commit(add=[bundle_of("carol").key_package_bytes], entropy=seeded(1), now=NOW)

    assert len(small.commit) < len(full.commit)
    assert small.welcome is not None
    carol = Group.join(small.welcome, bundle_of("carol"), key_of("carol"), NOW)
    groups = [small.merge(), bob.process_commit(small.commit, NOW).merge(), carol]
    assert_agree(groups)
    assert_agree(committed(carol, groups[:2]))


def test_group_extensions_are_agreed_on() -> None:
    room = Extension(extension_type=ROOM_EXTENSION, data=b"roles")
    alice, bob = group_of("alice", "bob")

    staged = alice.commit(extensions=(room,), entropy=seeded(1), now=NOW)

    groups = [staged.merge(), bob.process_commit(staged.commit, NOW).merge()]
    assert_agree(groups)
    assert groups[1].extensions == (room,)
    with pytest.raises(InvalidLeafNode):
        alice.commit(extensions=(Extension(extension_type=0xF0F0, data=b""),), entropy=seeded(1), now=NOW)
    with pytest.raises(InvalidArgument):
        Group.create(
            b"g",
            key_of("a"),
            b"a",
            entropy=seeded(1),
            now=NOW,
            extensions=(Extension(extension_type=0xF0F0, data=b""),),
        )
    founded = Group.create(b"g", key_of("a"), b"a", entropy=seeded(1), now=NOW, extensions=(room,))
    staged, commit = Group.join_external(founded.group_info(), key_of("b"), b"b", entropy=seeded(2), now=NOW)
    assert_agree([founded.process_commit(commit, NOW).merge(), staged.merge()])


def test_a_reinitialised_group_is_closed() -> None:
    alice, bob = group_of("alice", "bob")
    reinit = ReInit(group_id=b"next", version=1, cipher_suite=3, extensions=())

    staged = alice.commit(proposals=[reinit], entropy=seeded(1), now=NOW)
    alice, bob = staged.merge(), bob.process_commit(staged.commit, NOW).merge()

    assert_agree([alice, bob])
    assert bob.is_reinitialised
    for group in (alice, Group.restore(*snapshot(bob), key_of("bob"))):
        with pytest.raises(GroupClosed):
            group.protect(b"late", entropy=seeded(1))
        with pytest.raises(GroupClosed):
            group.commit(entropy=seeded(1), now=NOW)


def test_nobody_commits_themselves_into_another_identity() -> None:
    alice, bob, carol = group_of("alice", "bob", "carol")

    staged = carol.commit(identity=b"alice", entropy=seeded(1), now=NOW)

    for group in (alice, bob):
        with pytest.raises(InvalidCommit):
            group.process_commit(staged.commit, NOW)


def test_a_member_may_renew_its_identity_where_others_agree() -> None:
    alice, bob = group_of("alice", "bob")

    staged = alice.commit(identity=b"alice, renewed", entropy=seeded(1), now=NOW)
    followed = bob.process_commit(
        staged.commit, NOW, may_replace=lambda old, new: new.identity.startswith(old.identity)
    )

    assert staged.committer == followed.committer
    assert followed.committer.identity == b"alice, renewed"
    assert_agree([staged.merge(), followed.merge()])


def test_the_last_member_comes_back_alone() -> None:
    (alice,) = group_of("alice")

    staged, _ = Group.join_external(
        alice.group_info(), key_of("alice"), b"alice", entropy=seeded(1), now=NOW, remove_old_leaf=0
    )

    assert names_of(staged.merge()) == ["alice"]
    assert staged.merge().commit(entropy=seeded(2), now=NOW).epoch == 2


def test_proposals_are_committed_by_reference() -> None:
    alice, bob, carol = group_of("alice", "bob", "carol")
    removal = bob.propose(Remove(2))
    dave = bundle_of("dave")
    wish = propose_to_join(b"group", 1, dave, key_of("dave"))

    references = [alice.process_proposal(message) for message in (removal, wish)]
    for group in (bob, carol):
        assert [group.process_proposal(message) for message in (removal, wish)] == references
    staged = alice.commit(references=references, entropy=seeded(1), now=NOW)

    at_bob = bob.process_commit(staged.commit, NOW)
    assert [member.identity for member in at_bob.added] == [b"dave"]
    assert carol.process_commit(staged.commit, NOW).self_removed
    assert staged.welcome is not None
    assert_agree([staged.merge(), at_bob.merge(), Group.join(staged.welcome, dave, key_of("dave"), NOW)])


def test_an_own_leaf_of_a_commit_is_told_from_one_that_others_brought_in() -> None:
    alice, bob = group_of("alice", "bob")
    assert alice.has_committed
    assert not bob.has_committed

    staged = bob.commit(entropy=seeded(9), now=NOW)

    assert staged.merge().has_committed
