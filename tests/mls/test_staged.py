from __future__ import annotations

import pytest

from mls import Group, GroupClosed, SignatureKey, StagedCommit, StagedGroup, StateCorrupt
from tests.mls.builders import NOW, assert_agree, bundle_of, group_of, key_of, seeded


def reloaded(staged: StagedCommit, key: SignatureKey) -> StagedCommit:
    return StagedCommit.from_bytes(staged.to_bytes(), key)


def test_our_pending_commit_survives_a_crash() -> None:
    alice, bob = group_of("alice", "bob")
    staged = alice.commit(add=[bundle_of("carol").key_package_bytes], entropy=seeded(1), now=NOW)

    found = reloaded(staged, key_of("alice"))

    assert (found.commit, found.welcome, found.epoch) == (staged.commit, staged.welcome, staged.epoch)
    assert (found.committer, found.added, found.removed) == (staged.committer, staged.added, staged.removed)
    assert found.welcome is not None
    carol = Group.join(found.welcome, bundle_of("carol"), key_of("carol"), NOW)
    assert_agree([found.merge(), bob.process_commit(staged.commit, NOW).merge(), carol])


def test_a_pending_external_join_survives_a_crash() -> None:
    (alice,) = group_of("alice")
    staged, commit = Group.join_external(alice.group_info(), key_of("bob"), b"bob", entropy=seeded(1), now=NOW)

    found = StagedGroup.from_bytes(staged.to_bytes(), key_of("bob"))

    assert found.commit == commit
    bob, alice = found.merge(), alice.process_commit(commit, NOW).merge()
    assert_agree([alice, bob])
    assert alice.unprotect(bob.protect(b"hej", entropy=seeded(2))).plaintext == b"hej"


def test_somebody_elses_commit_and_our_removal_can_be_stored_too() -> None:
    alice, bob, carol = group_of("alice", "bob", "carol")
    staged = alice.commit(remove=[1], entropy=seeded(1), now=NOW)

    at_carol = reloaded(carol.process_commit(staged.commit, NOW), key_of("carol"))
    at_bob = reloaded(bob.process_commit(staged.commit, NOW), key_of("bob"))

    assert_agree([staged.merge(), at_carol.merge()])
    assert at_bob.self_removed
    assert [member.identity for member in at_bob.removed] == [b"bob"]
    with pytest.raises(GroupClosed):
        at_bob.merge()


def test_the_new_epochs_group_info_admits_the_next_newcomer() -> None:
    """The committer publishes it together with the commit (e2ee design, rule R2)."""
    alice, bob = group_of("alice", "bob")
    staged = alice.commit(entropy=seeded(1), now=NOW)

    join, commit = Group.join_external(staged.group_info, key_of("carol"), b"carol", entropy=seeded(2), now=NOW)

    groups = [staged.merge(), bob.process_commit(staged.commit, NOW).merge()]
    assert_agree([*(group.process_commit(commit, NOW).merge() for group in groups), join.merge()])
    assert staged.group_info == staged.group_info


def test_both_views_of_a_staged_commit_are_the_same_group() -> None:
    """A key used through `group` is not used again after `merge`."""
    alice, bob = group_of("alice", "bob")
    staged = alice.commit(entropy=seeded(1), now=NOW)
    bob = bob.process_commit(staged.commit, NOW).merge()

    first, second = staged.group.protect(b"1", entropy=seeded(2)), staged.merge().protect(b"2", entropy=seeded(2))

    assert [bob.unprotect(message).generation for message in (first, second)] == [0, 1]


@pytest.mark.parametrize("stored", [b"", b"\x90", b"\x80", b"garbage", b"\x99" + b"\xc0" * 9])
def test_bytes_that_are_no_staged_commit_are_refused(stored: bytes) -> None:
    with pytest.raises(StateCorrupt):
        StagedCommit.from_bytes(stored, key_of("alice"))


def test_a_staged_commit_needs_its_members_key() -> None:
    alice, _ = group_of("alice", "bob")
    stored = alice.commit(entropy=seeded(1), now=NOW).to_bytes()

    with pytest.raises(StateCorrupt):
        StagedCommit.from_bytes(stored, key_of("bob"))


def test_a_staged_commit_does_not_hold_the_signature_key() -> None:
    alice, _ = group_of("alice", "bob")

    assert key_of("alice").private not in alice.commit(entropy=seeded(1), now=NOW).to_bytes()
