"""One test per rule of RFC 9420 12.2."""

from __future__ import annotations

from typing import Any

import pytest

from mls.errors import InvalidLeafNode, InvalidProposal, InvalidSignature, LimitExceeded
from mls.key_schedule import PreSharedKeyID, PSKType, ResumptionUsage
from mls.limits import PSKS_PER_COMMIT_MAX
from mls.nodes import Extension
from mls.proposal_list import apply_proposals, sort_external_proposals, sort_proposals
from mls.proposals import (
    Add,
    ExternalInit,
    GroupContextExtensions,
    PreSharedKey,
    Proposal,
    ReInit,
    Remove,
    Update,
)
from mls.ratchet_tree import RatchetTree
from tests.mls.builders import bundle_of
from tests.mls.leaves import update_leaf

TREE = RatchetTree()
TREE.add_leaves([bundle_of(name).key_package.leaf_node for name in ("alice", "bob", "carol")])
COMMITTER = 0
REINIT = ReInit(group_id=b"next", version=1, cipher_suite=3, extensions=())


def psk(number: int, **changes: Any) -> PreSharedKey:
    fields = {"psk_type": PSKType.EXTERNAL, "psk_id": b"id", "psk_nonce": number.to_bytes(32, "big"), **changes}
    return PreSharedKey(PreSharedKeyID(**fields))


def add(name: str, nonce: int = 0) -> Add:
    return Add(bundle_of(name, nonce).key_package)


def sort(*proposals: Proposal | tuple[Proposal, int | None]) -> Any:
    pairs = [item if isinstance(item, tuple) else (item, COMMITTER) for item in proposals]
    return sort_proposals(pairs, committer=COMMITTER, tree=TREE)


def apply(*proposals: Proposal | tuple[Proposal, int | None]) -> Any:
    return apply_proposals(sort(*proposals), TREE, group_id=b"group", extensions=())


def update(leaf_index: int = 1, name: str = "bob", **changes: Any) -> tuple[Update, int]:
    return Update(update_leaf(name, leaf_index, **changes)), leaf_index


BROKEN: dict[str, list[Proposal | tuple[Proposal, int | None]]] = {
    "the committer's own Update": [(update(0, "alice")[0], 0)],
    "a Remove of the committer": [Remove(0)],
    "two Removes of one leaf": [Remove(1), Remove(1)],
    "Update and Remove of one leaf": [update(1), Remove(1)],
    "a Remove of a blank leaf": [Remove(3)],
    "a Remove far outside": [Remove(2**32 - 1)],
    "an Update from a blank leaf": [(update()[0], 3)],
    "an Update from outside": [(update()[0], None)],
    "the same pre-shared key twice": [psk(1), psk(1)],
    "a short pre-shared key nonce": [psk(1, psk_nonce=bytes(31))],
    "a resumption secret for reinit": [psk(1, psk_type=PSKType.RESUMPTION, usage=ResumptionUsage.REINIT)],
    "a resumption secret for branch": [psk(1, psk_type=PSKType.RESUMPTION, usage=ResumptionUsage.BRANCH)],
    "two lists of extensions": [GroupContextExtensions(()), GroupContextExtensions(())],
    "ReInit beside another": [REINIT, Remove(1)],
    "two ReInits": [REINIT, REINIT],
    "ReInit to an older version": [ReInit(group_id=b"next", version=0, cipher_suite=3, extensions=())],
    "an ExternalInit": [ExternalInit(bytes(32))],
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_members_list_is_refused_with(broken: str) -> None:
    with pytest.raises(InvalidProposal):
        sort(*BROKEN[broken])


def test_too_many_pre_shared_keys_are_refused() -> None:
    sort(*(psk(number) for number in range(PSKS_PER_COMMIT_MAX)))
    with pytest.raises(LimitExceeded):
        sort(*(psk(number) for number in range(PSKS_PER_COMMIT_MAX + 1)))


EXTERNAL_BROKEN: dict[str, list[Proposal]] = {
    "nothing": [],
    "no ExternalInit": [Remove(1)],
    "two ExternalInits": [ExternalInit(bytes(32)), ExternalInit(bytes(32))],
    "two Removes": [ExternalInit(bytes(32)), Remove(1), Remove(2)],
    "a Remove of a blank leaf": [ExternalInit(bytes(32)), Remove(3)],
    "an Add": [ExternalInit(bytes(32)), add("dave")],
    "extensions": [ExternalInit(bytes(32)), GroupContextExtensions(())],
    "ReInit": [ExternalInit(bytes(32)), REINIT],
}


@pytest.mark.parametrize("broken", EXTERNAL_BROKEN)
def test_an_outsiders_list_is_refused_with(broken: str) -> None:
    with pytest.raises(InvalidProposal):
        sort_external_proposals(EXTERNAL_BROKEN[broken], tree=TREE)


def test_an_outsider_may_bring_a_pre_shared_key_and_remove_one_leaf() -> None:
    found = sort_external_proposals([psk(1), Remove(1), ExternalInit(bytes(32))], tree=TREE)

    assert (found.removes, len(found.psks)) == ([1], 1)


@pytest.mark.parametrize(
    ("proposals", "required"),
    [
        ([], True),
        ([add("dave")], False),
        ([psk(1)], False),
        ([REINIT], False),
        ([add("dave"), psk(1)], False),
        ([Remove(1)], True),
        ([add("dave"), Remove(1)], True),
        ([GroupContextExtensions(())], True),
        ([update()], True),
    ],
)
def test_a_path_is_required_unless_the_list_only_adds(proposals: list[Any], required: bool) -> None:
    """RFC 9420 12.4."""
    assert sort(*proposals).path_required is required


def test_proposals_apply_in_the_order_of_the_rfc() -> None:
    """RFC 9420 12.3: updates, removes, adds, wherever they stand in the list."""
    applied = apply(add("dave"), add("erin"), Remove(1), update(2, "carol"))

    assert applied.added == [1, 3]
    assert applied.tree.leaf(1).credential.content == b"dave"
    assert applied.tree.leaf(2).encryption_key != TREE.leaf(2).encryption_key  # type: ignore[union-attr] - present
    assert TREE.member_count == 3, "the old tree is as it was"


def test_a_removed_client_may_be_added_again_in_the_same_commit() -> None:
    assert apply(Remove(1), add("bob", nonce=1)).added == [1]


@pytest.mark.parametrize(
    "proposals", [[add("dave"), add("dave", nonce=1)], [add("bob", nonce=1)], [add("dave"), add("dave")]]
)
def test_a_client_is_in_the_group_once(proposals: list[Proposal]) -> None:
    with pytest.raises(InvalidLeafNode):
        apply(*proposals)


def test_an_update_must_bring_a_new_key_of_the_right_source_for_its_place() -> None:
    old = TREE.leaf(1)
    assert old is not None

    apply(update(1))
    with pytest.raises(InvalidProposal):
        apply(update(1, encryption_key=old.encryption_key))
    with pytest.raises(InvalidProposal):
        apply((Update(bundle_of("bob", 1).key_package.leaf_node), 1))
    with pytest.raises(InvalidSignature):
        apply((update(2, "bob")[0], 1))


def test_group_extensions_must_be_supported_by_everybody() -> None:
    """RFC 9420 12.1.7."""
    required = Extension(extension_type=3, data=b"\x02\xf0\xf0\x00\x00")

    for extension in (required, Extension(extension_type=0xF0F0, data=b"")):
        with pytest.raises(InvalidLeafNode):
            apply(GroupContextExtensions((extension,)))
