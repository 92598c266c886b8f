"""Becoming a member: by creating a group, by a Welcome, or from outside (RFC 9420 11, 12.4.3.1, 12.4.3.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mls import tree_math
from mls.codec import decode
from mls.commit import EXTERNAL_INIT_LABEL, CommitOutcome, build_commit, draft_commit, leaf_maker
from mls.crypto import (
    CIPHER_SUITE,
    HASH_BYTES,
    Entropy,
    SignatureKey,
    check_public_key,
    generate_key_pair,
    hpke_export_sender,
    macs_equal,
    random_bytes,
)
from mls.epoch import NextEpoch, enter_epoch, psk_contribution
from mls.errors import (
    DecodeError,
    InvalidArgument,
    InvalidGroupInfo,
    InvalidLeafNode,
    InvalidTree,
    Unsupported,
)
from mls.framing import AuthData, FramedContent, PublicMessage, Sender, SenderType, WireFormat, envelope, open_envelope
from mls.key_packages import KeyPackageBundle, basic_credential, our_lifetime
from mls.key_schedule import (
    EpochSecrets,
    GroupContext,
    JoinerSecrets,
    interim_transcript_hash,
)
from mls.nodes import DEFAULT_EXTENSIONS, OUR_CAPABILITIES, Extension, sign_leaf_node
from mls.proposal_list import apply_proposals, sort_external_proposals
from mls.proposals import Add, ExternalInit, KeyPackage, PreSharedKey, Proposal, Remove
from mls.protection import sign_content
from mls.ratchet_tree import RatchetTree
from mls.secret_tree import SecretTree
from mls.state import GroupState, member_of
from mls.succession import check_origin, plan_successor
from mls.tree_kem import create_path, derive_above
from mls.tree_validation import check_leaf_node, check_tree
from mls.welcome import GroupInfo, Welcome

__all__ = ["create_group", "found_successor", "join_by_welcome", "join_externally", "propose_to_join"]


def create_group(
    group_id: bytes,
    signature_key: SignatureKey,
    identity: bytes,
    *,
    entropy: Entropy,
    now: int,
    extensions: tuple[Extension, ...],
) -> GroupState:
    """Begin a group with ourselves as its only member (RFC 9420 11)."""
    pair = generate_key_pair(entropy)
    leaf = sign_leaf_node(
        signature_key, basic_credential(identity), encryption_key=pair.public, lifetime=our_lifetime(now)
    )
    tree = RatchetTree()
    tree.add_leaves([leaf])
    context = GroupContext(
        group_id=group_id,
        epoch=0,
        tree_hash=tree.tree_hash(),
        confirmed_transcript_hash=b"",
        extensions=_supported(extensions),
    )
    secrets, encryption_secret = EpochSecrets.derive(random_bytes(entropy, HASH_BYTES))
    confirmation_tag = secrets.confirmation_tag(b"")
    return GroupState(
        context=context,
        context_bytes=context.encode(),
        tree=tree,
        own_leaf=0,
        private_keys={0: pair.private},
        secrets=secrets,
        secret_tree=SecretTree(encryption_secret, 1),
        confirmation_tag=confirmation_tag,
        interim_transcript_hash=interim_transcript_hash(b"", confirmation_tag),
        signature_key=signature_key,
        resumption_psks={0: secrets.resumption_psk},
    )


def _supported(extensions: tuple[Extension, ...]) -> tuple[Extension, ...]:
    for extension in extensions:
        if extension.extension_type not in DEFAULT_EXTENSIONS | {*OUR_CAPABILITIES.extensions}:
            raise InvalidArgument(f"extension {extension.extension_type:#06x} is not in our capabilities")
    return extensions


def _verified_tree(info: GroupInfo, tree: RatchetTree | None) -> RatchetTree:
    """The GroupInfo's tree, or the one given, after all checks of RFC 9420 12.4.3.1."""
    if info.context.cipher_suite != CIPHER_SUITE:
        raise Unsupported(f"a group of cipher suite {info.context.cipher_suite:#06x}")
    found = info.tree() or tree
    if found is None:
        raise InvalidGroupInfo("a GroupInfo without a ratchet tree")
    signer = found.leaf(info.signer)
    if signer is None:
        raise InvalidGroupInfo("a GroupInfo signed from a blank leaf")
    info.verify(signer.signature_key)
    if found.tree_hash() != info.context.tree_hash:
        raise InvalidTree("a tree that is not the one in the group context")
    check_tree(found, info.context.group_id, info.context.extensions)
    return found


# Welcome


def join_by_welcome(
    message: bytes,
    bundle: KeyPackageBundle,
    signature_key: SignatureKey,
    *,
    tree: RatchetTree | None,
    psks: Mapping[bytes, bytes],
    resumption: Mapping[tuple[bytes, int], bytes],
    parent: GroupState | None,
) -> GroupState:
    """Join with the secrets that a committer sealed to our KeyPackage (RFC 9420 12.4.3.1).

    `parent` is the group that this one must continue, if any (see `mls.succession`).

    Raises:
        InvalidArgument: the KeyPackage belongs to another signature key.
        PeerError: the Welcome is not for us, or something in it is wrong.
    """
    if bundle.key_package.leaf_node.signature_key != signature_key.public:
        raise InvalidArgument("the signature key is not the KeyPackage's")
    wire_format, body = open_envelope(message)
    if wire_format is not WireFormat.WELCOME:
        raise DecodeError("not a Welcome")
    welcome = decode(body, Welcome.read)
    group_secrets = welcome.group_secrets(bundle.reference, bundle.init_key)
    if parent is not None:
        resumption = {**resumption, (parent.context.group_id, parent.context.epoch): parent.secrets.resumption_psk}
    contribution = psk_contribution(list(group_secrets.psks), psks, resumption)
    joiner = JoinerSecrets.derive(group_secrets.joiner_secret, contribution)
    info = welcome.group_info(joiner)
    found = _verified_tree(info, tree)
    check_origin(parent, group_secrets.psks, info.context, found)
    own_leaf = _own_leaf(found, bundle)
    private_keys = {2 * own_leaf: bundle.encryption_private_key}
    if group_secrets.path_secret is not None:
        private_keys |= _path_keys(found, own_leaf, info.signer, group_secrets.path_secret)
    epoch = _joined_epoch(info, joiner, group_secrets.joiner_secret)
    return enter_epoch(
        epoch,
        found,
        own_leaf=own_leaf,
        private_keys=private_keys,
        signature_key=signature_key,
        past_resumption_psks={},
    )


def _own_leaf(tree: RatchetTree, bundle: KeyPackageBundle) -> int:
    node = tree.signature_keys.get(bundle.key_package.leaf_node.signature_key)
    leaf = None if node is None else tree.leaf(node // 2)
    if node is None or leaf is None or leaf.encoded != bundle.key_package.leaf_node.encoded:
        raise InvalidGroupInfo("a Welcome to a tree without our leaf")
    return node // 2


def _path_keys(tree: RatchetTree, own_leaf: int, signer: int, path_secret: bytes) -> dict[int, bytes]:
    if signer == own_leaf:
        raise InvalidGroupInfo("a Welcome from ourselves")
    meeting = tree_math.common_ancestor(2 * own_leaf, 2 * signer)
    if tree.parent_node(meeting) is None:
        raise InvalidGroupInfo("a path secret for a blank node")
    return derive_above(tree, signer, meeting, path_secret).private_keys


def _joined_epoch(info: GroupInfo, joiner: JoinerSecrets, joiner_secret: bytes) -> NextEpoch:
    context_bytes = info.context.encode()
    secrets, encryption_secret = joiner.epoch_secrets(context_bytes)
    tag = secrets.confirmation_tag(info.context.confirmed_transcript_hash)
    if not macs_equal(tag, info.confirmation_tag):
        raise InvalidGroupInfo("a confirmation tag that is not this epoch's")
    return NextEpoch(
        context=info.context,
        context_bytes=context_bytes,
        joiner_secret=joiner_secret,
        joiner=joiner,
        secrets=secrets,
        encryption_secret=encryption_secret,
        confirmation_tag=tag,
    )


# Continuing a group


def found_successor(
    parent: GroupState, key_packages: Sequence[KeyPackage], *, branch_id: bytes | None, entropy: Entropy, now: int
) -> CommitOutcome:
    """Found the group that continues `parent`, with a first commit that adds the others (RFC 9420 11.2, 11.3).

    Raises:
        LocalError: the parent allows no such group (see `plan_successor`).
        PeerError: a KeyPackage is not valid, or the ReInit asks for what we do not support.
    """
    plan = plan_successor(parent, key_packages, branch_id, random_bytes(entropy, HASH_BYTES))
    own = parent.tree.leaf(parent.own_leaf)
    assert own is not None, "a member's own leaf is never blank"
    founder = create_group(
        plan.group_id,
        parent.signature_key,
        own.credential.content,
        entropy=entropy,
        now=now,
        extensions=plan.extensions,
    )
    return build_commit(
        founder,
        (PreSharedKey(plan.psk), *(Add(package) for package in key_packages)),
        force_path=True,
        credential=None,
        psks={},
        parent=(plan.psk, parent.secrets.resumption_psk),
        entropy=entropy,
    )


# Proposals from outside


def propose_to_join(group_id: bytes, epoch: int, bundle: KeyPackageBundle, signature_key: SignatureKey) -> bytes:
    """Ask to be added: an external Add proposal, to be included in a member's commit (RFC 9420 12.1.8).

    Raises:
        InvalidArgument: the KeyPackage belongs to another signature key.
    """
    if bundle.key_package.leaf_node.signature_key != signature_key.public:
        raise InvalidArgument("the signature key is not the KeyPackage's")
    sender = Sender(sender_type=SenderType.NEW_MEMBER_PROPOSAL)
    content = FramedContent.of(group_id, epoch, sender=sender, content=Add(bundle.key_package))
    signature = sign_content(signature_key, WireFormat.PUBLIC_MESSAGE, content, b"")
    message = PublicMessage(content=content, auth=AuthData(signature=signature), membership_tag=None)
    return envelope(WireFormat.PUBLIC_MESSAGE, message.encode())


# External commit


def join_externally(
    group_info: bytes,
    signature_key: SignatureKey,
    identity: bytes,
    *,
    entropy: Entropy,
    remove_old_leaf: int | None,
    tree: RatchetTree | None,
) -> CommitOutcome:
    """Make the commit by which an outsider joins (RFC 9420 12.4.3.2), and the state it would lead to.

    Raises:
        InvalidArgument: `remove_old_leaf` is blank.
        PeerError: the GroupInfo or its tree is not valid, or offers no external key.
    """
    wire_format, body = open_envelope(group_info)
    if wire_format is not WireFormat.GROUP_INFO:
        raise DecodeError("not a GroupInfo")
    info = decode(body, GroupInfo.read)
    found = _verified_tree(info, tree)
    external_public_key = info.external_public_key()
    if external_public_key is None:
        raise InvalidGroupInfo("a GroupInfo that offers no external key")
    check_public_key(external_public_key)
    if remove_old_leaf is not None and found.leaf(remove_old_leaf) is None:
        raise InvalidArgument(f"no member at leaf {remove_old_leaf}")
    kem_output, init_secret = hpke_export_sender(external_public_key, EXTERNAL_INIT_LABEL, entropy)
    items: tuple[Proposal, ...] = (ExternalInit(kem_output),)
    if remove_old_leaf is not None:
        items = (*items, Remove(remove_old_leaf))
    return _external_commit(info, found, items, init_secret, key=signature_key, identity=identity, entropy=entropy)


def _external_commit(
    info: GroupInfo,
    tree: RatchetTree,
    items: tuple[Proposal, ...],
    init_secret: bytes,
    *,
    key: SignatureKey,
    identity: bytes,
    entropy: Entropy,
) -> CommitOutcome:
    context = info.context
    sorted_items = sort_external_proposals(items, tree=tree)
    applied = apply_proposals(sorted_items, tree, group_id=context.group_id, extensions=context.extensions)
    own_leaf = applied.tree.first_blank_leaf()
    applied.tree.reserve_leaf(own_leaf)
    try:
        make_leaf = leaf_maker(key, basic_credential(identity), (context.group_id, own_leaf))
        path = create_path(applied.tree, own_leaf, make_leaf, entropy)
        check_leaf_node(
            path.leaf_node, applied.tree, place=(context.group_id, own_leaf), group_extensions=context.extensions
        )
    except InvalidLeafNode as error:
        raise InvalidArgument(f"the group does not take our leaf: {error}") from error
    draft = draft_commit(
        context,
        applied,
        items,
        sender=Sender(sender_type=SenderType.NEW_MEMBER_COMMIT),
        interim=interim_transcript_hash(context.confirmed_transcript_hash, info.confirmation_tag),
        init_secret=init_secret,
        psks=psk_contribution([], {}, {}),
        path=path,
        key=key,
        entropy=entropy,
    )
    state = enter_epoch(
        draft.epoch,
        applied.tree,
        own_leaf=own_leaf,
        private_keys=path.secrets.private_keys,
        signature_key=key,
        past_resumption_psks={},
    )
    message = PublicMessage(content=draft.message.content, auth=draft.message.auth, membership_tag=None)
    joined = member_of(own_leaf, path.leaf_node)
    removed = [member_of(index, leaf) for index in sorted_items.removes if (leaf := tree.leaf(index)) is not None]
    return CommitOutcome(
        state=state,
        message=envelope(WireFormat.PUBLIC_MESSAGE, message.encode()),
        welcome=None,
        epoch=draft.epoch.context.epoch,
        committer=joined,
        added=[joined],
        removed=removed,
        updated=[],
    )
