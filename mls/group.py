"""A member's group: the package's front door (RFC 9420 11, 12, 15).

    create ──────────┐                      protect, unprotect     application messages of this epoch
    join (Welcome) ──┼─▶ Group of epoch n ─ commit ──────────────▶ StagedCommit ─ merge ─▶ Group of epoch n + 1
    join_external ───┘                      process_commit ──────▶ StagedCommit ─ merge ─▶      "

A `Group` belongs to one epoch for ever. Messages advance its ratchets; nothing else changes. Whoever merges a staged commit
gets a new `Group` and drops the old one, with its keys. Only the current epoch decrypts: the room's log orders everything,
so there are no late messages.

Nothing here blocks, reads a clock or draws randomness: `now` (seconds since 1970) and `entropy` are arguments. Every error
leaves the group as it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from mls.codec import decode
from mls.commit import CommitOutcome, MayReplace, build_commit, follow_commit, same_identity
from mls.crypto import Entropy, SignatureKey
from mls.errors import DecodeError, GroupClosed, InvalidArgument, OwnCommit
from mls.framing import (
    AuthData,
    ContentType,
    FramedContent,
    PrivateMessage,
    PublicMessage,
    Sender,
    SenderType,
    WireFormat,
    envelope,
    open_envelope,
)
from mls.joining import create_group, found_successor, join_by_welcome, join_externally
from mls.key_packages import KeyPackageBundle, basic_credential, open_key_packages
from mls.limits import MESSAGE_BYTES_MAX
from mls.nodes import Extension, LeafNodeSource
from mls.proposals import (
    Add,
    Commit,
    ExternalInit,
    GroupContextExtensions,
    Proposal,
    ProposalReference,
    Remove,
    Update,
)
from mls.protection import membership_tag, ratchet_of, seal_private, sign_content
from mls.ratchet_tree import RatchetTree
from mls.receiving import check_target, receive, receive_private, remember_proposal
from mls.secret_tree import RatchetType
from mls.signed import SignedMessage
from mls.staged import restore_outcome, store_outcome
from mls.state import GroupState, Member, member_of

__all__ = ["ApplicationMessage", "Group", "StagedCommit", "StagedGroup"]

_NO_KEYS: Final[Mapping[bytes, bytes]] = {}


class ApplicationMessage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a member sent. `generation` counts the sender's messages of the epoch from 0; it is used once.

    `signed` shows to anybody that the sender sent it.
    """

    sender: Member
    epoch: int
    generation: int
    authenticated_data: bytes
    plaintext: bytes
    signed: SignedMessage


def _read_tree(encoded: bytes | None) -> RatchetTree | None:
    return None if encoded is None else decode(encoded, RatchetTree.read)


class Group:
    """One member's view of a group in one epoch."""

    __slots__ = ("_state",)

    def __init__(self, state: GroupState) -> None:
        self._state = state

    # Beginnings

    @classmethod
    def create(
        cls,
        group_id: bytes,
        signature_key: SignatureKey,
        identity: bytes,
        *,
        entropy: Entropy,
        now: int,
        extensions: tuple[Extension, ...] = (),
    ) -> Group:
        """Begin a group with ourselves as its only member, in epoch 0 (RFC 9420 11)."""
        return cls(create_group(group_id, signature_key, identity, entropy=entropy, now=now, extensions=extensions))

    @classmethod
    def join(
        cls,
        welcome: bytes,
        bundle: KeyPackageBundle,
        signature_key: SignatureKey,
        now: int,
        *,
        ratchet_tree: bytes | None = None,
        psks: Mapping[bytes, bytes] = _NO_KEYS,
        resumption: Mapping[tuple[bytes, int], bytes] | None = None,
        parent: Group | None = None,
    ) -> Group:
        """Join by a Welcome (RFC 9420 12.4.3.1).

        Args:
            welcome: an MLSMessage.
            bundle: our KeyPackage that was used; delete it afterwards.
            signature_key: the key of that KeyPackage.
            now: seconds since 1970. Not judged by: whoever added us did (RFC 9420 7.3).
            ratchet_tree: the encoded tree, if the Welcome does not carry it.
            psks: external pre-shared keys by id.
            resumption: resumption secrets by (group id, epoch).
            parent: the group that this one must continue (see `succeed`); no other is joined then.

        Raises:
            NotForUs: no secrets for this KeyPackage.
            PeerError: the Welcome or the tree is not valid.
        """
        del now
        return cls(
            join_by_welcome(
                welcome,
                bundle,
                signature_key,
                tree=_read_tree(ratchet_tree),
                psks=psks,
                resumption=resumption or {},
                parent=None if parent is None else parent._state,  # noqa: SLF001 - of this very class
            )
        )

    @classmethod
    def join_external(
        cls,
        group_info: bytes,
        signature_key: SignatureKey,
        identity: bytes,
        *,
        entropy: Entropy,
        now: int,
        remove_old_leaf: int | None = None,
        ratchet_tree: bytes | None = None,
    ) -> tuple[StagedGroup, bytes]:
        """Prepare to join from outside, with a commit of our own (RFC 9420 12.4.3.2).

        Args:
            group_info: an MLSMessage with the external key.
            signature_key: our key, which must not be in the group (except at `remove_old_leaf`).
            identity: content of our basic credential.
            entropy: source of randomness.
            now: seconds since 1970. An external committer's leaf carries no lifetime, so it is not used.
            remove_old_leaf: an older leaf of our own, to go by the same commit.
            ratchet_tree: the encoded tree, if the GroupInfo does not carry it.

        Returns:
            The staged group, to be merged only when the log shows the commit; and the commit's bytes.

        Raises:
            InvalidArgument: `remove_old_leaf` is blank, or our keys are in the group already.
            PeerError: the GroupInfo or the tree is not valid.
        """
        del now
        outcome = join_externally(
            group_info,
            signature_key,
            identity,
            entropy=entropy,
            remove_old_leaf=remove_old_leaf,
            tree=_read_tree(ratchet_tree),
        )
        return StagedCommit(outcome), outcome.message

    # Facts

    @property
    def group_id(self) -> bytes:
        """Name of the group, the same in all epochs."""
        return self._state.context.group_id

    @property
    def epoch(self) -> int:
        """Number of this epoch."""
        return self._state.context.epoch

    @property
    def own_leaf_index(self) -> int:
        """Our leaf."""
        return self._state.own_leaf

    @property
    def has_committed(self) -> bool:
        """Tell whether our leaf is of a commit of our own; others seal each path to it one by one until then."""
        leaf = self._state.tree.leaf(self._state.own_leaf)
        return leaf is not None and leaf.source is LeafNodeSource.COMMIT

    @property
    def epoch_authenticator(self) -> bytes:
        """Equal for two members iff they agree on everything so far: 32 bytes (RFC 9420 8.7)."""
        return self._state.secrets.epoch_authenticator

    @property
    def tree_hash(self) -> bytes:
        """Hash of all members and keys, 32 bytes (RFC 9420 7.8)."""
        return self._state.context.tree_hash

    @property
    def extensions(self) -> tuple[Extension, ...]:
        """What the group agreed on beside its members (RFC 9420 13.4)."""
        return self._state.context.extensions

    @property
    def is_reinitialised(self) -> bool:
        """Tell whether a ReInit ended this group: then it takes no more messages (RFC 9420 12.4.2)."""
        return self._state.reinit is not None

    def members(self) -> list[Member]:
        """All members, by leaf index."""
        return [member_of(index, leaf) for index, leaf in self._state.tree.leaves()]

    def member(self, leaf_index: int) -> Member | None:
        """The member at a leaf, if any."""
        leaf = self._state.tree.leaf(leaf_index)
        return None if leaf is None else member_of(leaf_index, leaf)

    def export(self, label: str, context: bytes, length: int) -> bytes:
        """Derive a secret of `length` bytes (at most 8,160) that all members of this epoch share (RFC 9420 8.5).

        Raises:
            InvalidArgument: the length is out of range.
        """
        return self._state.secrets.export(label, context, length)

    def group_info(self, *, with_external_pub: bool = True, with_tree: bool = True) -> bytes:
        """Describe this epoch to newcomers, signed by us: an MLSMessage (RFC 9420 12.4.3)."""
        info = self._state.group_info(with_tree=with_tree, with_external_pub=with_external_pub)
        return envelope(WireFormat.GROUP_INFO, info.encode())

    def ratchet_tree(self) -> bytes:
        """The encoded tree, for newcomers whose GroupInfo does not carry it (RFC 9420 12.4.3.3)."""
        return self._state.tree.encode()

    # Messages

    def protect(
        self, plaintext: bytes, authenticated_data: bytes = b"", *, entropy: Entropy, padding_bytes: int = 0
    ) -> bytes:
        """Encrypt and sign an application message: an MLSMessage, 146 bytes longer than the text (RFC 9420 6.3).

        The key is used up at once: store `ratchet_state()` before sending, so that no key is ever used twice.

        Args:
            plaintext: the message.
            authenticated_data: readable by everybody on the way, but not changeable.
            entropy: source of randomness.
            padding_bytes: zero bytes to add, so that the size says less.

        Raises:
            GroupClosed: the group was re-initialised.
            InvalidArgument: the message would be too long.
            GenerationTooFar: our keys of this epoch are exhausted; commit first.
        """
        state = self._state
        if state.reinit is not None:
            raise GroupClosed("the group was re-initialised")
        if len(plaintext) + len(authenticated_data) + padding_bytes > MESSAGE_BYTES_MAX // 2 or padding_bytes < 0:
            raise InvalidArgument("a message that is too long")
        content = FramedContent.of(
            state.context.group_id,
            state.context.epoch,
            sender=Sender(sender_type=SenderType.MEMBER, index=state.own_leaf),
            content=plaintext,
            authenticated_data=authenticated_data,
        )
        signature = sign_content(state.signature_key, WireFormat.PRIVATE_MESSAGE, content, state.context_bytes)
        sealed = seal_private(
            content,
            AuthData(signature=signature),
            sender_data_secret=state.secrets.sender_data_secret,
            message_key=state.secret_tree.next_key(state.own_leaf, RatchetType.APPLICATION),
            entropy=entropy,
            padding_bytes=padding_bytes,
        )
        return envelope(WireFormat.PRIVATE_MESSAGE, sealed.encode())

    def unprotect(self, message: bytes) -> ApplicationMessage:
        """Decrypt and verify an application message; its key is deleted, so it works once (RFC 9420 6.3, 9.2).

        Raises:
            OwnMessage: it carries our own leaf (a claim nobody has checked): we cannot decrypt what we sent.
            Replayed: it was decrypted before.
            WrongEpoch: it is of another epoch.
            PeerError: it is malformed, for another group, or not authentic.
        """
        state = self._state
        wire_format, body = open_envelope(message)
        if wire_format is not WireFormat.PRIVATE_MESSAGE:
            raise DecodeError("not an encrypted message")
        private = decode(body, PrivateMessage.read)
        check_target(state, private.group_id, private.epoch)
        if private.content_type is not ContentType.APPLICATION:
            raise DecodeError("not an application message")
        received = receive_private(state, private)
        content, key = received.message.content, received.message_key
        leaf = state.tree.leaf(content.sender.index)
        assert key is not None, "encrypted messages have a key"
        assert leaf is not None, "the sender's signature was just verified"
        assert isinstance(content.content, bytes), "the content type was compared above"
        # Only now: a forged message must not use up its alleged sender's keys.
        state.secret_tree.consume(content.sender.index, RatchetType.APPLICATION, key)
        return ApplicationMessage(
            sender=member_of(content.sender.index, leaf),
            epoch=private.epoch,
            generation=key.generation,
            authenticated_data=private.authenticated_data,
            plaintext=content.content,
            signed=SignedMessage(
                content.encoded, state.context_bytes, received.message.auth.signature, leaf.signature_key
            ),
        )

    # Proposals

    def process_proposal(self, message: bytes) -> bytes:
        """Verify a proposal and keep it for a later commit of this epoch; returns its 32-byte reference.

        Raises:
            LimitExceeded: too many are kept already.
            PeerError: it is malformed, for another group or epoch, or not authentic.
        """
        received = receive(self._state, message)
        reference = remember_proposal(self._state, received.message)
        if received.message_key is not None:
            sender = received.message.content.sender.index
            self._state.secret_tree.consume(sender, ratchet_of(ContentType.PROPOSAL), received.message_key)
        return reference

    def propose(self, proposal: Proposal) -> bytes:
        """Propose a change to whoever commits next: a PublicMessage in an MLSMessage (RFC 9420 12.1).

        Give it to `process_proposal` too, if we ourselves may be the one who commits.

        Raises:
            InvalidArgument: an Update or an ExternalInit, which this package only receives.
        """
        if isinstance(proposal, Update | ExternalInit):
            raise InvalidArgument("renew your keys with a commit instead")
        state = self._state
        sender = Sender(sender_type=SenderType.MEMBER, index=state.own_leaf)
        content = FramedContent.of(state.context.group_id, state.context.epoch, sender=sender, content=proposal)
        signature = sign_content(state.signature_key, WireFormat.PUBLIC_MESSAGE, content, state.context_bytes)
        auth = AuthData(signature=signature)
        tag = membership_tag(state.secrets.membership_key, content, auth, state.context_bytes)
        return envelope(
            WireFormat.PUBLIC_MESSAGE, PublicMessage(content=content, auth=auth, membership_tag=tag).encode()
        )

    def pending_proposals(self) -> dict[bytes, tuple[Proposal, int | None]]:
        """Kept proposals by reference, each with its sender's leaf (None for outsiders)."""
        return {reference: (kept.proposal, kept.sender) for reference, kept in self._state.proposals.items()}

    # Commits

    def commit(
        self,
        *,
        add: Sequence[bytes] = (),
        remove: Sequence[int] = (),
        references: Sequence[bytes] = (),
        proposals: Sequence[Proposal] = (),
        extensions: tuple[Extension, ...] | None = None,
        identity: bytes | None = None,
        force_path: bool = True,
        psks: Mapping[bytes, bytes] = _NO_KEYS,
        entropy: Entropy,
        now: int,
    ) -> StagedCommit:
        """Make a commit; the group stays in this epoch (RFC 9420 12.4.1). Without proposals it renews our keys.

        Args:
            add: KeyPackages of newcomers, as MLSMessages.
            remove: leaves of members to remove; not our own.
            references: kept proposals to include, by reference.
            proposals: other proposals.
            extensions: the group's new extensions, replacing all.
            identity: our new identity, if it changes; members must be willing (see `process_commit`).
            force_path: renew our keys even where only additions would not need it.
            psks: external pre-shared keys by id, for proposals that name them.
            entropy: source of randomness.
            now: seconds since 1970, by which KeyPackages must be valid.

        Raises:
            InvalidArgument: a leaf to remove is blank or our own.
            GroupClosed: the group was re-initialised.
            PeerError: a KeyPackage or proposal is not valid.
        """
        state = self._state
        for leaf_index in remove:
            if leaf_index == state.own_leaf or state.tree.leaf(leaf_index) is None:
                raise InvalidArgument(f"leaf {leaf_index} is blank or our own")
        key_packages = open_key_packages(add, now)
        changes = () if extensions is None else (GroupContextExtensions(extensions),)
        items = (
            *(ProposalReference(reference) for reference in references),
            *changes,
            *(Remove(leaf_index) for leaf_index in remove),
            *(Add(key_package) for key_package in key_packages),
            *proposals,
        )
        credential = None if identity is None else basic_credential(identity)
        return StagedCommit(
            build_commit(state, items, force_path=force_path, credential=credential, psks=psks, entropy=entropy)
        )

    def succeed(
        self, add: Sequence[bytes], *, branch_id: bytes | None = None, entropy: Entropy, now: int
    ) -> StagedCommit:
        """Found the group that continues this one: its successor after a ReInit, or a branch (RFC 9420 11.2, 11.3).

        Args:
            add: KeyPackages of the other members, as MLSMessages: of all for a successor, of some for a branch.
            branch_id: the branch's group id; None for the successor that the ReInit announced.
            entropy: source of randomness.
            now: seconds since 1970, by which KeyPackages must be valid.

        Returns:
            The new group's first commit. Only its Welcome matters, to be joined with `join(..., parent=this group)`.

        Raises:
            LocalError: no ReInit closed this group (or one did, for a branch), or others than its members are added.
            PeerError: a KeyPackage is not valid, or the ReInit asks for another cipher suite.
        """
        packages = open_key_packages(add, now)
        return StagedCommit(found_successor(self._state, packages, branch_id=branch_id, entropy=entropy, now=now))

    def process_commit(
        self,
        message: bytes,
        now: int,
        *,
        psks: Mapping[bytes, bytes] = _NO_KEYS,
        may_replace: MayReplace = same_identity,
    ) -> StagedCommit:
        """Verify somebody else's commit and work out what it leads to; the group stays in this epoch (RFC 9420 12.4.2).

        Args:
            message: an MLSMessage with a public or private commit, of a member or a newcomer.
            now: seconds since 1970. Not judged by: all members must judge alike, whatever their clocks say.
            psks: external pre-shared keys by id.
            may_replace: whether a new leaf (second) may stand for the member at an old one (first): asked for the
                committer's own leaf, for Update proposals, and for the leaf an external committer removes.

        Raises:
            OwnCommit: it is ours; merge the pending one.
            WrongEpoch: it is of another epoch.
            PeerError: it is malformed, not authentic, breaks a rule, or we cannot follow it.
        """
        del now
        received = receive(self._state, message)
        content = received.message.content
        if not isinstance(content.content, Commit):
            raise DecodeError("not a commit")
        if content.sender.sender_type is SenderType.MEMBER and content.sender.index == self._state.own_leaf:
            raise OwnCommit("our own commit")
        return StagedCommit(follow_commit(self._state, received.message, message, psks=psks, may_replace=may_replace))

    # Storing

    def epoch_state(self) -> bytes:
        """Encode what only a commit changes: the tree, the context, keys. Secret; without the signature key."""
        return self._state.epoch_part()

    def ratchet_state(self) -> bytes:
        """Encode what every message changes: small, secret, and never to be restored from an older copy."""
        return self._state.ratchet_part()

    @classmethod
    def restore(cls, epoch_state: bytes, ratchet_state: bytes, signature_key: SignatureKey) -> Group:
        """Put both stored parts together.

        Raises:
            StateCorrupt: a part is malformed, they are of different epochs, or the signature key is another member's.
        """
        return cls(GroupState.restore(epoch_state, ratchet_state, signature_key))


class StagedCommit:
    """What a commit leads to, before anybody decided on it. The group it came from has not changed."""

    __slots__ = ("_group_info", "_outcome")

    def __init__(self, outcome: CommitOutcome) -> None:
        self._outcome = outcome
        self._group_info: bytes | None = None

    @property
    def commit(self) -> bytes:
        """The commit itself: an MLSMessage."""
        return self._outcome.message

    @property
    def welcome(self) -> bytes | None:
        """The Welcome for everybody our commit adds (an MLSMessage); None if it adds nobody or is not ours."""
        return self._outcome.welcome

    @property
    def epoch(self) -> int:
        """The epoch it leads to."""
        return self._outcome.epoch

    @property
    def committer(self) -> Member:
        """Who made it, as it stands in the new epoch; a newcomer, for an external commit."""
        return self._outcome.committer

    @property
    def added(self) -> list[Member]:
        """Who comes in, at their new leaves; for an external commit, the committer."""
        return self._outcome.added

    @property
    def removed(self) -> list[Member]:
        """Who goes, at their old leaves."""
        return self._outcome.removed

    @property
    def updated(self) -> list[Member]:
        """Whose leaf an Update proposal replaces, as they stand in the new epoch."""
        return self._outcome.updated

    @property
    def self_removed(self) -> bool:
        """Tell whether it removes us: then there is nothing to merge."""
        return self._outcome.state is None

    @property
    def group(self) -> Group:
        """The group in the new epoch; look, export, but send nothing before the commit won. `GroupClosed` if we go."""
        return Group(self._state())

    @property
    def group_info(self) -> bytes:
        """Signed GroupInfo of the new epoch with tree and external key: an MLSMessage.

        Raises:
            GroupClosed: the commit removes us.
        """
        if self._group_info is None:
            self._group_info = envelope(WireFormat.GROUP_INFO, self._state().group_info().encode())
        return self._group_info

    def merge(self) -> Group:
        """Take the step: the group in the new epoch. Drop the old group afterwards.

        Raises:
            GroupClosed: the commit removes us.
        """
        return self.group

    def _state(self) -> GroupState:
        if self._outcome.state is None:
            raise GroupClosed("this commit removes us")
        return self._outcome.state

    def to_bytes(self) -> bytes:
        """Encode everything but the signature key, for storing. Holds secrets of the new epoch.

        Delete it in the same transaction that stores the merged group: merging it again later would use keys twice.
        """
        return store_outcome(self._outcome)

    @classmethod
    def from_bytes(cls, stored: bytes, signature_key: SignatureKey) -> StagedCommit:
        """Decode what `to_bytes` gave.

        Raises:
            StateCorrupt: it is something else, or the signature key is another member's.
        """
        return cls(restore_outcome(stored, signature_key))


StagedGroup = StagedCommit
"""An external join on its way: the same thing, seen by a newcomer."""
