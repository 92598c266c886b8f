from __future__ import annotations

import msgspec
import pytest

from mls import ROOM_EXTENSION, Extension, Group
from mls.errors import (
    GroupClosed,
    InvalidArgument,
    InvalidGroupInfo,
    InvalidProposal,
    MissingPreSharedKey,
    Unsupported,
)
from mls.key_schedule import PreSharedKeyID, PSKType, ResumptionUsage
from mls.proposals import PreSharedKey, ReInit
from tests.mls.builders import NOW, assert_agree, bundle_of, group_of, key_of, seeded

EXTENSIONS = (Extension(extension_type=ROOM_EXTENSION, data=b"second life"),)
NEXT = ReInit(group_id=b"next", version=1, cipher_suite=3, extensions=EXTENSIONS)


def closed(*names: str, reinit: ReInit = NEXT) -> list[Group]:
    """The members of a group that its first one closed with a ReInit."""
    first, *others = group_of(*names)
    staged = first.commit(proposals=[reinit], entropy=seeded("reinit"), now=NOW)
    return [staged.merge(), *(other.process_commit(staged.commit, NOW).merge() for other in others)]


def packages(*names: str) -> list[bytes]:
    return [bundle_of(name, 1).key_package_bytes for name in names]


def joined(welcome: bytes | None, name: str, parent: Group | None) -> Group:
    assert welcome is not None
    return Group.join(welcome, bundle_of(name, 1), key_of(name), NOW, parent=parent)


def test_a_closed_group_continues_in_its_successor() -> None:
    alice, bob, carol = closed("alice", "bob", "carol")
    staged = bob.succeed(packages("alice", "carol"), entropy=seeded(1), now=NOW)

    members = [staged.merge(), joined(staged.welcome, "alice", alice), joined(staged.welcome, "carol", carol)]

    assert_agree(members)
    assert (members[0].group_id, members[0].epoch, members[0].extensions) == (b"next", 1, EXTENSIONS)
    assert members[1].unprotect(members[0].protect(b"again", entropy=seeded(2))).plaintext == b"again"


def test_some_members_branch_off() -> None:
    alice, bob, _ = group_of("alice", "bob", "carol")
    staged = alice.succeed(packages("bob"), branch_id=b"branch", entropy=seeded(1), now=NOW)

    assert_agree([staged.merge(), joined(staged.welcome, "bob", bob)])
    assert alice.epoch == 1


def test_nobody_joins_a_successor_without_its_parent() -> None:
    alice, _ = closed("alice", "bob")
    staged = alice.succeed(packages("bob"), entropy=seeded(1), now=NOW)

    with pytest.raises(MissingPreSharedKey):
        joined(staged.welcome, "bob", None)


def test_the_secret_alone_does_not_admit_to_a_successor() -> None:
    alice, bob = closed("alice", "bob")
    staged = alice.succeed(packages("bob"), entropy=seeded(1), now=NOW)
    assert staged.welcome is not None
    secrets = {(b"group", bob.epoch): bob._state.secrets.resumption_psk}

    with pytest.raises(Unsupported):
        Group.join(staged.welcome, bundle_of("bob", 1), key_of("bob"), NOW, resumption=secrets)


def test_a_group_of_no_parent_is_not_joined_as_a_successor() -> None:
    _, bob = closed("alice", "bob")
    founder = Group.create(b"next", key_of("alice"), b"alice", entropy=seeded(1), now=NOW, extensions=EXTENSIONS)
    staged = founder.commit(add=packages("bob"), entropy=seeded(2), now=NOW)

    with pytest.raises(InvalidGroupInfo, match="does not begin"):
        joined(staged.welcome, "bob", bob)


def test_a_successor_that_is_not_what_was_announced_is_refused() -> None:
    alice, bob = closed("alice", "bob")
    for changed in (
        msgspec.structs.replace(NEXT, group_id=b"other"),
        msgspec.structs.replace(NEXT, extensions=()),
    ):
        alice._state.reinit = changed
        staged = alice.succeed(packages("bob"), entropy=seeded(1), now=NOW)
        with pytest.raises(InvalidGroupInfo, match="announced"):
            joined(staged.welcome, "bob", bob)


def test_a_branch_of_a_closed_group_is_refused() -> None:
    alice, bob = closed("alice", "bob")
    with pytest.raises(GroupClosed):
        alice.succeed(packages("bob"), branch_id=b"branch", entropy=seeded(1), now=NOW)

    alice._state.reinit = None
    staged = alice.succeed(packages("bob"), branch_id=b"branch", entropy=seeded(1), now=NOW)
    with pytest.raises(InvalidGroupInfo, match="branch of a closed group"):
        joined(staged.welcome, "bob", bob)


def test_an_open_group_has_no_successor() -> None:
    alice, _ = group_of("alice", "bob")

    with pytest.raises(InvalidArgument):
        alice.succeed(packages("bob"), entropy=seeded(1), now=NOW)


def test_a_branch_has_an_id_of_its_own() -> None:
    alice, _ = group_of("alice", "bob")

    with pytest.raises(InvalidArgument):
        alice.succeed(packages("bob"), branch_id=b"group", entropy=seeded(1), now=NOW)


def test_a_successor_in_another_cipher_suite_is_not_ours_to_found() -> None:
    alice, _ = closed("alice", "bob", reinit=msgspec.structs.replace(NEXT, cipher_suite=1))

    with pytest.raises(Unsupported):
        alice.succeed(packages("bob"), entropy=seeded(1), now=NOW)


@pytest.mark.parametrize("names", [(), ("bob",), ("bob", "dave"), ("bob", "carol", "dave")])
def test_a_successor_has_the_same_members(names: tuple[str, ...]) -> None:
    alice, *_ = closed("alice", "bob", "carol")

    with pytest.raises(InvalidArgument):
        alice.succeed(packages(*names), entropy=seeded(1), now=NOW)


def test_a_stranger_does_not_slip_into_a_branch() -> None:
    alice, bob, _ = group_of("alice", "bob", "carol")
    with pytest.raises(InvalidArgument):
        alice.succeed(packages("bob", "dave"), branch_id=b"branch", entropy=seeded(1), now=NOW)

    branch = alice.succeed(packages("bob", "carol"), branch_id=b"branch", entropy=seeded(1), now=NOW)
    smaller, bobs_view, _ = group_of("alice", "bob", "dave")
    bobs_view._state.secrets = bob._state.secrets
    assert smaller.epoch == alice.epoch
    with pytest.raises(InvalidGroupInfo, match="others than"):
        joined(branch.welcome, "bob", bobs_view)


def test_a_founding_secret_stands_in_no_later_commit() -> None:
    alice, _ = group_of("alice", "bob")
    psk = PreSharedKeyID(
        psk_type=PSKType.RESUMPTION,
        usage=ResumptionUsage.BRANCH,
        psk_group_id=b"group",
        psk_epoch=alice.epoch,
        psk_nonce=bytes(32),
    )

    with pytest.raises(InvalidProposal):
        alice.commit(proposals=[PreSharedKey(psk)], entropy=seeded(1), now=NOW)
