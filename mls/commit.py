"""Making a commit and following somebody else's (RFC 9420 12.4.1, 12.4.2).

Both work on copies and return what would be: the old state is untouched whether they succeed or fail. `mls.group` hands the
result out as a staged commit, to be merged when the room's log shows that this commit won.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from mls import tree_math
from mls.crypto import ZERO, Entropy, KeyPair, SignatureKey, hpke_export_receiver, macs_equal
from mls.epoch import NextEpoch, enter_epoch, next_epoch, provisional_context, psk_contribution
from mls.errors import GroupClosed, InvalidCommit, InvalidProposal
from mls.framing import (
    AuthData,
    AuthenticatedContent,
    FramedContent,
    PublicMessage,
    Sender,
    SenderType,
    WireFormat,
    envelope,
)
from mls.key_packages import key_package_reference
from mls.key_schedule import GroupContext, PreSharedKeyID
from mls.nodes import Credential, Extension, LeafNode, sign_leaf_node
from mls.proposal_list import (
    AppliedProposals,
    SortedProposals,
    apply_proposals,
    sort_external_proposals,
    sort_proposals,
)
from mls.proposals import Commit, KeyPackage, Proposal, ProposalReference
from mls.protection import membership_tag, sign_content
from mls.ratchet_tree import RatchetTree
from mls.state import GroupState, Member, PublicState, member_of
from mls.tree_kem import NewPath, create_path, merge, open_path, seal_path
from mls.tree_validation import check_leaf_node
from mls.welcome import GroupSecrets, seal_welcome

__all__ = [
    "EXTERNAL_INIT_LABEL",
    "CommitOutcome",
    "Followed",
    "MayReplace",
    "build_commit",
    "follow_commit",
    "follow_publicly",
    "same_identity",
]

EXTERNAL_INIT_LABEL = b"MLS 1.0 external init secret"

MayReplace = Callable[[Member, Member], bool]
"""Whether a new leaf (second) may stand for the member at an old one (first).

Asked for every leaf that a commit replaces: the committer's own, those of Update proposals, and the one that an external
joiner removes as its older self. Without this question a member could commit itself into another identity."""


def same_identity(old: Member, new: Member) -> bool:
    """Default answer to "may this leaf stand for that member": only under the very same identity."""
    return old.identity == new.identity


class CommitOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a commit would change. `state` is None iff it removes us."""

    state: GroupState | None
    message: bytes
    welcome: bytes | None
    epoch: int
    committer: Member
    added: list[Member]
    removed: list[Member]
    updated: list[Member]


def _members(tree: RatchetTree, leaf_indices: Sequence[int]) -> list[Member]:
    return [member_of(index, leaf) for index in leaf_indices if (leaf := tree.leaf(index)) is not None]


def resolve_proposals(
    state: PublicState, items: Sequence[Proposal | ProposalReference], committer: int
) -> list[tuple[Proposal, int | None]]:
    """Look references up and name the sender of each proposal.

    Raises:
        InvalidProposal: a reference to a proposal that this member never saw.
    """
    found: list[tuple[Proposal, int | None]] = []
    for item in items:
        if isinstance(item, ProposalReference):
            cached = state.proposals.get(item.reference)
            if cached is None:
                raise InvalidProposal("a reference to an unknown proposal")
            found.append((cached.proposal, cached.sender))
        else:
            found.append((item, committer))
    return found


def _contribution(
    state: GroupState,
    found: SortedProposals,
    psks: Mapping[bytes, bytes],
    parent: tuple[PreSharedKeyID, bytes] | None = None,
) -> bytes:
    own = {(state.context.group_id, epoch): secret for epoch, secret in state.resumption_psks.items()}
    if parent is not None:
        own[parent[0].psk_group_id, parent[0].psk_epoch] = parent[1]
    return psk_contribution(found.psks, psks, own)


# Making


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A commit of ours with the epoch it leads to."""

    message: AuthenticatedContent
    epoch: NextEpoch
    path: NewPath | None


def leaf_maker(
    key: SignatureKey, credential: Credential, place: tuple[bytes, int], extensions: tuple[Extension, ...] = ()
) -> Callable[[bytes, bytes], LeafNode]:
    """How to sign our leaf node once its key and parent hash are known."""

    def make(encryption_key: bytes, above: bytes) -> LeafNode:
        return sign_leaf_node(
            key, credential, encryption_key=encryption_key, parent_hash=above, place=place, extensions=extensions
        )

    return make


def draft_commit(
    base: GroupContext,
    applied: AppliedProposals,
    items: tuple[Proposal | ProposalReference, ...],
    *,
    sender: Sender,
    interim: bytes,
    init_secret: bytes,
    psks: bytes,
    path: NewPath | None,
    key: SignatureKey,
    entropy: Entropy,
) -> Draft:
    """Sign a commit of proposals that were applied, and of a path that is in the tree already."""
    provisional = provisional_context(base, applied.tree, applied.extensions)
    sealed = None
    if path is not None:
        sealed = seal_path(path, applied.tree, context=provisional.encode(), added=applied.added, entropy=entropy)
    content = FramedContent.of(base.group_id, base.epoch, sender=sender, content=Commit(proposals=items, path=sealed))
    signature = sign_content(key, WireFormat.PUBLIC_MESSAGE, content, base.encode())
    unconfirmed = AuthenticatedContent(
        wire_format=WireFormat.PUBLIC_MESSAGE, content=content, auth=AuthData(signature=signature)
    )
    epoch = next_epoch(
        provisional,
        interim=interim,
        confirmed_input=unconfirmed.confirmed_transcript_input(),
        init_secret=init_secret,
        commit_secret=ZERO if path is None else path.secrets.commit_secret,
        psks=psks,
    )
    auth = AuthData(signature=signature, confirmation_tag=epoch.confirmation_tag)
    message = AuthenticatedContent(wire_format=WireFormat.PUBLIC_MESSAGE, content=content, auth=auth)
    return Draft(message=message, epoch=epoch, path=path)


def _sorted_own(
    state: GroupState, items: Sequence[Proposal | ProposalReference], founding: PreSharedKeyID | None
) -> SortedProposals:
    proposals = resolve_proposals(state, items, state.own_leaf)
    return sort_proposals(proposals, committer=state.own_leaf, tree=state.tree, founding=founding)


def build_commit(
    state: GroupState,
    items: tuple[Proposal | ProposalReference, ...],
    *,
    force_path: bool,
    credential: Credential | None,
    psks: Mapping[bytes, bytes],
    parent: tuple[PreSharedKeyID, bytes] | None = None,
    entropy: Entropy,
) -> CommitOutcome:
    """Make a commit of our own, with the Welcome for those it adds; `parent` begins a group (see `mls.succession`).

    Raises:
        GroupClosed: the group was re-initialised.
        PeerError: a proposal or a KeyPackage in the list is not valid.
    """
    if state.reinit is not None:
        raise GroupClosed("the group was re-initialised")
    own = state.tree.leaf(state.own_leaf)
    assert own is not None, "a member's own leaf is never blank"
    group_id = state.context.group_id
    found = _sorted_own(state, items, None if parent is None else parent[0])
    applied = apply_proposals(found, state.tree, group_id=group_id, extensions=state.context.extensions)
    path = None
    if force_path or found.path_required or credential is not None:
        place = (group_id, state.own_leaf)
        make_leaf = leaf_maker(state.signature_key, credential or own.credential, place, own.extensions)
        path = create_path(applied.tree, state.own_leaf, make_leaf, entropy)
    draft = draft_commit(
        state.context,
        applied,
        items,
        sender=Sender(sender_type=SenderType.MEMBER, index=state.own_leaf),
        interim=state.interim_transcript_hash,
        init_secret=state.secrets.init_secret,
        psks=_contribution(state, found, psks, parent),
        path=path,
        key=state.signature_key,
        entropy=entropy,
    )
    new_keys = {} if path is None else path.secrets.private_keys
    new_state = enter_epoch(
        draft.epoch,
        applied.tree,
        own_leaf=state.own_leaf,
        private_keys={**state.private_keys, **new_keys},
        signature_key=state.signature_key,
        past_resumption_psks=state.resumption_psks,
    )
    new_state.reinit = found.reinit
    return CommitOutcome(
        state=new_state,
        message=_public_message(state, draft.message),
        welcome=_welcome(new_state, draft, found, applied.added, entropy),
        epoch=draft.epoch.context.epoch,
        committer=_members(applied.tree, [state.own_leaf])[0],
        added=_members(applied.tree, applied.added),
        removed=_members(state.tree, found.removes),
        updated=_members(applied.tree, [index for index, _ in found.updates]),
    )


def _public_message(state: GroupState, message: AuthenticatedContent) -> bytes:
    tag = membership_tag(state.secrets.membership_key, message.content, message.auth, state.context_bytes)
    public = PublicMessage(content=message.content, auth=message.auth, membership_tag=tag)
    return envelope(WireFormat.PUBLIC_MESSAGE, public.encode())


def _welcome(
    state: GroupState, draft: Draft, found: SortedProposals, added: list[int], entropy: Entropy
) -> bytes | None:
    if not added:
        return None

    def newcomer(key_package: KeyPackage, leaf_index: int) -> tuple[bytes, bytes, GroupSecrets]:
        meeting = tree_math.common_ancestor(2 * leaf_index, 2 * state.own_leaf)
        secrets = GroupSecrets(
            joiner_secret=draft.epoch.joiner_secret,
            path_secret=None if draft.path is None else draft.path.secret_at(meeting),
            psks=tuple(found.psks),
        )
        return key_package_reference(key_package), key_package.init_key, secrets

    newcomers = [newcomer(key_package, index) for key_package, index in zip(found.adds, added, strict=True)]
    info = state.group_info(with_external_pub=False)
    return envelope(WireFormat.WELCOME, seal_welcome(info, draft.epoch.joiner, newcomers, entropy).encode())


# Following


class Followed(msgspec.Struct, frozen=True, kw_only=True):
    """A commit whose public half is done: its proposals are in a new tree, and so are its path's public keys."""

    message: AuthenticatedContent
    commit: Commit
    found: SortedProposals
    applied: AppliedProposals
    sender: int
    committer: Member
    removed: list[Member]
    updated: list[Member]
    is_external: bool


def follow_commit(
    state: GroupState,
    message: AuthenticatedContent,
    encoded: bytes,
    *,
    psks: Mapping[bytes, bytes],
    may_replace: MayReplace,
) -> CommitOutcome:
    """Work out what somebody else's authentic commit changes.

    Raises:
        GroupClosed: the group was re-initialised.
        PeerError: the commit breaks a rule, or we cannot follow it.
    """
    if state.reinit is not None:
        raise GroupClosed("the group was re-initialised")
    followed = follow_publicly(state, message, may_replace=may_replace)
    applied, found = followed.applied, followed.found
    evicted = state.own_leaf in found.removes
    return CommitOutcome(
        state=None if evicted else _enter(state, followed, psks),
        message=encoded,
        welcome=None,
        epoch=state.context.epoch + 1,
        committer=followed.committer,
        added=[followed.committer] if followed.is_external else _members(applied.tree, applied.added),
        removed=followed.removed,
        updated=followed.updated,
    )


def follow_publicly(state: PublicState, message: AuthenticatedContent, *, may_replace: MayReplace) -> Followed:
    """Work out what an authentic commit makes of the tree: all that can be known without secrets.

    Raises:
        PeerError: the commit breaks a rule that outsiders can check.
    """
    commit, sender = message.content.content, message.content.sender
    assert isinstance(commit, Commit), "the caller compared the content type"
    is_external = sender.sender_type is SenderType.NEW_MEMBER_COMMIT
    if is_external:
        found = _sort_external(state, commit)
    else:
        proposals = resolve_proposals(state, commit.proposals, sender.index)
        found = sort_proposals(proposals, committer=sender.index, tree=state.tree)
    if commit.path is None and found.path_required:
        raise InvalidCommit("a commit without the path it needs")
    applied = apply_proposals(found, state.tree, group_id=state.context.group_id, extensions=state.context.extensions)
    leaf_index = applied.tree.first_blank_leaf() if is_external else sender.index
    if commit.path is not None:
        applied.tree.reserve_leaf(leaf_index)
        merge(applied.tree, leaf_index, commit.path, applied.added)
        place = (state.context.group_id, leaf_index)
        check_leaf_node(commit.path.leaf_node, applied.tree, place=place, group_extensions=applied.extensions)
    (committer,) = _members(applied.tree, [leaf_index])
    followed = Followed(
        message=message,
        commit=commit,
        found=found,
        applied=applied,
        sender=leaf_index,
        committer=committer,
        removed=_members(state.tree, found.removes),
        updated=_members(applied.tree, [index for index, _ in found.updates]),
        is_external=is_external,
    )
    _check_replacements(state, followed, may_replace)
    return followed


def _check_replacements(state: PublicState, followed: Followed, may_replace: MayReplace) -> None:
    replaced = followed.removed if followed.is_external else _members(state.tree, [followed.sender])
    replacements = [(old, followed.committer) for old in replaced]
    before = _members(state.tree, [member.leaf_index for member in followed.updated])
    replacements += zip(before, followed.updated, strict=True)
    if not all(may_replace(old, new) for old, new in replacements):
        raise InvalidCommit("a commit that puts one identity in another's place")


def _sort_external(state: PublicState, commit: Commit) -> SortedProposals:
    proposals = [item for item in commit.proposals if not isinstance(item, ProposalReference)]
    if len(proposals) != len(commit.proposals):
        raise InvalidProposal("an external commit with references")
    return sort_external_proposals(proposals, tree=state.tree)


def _enter(state: GroupState, followed: Followed, psks: Mapping[bytes, bytes]) -> GroupState:
    applied, found, message = followed.applied, followed.found, followed.message
    if any(index == state.own_leaf for index, _ in found.updates):
        raise InvalidProposal("an Update in our name that we never sent")
    provisional = provisional_context(state.context, applied.tree, applied.extensions)
    commit_secret, private_keys = ZERO, state.private_keys
    if followed.commit.path is not None:
        secrets = open_path(
            applied.tree,
            followed.sender,
            followed.commit.path,
            own_leaf=state.own_leaf,
            private_keys=_still_valid(state.private_keys, applied.tree),
            context=provisional.encode(),
            added=applied.added,
        )
        commit_secret, private_keys = secrets.commit_secret, {**private_keys, **secrets.private_keys}
    epoch = next_epoch(
        provisional,
        interim=state.interim_transcript_hash,
        confirmed_input=message.confirmed_transcript_input(),
        init_secret=_init_secret(state, found),
        commit_secret=commit_secret,
        psks=_contribution(state, found, psks),
    )
    if not macs_equal(epoch.confirmation_tag, message.auth.confirmation_tag or b""):
        raise InvalidCommit("a confirmation tag that is not this commit's")
    entered = enter_epoch(
        epoch,
        applied.tree,
        own_leaf=state.own_leaf,
        private_keys=private_keys,
        signature_key=state.signature_key,
        past_resumption_psks=state.resumption_psks,
    )
    entered.reinit = found.reinit
    return entered


def _still_valid(private_keys: dict[int, bytes], tree: RatchetTree) -> dict[int, bytes]:
    return {node: key for node, key in private_keys.items() if node < len(tree.nodes) and tree.nodes[node] is not None}


def _init_secret(state: GroupState, found: SortedProposals) -> bytes:
    if found.external_init is None:
        return state.secrets.init_secret
    pair: KeyPair = state.secrets.external_key_pair()
    return hpke_export_receiver(pair, EXTERNAL_INIT_LABEL, found.external_init.kem_output)
