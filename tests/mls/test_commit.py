from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from mls import Group
from mls.codec import Reader
from mls.commit import _public_message, draft_commit, leaf_maker
from mls.crypto import ZERO
from mls.errors import InvalidLeafNode, InvalidSignature
from mls.framing import Sender, SenderType
from mls.key_packages import basic_credential
from mls.nodes import LeafNode
from mls.proposal_list import AppliedProposals, apply_proposals, sort_proposals
from mls.tree_kem import NewPath, _place_parents, create_path
from tests.mls.builders import NOW, group_of, key_of, seeded
from tests.mls.test_joining import passive_client
from tests.mls.vectors import OUR_SUITE, hex_bytes, load


@pytest.mark.parametrize("entry", load("passive-client-handling-commit", OUR_SUITE))
def test_official_vectors_of_commits(entry: dict[str, Any]) -> None:
    group = passive_client(entry)
    psks = {hex_bytes(psk["psk_id"]): hex_bytes(psk["psk"]) for psk in entry["external_psks"]}

    assert group.epoch_authenticator == hex_bytes(entry["initial_epoch_authenticator"])
    for epoch in entry["epochs"]:
        for proposal in epoch["proposals"]:
            group.process_proposal(hex_bytes(proposal))
        group = group.process_commit(hex_bytes(epoch["commit"]), NOW, psks=psks).merge()
        assert group.epoch_authenticator == hex_bytes(epoch["epoch_authenticator"])


def committed_with(group: Group, make_leaf: Callable[[bytes, bytes], LeafNode], *, low_order: bool = False) -> bytes:
    """An empty commit of a member that makes its leaf as it likes; everything else is signed and tagged rightly."""
    state = group._state
    found = sort_proposals([], committer=state.own_leaf, tree=state.tree)
    applied = apply_proposals(found, state.tree, group_id=state.context.group_id, extensions=())
    path = create_path(applied.tree, state.own_leaf, make_leaf, seeded("path"))
    if low_order:
        path = with_low_order_key(applied, path, state.own_leaf, make_leaf)
    draft = draft_commit(
        state.context,
        applied,
        (),
        sender=Sender(sender_type=SenderType.MEMBER, index=state.own_leaf),
        interim=state.interim_transcript_hash,
        init_secret=state.secrets.init_secret,
        psks=ZERO,
        path=path,
        key=state.signature_key,
        entropy=seeded("draft"),
    )
    return _public_message(state, draft.message)


def with_low_order_key(
    applied: AppliedProposals, path: NewPath, sender: int, make_leaf: Callable[[bytes, bytes], LeafNode]
) -> NewPath:
    """The same path with a useless key at the bottom, and parent hashes that fit it."""
    (node, other, secret, _), *rest = path.steps
    steps = [(node, other, secret, bytes(32)), *rest]
    above = _place_parents(applied.tree, sender, [(at, beside, public) for at, beside, _, public in steps])
    leaf = make_leaf(path.leaf_key.public, above)
    applied.tree.place_leaf(sender, leaf)
    return msgspec.structs.replace(path, steps=tuple(steps), leaf_node=leaf)


def maker(name: str, place: tuple[bytes, int], *, signer: str | None = None) -> Callable[[bytes, bytes], LeafNode]:
    return leaf_maker(key_of(signer or name), basic_credential(name.encode()), place)


def test_a_commit_made_by_hand_is_followed() -> None:
    alice, bob = group_of("alice", "bob")

    staged = bob.process_commit(committed_with(alice, maker("alice", (b"group", 0))), NOW)

    assert staged.committer.identity == b"alice"


@pytest.mark.parametrize("place", [(b"group", 1), (b"another", 0)])
def test_a_path_whose_leaf_is_signed_for_another_place_is_refused(place: tuple[bytes, int]) -> None:
    alice, bob = group_of("alice", "bob")

    with pytest.raises(InvalidSignature):
        bob.process_commit(committed_with(alice, maker("alice", place)), NOW)


def test_a_path_cannot_take_another_members_signature_key() -> None:
    alice, bob, carol = group_of("alice", "bob", "carol")
    taken = next(member for member in alice.members() if member.identity == b"carol").signature_public_key

    def steal(encryption_key: bytes, above: bytes) -> LeafNode:
        honest = maker("alice", (b"group", 0))(encryption_key, above)
        encoded = honest.encoded.replace(key_of("alice").public, taken)
        return LeafNode.read(Reader(encoded))

    with pytest.raises(InvalidLeafNode):
        committed_with(alice, steal)
    assert carol.epoch == bob.epoch == 1


def test_a_path_with_a_key_nobody_can_encrypt_to_is_refused() -> None:
    """Such a key would make every later commit fail for the members below it."""
    groups = group_of("alice", "bob", "carol", "dave")

    message = committed_with(groups[0], maker("alice", (b"group", 0)), low_order=True)

    for group in groups[2:]:
        with pytest.raises(InvalidLeafNode, match="low order"):
            group.process_commit(message, NOW)
