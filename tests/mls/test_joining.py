from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mls import Extension, Group, KeyPackageBundle, SignatureKey
from mls.codec import decode, vector
from mls.crypto import ZERO, generate_key_pair
from mls.errors import (
    InvalidCommit,
    InvalidGroupInfo,
    InvalidLeafNode,
    InvalidSignature,
    InvalidTree,
    Unsupported,
)
from mls.framing import WireFormat, envelope, open_envelope
from mls.key_schedule import JoinerSecrets
from mls.nodes import EXTERNAL_PUB_EXTENSION, RATCHET_TREE_EXTENSION, ParentNode
from mls.ratchet_tree import RatchetTree
from mls.welcome import Welcome, seal_welcome, sign_group_info
from tests.mls.builders import NOW, bundle_of, committed, group_of, key_of, seeded
from tests.mls.vectors import OUR_SUITE, hex_bytes, load


def passive_client(entry: dict[str, Any]) -> Group:
    """The member that a passive-client vector describes, just joined."""
    bundle = KeyPackageBundle(
        key_package_bytes=hex_bytes(entry["key_package"]),
        init_private_key=hex_bytes(entry["init_priv"]),
        encryption_private_key=hex_bytes(entry["encryption_priv"]),
    )
    return Group.join(
        hex_bytes(entry["welcome"]),
        bundle,
        SignatureKey.from_private(hex_bytes(entry["signature_priv"])),
        NOW,
        ratchet_tree=None if entry["ratchet_tree"] is None else hex_bytes(entry["ratchet_tree"]),
        psks={hex_bytes(psk["psk_id"]): hex_bytes(psk["psk"]) for psk in entry["external_psks"]},
    )


@pytest.mark.parametrize("entry", load("passive-client-welcome", OUR_SUITE))
def test_official_vectors_of_welcomes(entry: dict[str, Any]) -> None:
    group = passive_client(entry)

    assert group.epoch_authenticator == hex_bytes(entry["initial_epoch_authenticator"])


def altered(group: Group, **changes: Any) -> bytes:
    """A GroupInfo that a member alters and signs with its own, right key."""
    state = group._state
    honest = state.group_info()
    fields = {
        "context": honest.context,
        "extensions": honest.extensions,
        "confirmation_tag": honest.confirmation_tag,
        "signer": honest.signer,
    }
    fields.update(changes)
    context = fields.pop("context")
    return envelope(WireFormat.GROUP_INFO, sign_group_info(state.signature_key, context, **fields).encode())


def join_by(info: bytes, *, remove_old_leaf: int | None = None) -> Group:
    staged, _ = Group.join_external(
        info, key_of("dave"), b"dave", entropy=seeded("dave"), now=NOW, remove_old_leaf=remove_old_leaf
    )
    return staged.merge()


def tree_extension(tree: RatchetTree) -> Extension:
    return Extension(extension_type=RATCHET_TREE_EXTENSION, data=tree.encode())


@pytest.fixture
def members() -> list[Group]:
    groups = group_of("alice", "bob", "carol")
    return committed(groups[0], groups[1:])


def test_an_unaltered_group_info_admits(members: list[Group]) -> None:
    assert join_by(altered(members[0])).own_leaf_index == 3


def test_a_tree_that_is_not_the_contexts_is_refused(members: list[Group]) -> None:
    context = msgspec.structs.replace(members[0]._state.context, tree_hash=bytes(32))

    with pytest.raises(InvalidTree, match="group context"):
        join_by(altered(members[0], context=context))


def test_a_members_own_parent_node_in_the_tree_is_refused(members: list[Group]) -> None:
    """An insider signs a tree with a node whose key it made up, and a context that fits (RFC 9420 7.9.2)."""
    state = members[0]._state
    tree = state.tree.copy()
    tree.blank_direct_path(2)
    tree.set_parent(3, ParentNode(encryption_key=generate_key_pair(seeded("evil")).public, parent_hash=b""))
    context = msgspec.structs.replace(state.context, tree_hash=tree.tree_hash())
    extensions = (tree_extension(tree), state.group_info().extensions[1])

    with pytest.raises(InvalidTree, match="parent hashes"):
        join_by(altered(members[0], context=context, extensions=extensions))


@pytest.mark.parametrize("signer", [1, 3, 77, 2**32 - 1])
def test_a_group_info_signed_for_another_leaf_is_refused(members: list[Group], signer: int) -> None:
    with pytest.raises((InvalidSignature, InvalidGroupInfo)):
        join_by(altered(members[0], signer=signer))


def test_another_cipher_suite_is_refused(members: list[Group]) -> None:
    context = msgspec.structs.replace(members[0]._state.context, cipher_suite=1)

    with pytest.raises(Unsupported):
        join_by(altered(members[0], context=context))


def test_a_group_whose_extensions_we_lack_is_not_joined(members: list[Group]) -> None:
    unknown = Extension(extension_type=0xF0F0, data=b"")
    context = msgspec.structs.replace(members[0]._state.context, extensions=(unknown,))

    with pytest.raises(InvalidLeafNode):
        join_by(altered(members[0], context=context))


def test_an_external_key_of_low_order_is_refused(members: list[Group]) -> None:
    tree = members[0]._state.group_info().extensions[0]
    external = Extension(extension_type=EXTERNAL_PUB_EXTENSION, data=vector(bytes(32)))

    with pytest.raises(InvalidLeafNode):
        join_by(altered(members[0], extensions=(tree, external)))


def welcomed(group: Group, *, tag: bytes | None = None, secret: bytes | None = None) -> tuple[bytes, KeyPackageBundle]:
    """A Welcome that a member seals by hand, with a wrong confirmation tag or path secret if wanted."""
    bundle = bundle_of("erin")
    staged = group.commit(add=[bundle.key_package_bytes], entropy=seeded("welcome"), now=NOW)
    assert staged.welcome is not None
    honest = decode(open_envelope(staged.welcome)[1], Welcome.read)
    secrets = honest.group_secrets(bundle.reference, bundle.init_key)
    joiner = JoinerSecrets.derive(secrets.joiner_secret, ZERO)
    info = honest.group_info(joiner)
    signed = sign_group_info(
        group._state.signature_key,
        info.context,
        extensions=info.extensions,
        confirmation_tag=tag or info.confirmation_tag,
        signer=info.signer,
    )
    if secret is not None:
        secrets = msgspec.structs.replace(secrets, path_secret=secret)
    sealed = seal_welcome(signed, joiner, [(bundle.reference, bundle.init_key.public, secrets)], seeded("seal"))
    return envelope(WireFormat.WELCOME, sealed.encode()), bundle


def test_a_welcome_sealed_by_hand_admits(members: list[Group]) -> None:
    welcome, bundle = welcomed(members[0])

    assert Group.join(welcome, bundle, key_of("erin"), NOW).epoch == members[0].epoch + 1


def test_a_welcome_with_a_wrong_confirmation_tag_is_refused(members: list[Group]) -> None:
    welcome, bundle = welcomed(members[0], tag=bytes(32))

    with pytest.raises(InvalidGroupInfo, match="confirmation tag"):
        Group.join(welcome, bundle, key_of("erin"), NOW)


def test_a_welcome_with_a_wrong_path_secret_is_refused(members: list[Group]) -> None:
    welcome, bundle = welcomed(members[0], secret=bytes(32))

    with pytest.raises(InvalidCommit, match="do not fit"):
        Group.join(welcome, bundle, key_of("erin"), NOW)
