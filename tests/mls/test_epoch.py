from __future__ import annotations

import msgspec
import pytest

from mls.crypto import ZERO
from mls.epoch import next_epoch, provisional_context, psk_contribution
from mls.errors import InvalidCommit, MissingPreSharedKey
from mls.key_schedule import GroupContext, PreSharedKeyID, PSKType, ResumptionUsage, psk_secret
from mls.limits import EPOCH_MAX, RESUMPTION_EPOCHS_MAX
from mls.ratchet_tree import RatchetTree
from tests.mls.builders import assert_agree, bundle_of, committed, group_of

CONTEXT = GroupContext(group_id=b"g", epoch=4, tree_hash=b"old", confirmed_transcript_hash=b"confirmed")
EXTERNAL = PreSharedKeyID(psk_type=PSKType.EXTERNAL, psk_id=b"id", psk_nonce=bytes(32))
RESUMPTION = PreSharedKeyID(
    psk_type=PSKType.RESUMPTION,
    usage=ResumptionUsage.APPLICATION,
    psk_group_id=b"g",
    psk_epoch=3,
    psk_nonce=bytes(32),
)


def tree() -> RatchetTree:
    found = RatchetTree()
    found.add_leaves([bundle_of("alice").key_package.leaf_node])
    return found


def test_the_provisional_context_keeps_the_old_transcript() -> None:
    """RFC 9420 12.4.1."""
    found = provisional_context(CONTEXT, tree(), ())

    assert (found.epoch, found.tree_hash) == (5, tree().tree_hash())
    assert (found.group_id, found.confirmed_transcript_hash) == (b"g", b"confirmed")


def test_there_is_no_epoch_after_the_last() -> None:
    with pytest.raises(InvalidCommit):
        provisional_context(msgspec.structs.replace(CONTEXT, epoch=EPOCH_MAX), tree(), ())


INPUTS = {
    "interim": b"interim",
    "confirmed_input": b"commit",
    "init_secret": bytes(32),
    "commit_secret": bytes(32),
    "psks": bytes(32),
}


@pytest.mark.parametrize("changed", INPUTS)
def test_every_input_changes_the_secrets(changed: str) -> None:
    before, after = next_epoch(CONTEXT, **INPUTS), next_epoch(CONTEXT, **{**INPUTS, changed: b"\x01" * 32})

    assert before.secrets.epoch_authenticator != after.secrets.epoch_authenticator
    assert before.encryption_secret != after.encryption_secret
    assert before.confirmation_tag != after.confirmation_tag


def test_pre_shared_keys_are_found_by_name_and_order_matters() -> None:
    external, resumption = {b"id": b"one"}, {(b"g", 3): b"two"}

    found = psk_contribution([EXTERNAL, RESUMPTION], external, resumption)

    assert found == psk_secret([(EXTERNAL, b"one"), (RESUMPTION, b"two")])
    assert found != psk_contribution([RESUMPTION, EXTERNAL], external, resumption)
    assert psk_contribution([], {}, {}) == ZERO


@pytest.mark.parametrize("name", [EXTERNAL, RESUMPTION])
def test_a_pre_shared_key_that_is_missing_stops_us(name: PreSharedKeyID) -> None:
    with pytest.raises(MissingPreSharedKey):
        psk_contribution([name], {b"other": b""}, {(b"g", 4): b""})


def test_a_few_resumption_secrets_are_kept_and_private_keys_of_blank_nodes_are_not() -> None:
    groups = group_of("alice", "bob", "carol", "dave", "erin")
    for number in range(RESUMPTION_EPOCHS_MAX + 3):
        groups = committed(groups[0], groups[1:], seed=number)
    assert_agree(groups)

    for group in groups:
        state = group._state
        assert list(state.resumption_psks) == list(range(group.epoch - RESUMPTION_EPOCHS_MAX + 1, group.epoch + 1))
        assert all(state.tree.nodes[node] is not None for node in state.private_keys)
