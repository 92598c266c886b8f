"""Reading epochs that are over with what a member kept of them (e2ee.md 3.5).

    PublicGroup of epoch b ─ follow(commit) ─▶ PublicGroup of b + 1 ─ … ─▶ the context of our own group?
           └─ reader(EpochRecord) ─▶ EpochReader: decrypts, and checks the signature by the tree of that epoch

A `PublicGroup` is an epoch without secrets. Whoever is handed one follows the commits of the room's log with it; if that
leads to the very context of the group that they are in, then every commit on the way is the one that all members
applied: the transcript hash covers each of them, and each commit's signature covers the context of the epoch that it
ended, and with it the tree whose keys verify that epoch's messages. So neither the `PublicGroup` nor the records have to
come from somebody trusted: a false one leads elsewhere, decrypts nothing, or fails at a signature.

What only members can check of a commit (its path secrets, its confirmation tag) is not checked here.
"""

from __future__ import annotations

import msgspec

from mls.codec import decode
from mls.commit import MayReplace, follow_publicly
from mls.epoch import provisional_context
from mls.errors import DecodeError, InvalidTree
from mls.framing import (
    AuthenticatedContent,
    ContentType,
    PrivateMessage,
    PublicMessage,
    WireFormat,
    open_envelope,
)
from mls.group import ApplicationMessage, Group
from mls.key_schedule import GroupContext, confirmed_transcript_hash, interim_transcript_hash
from mls.proposals import Commit
from mls.protection import open_private, verify_content
from mls.ratchet_tree import RatchetTree
from mls.receiving import check_target, signer_key
from mls.secret_tree import RatchetType, SecretTree
from mls.signed import SignedMessage
from mls.state import PublicState, member_of
from mls.tree_validation import check_tree

__all__ = ["EpochReader", "EpochRecord", "PublicGroup", "record_of"]

_FORMAT = 1


class EpochRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What decrypts all messages of one epoch, and says who sent them: 32 bytes each. Forward secrecy ends where it is kept."""

    encryption_secret: bytes
    sender_data_secret: bytes


def record_of(group: Group) -> EpochRecord | None:
    """The record of a group's epoch; None as soon as any message was read or written in it: the keys are gone then."""
    state = group._state  # noqa: SLF001 - of this package
    secret = state.secret_tree.encryption_secret
    return None if secret is None else EpochRecord(secret, state.secrets.sender_data_secret)


class _StoredPublic(msgspec.Struct, array_like=True):
    format: int
    context: bytes
    tree: bytes
    confirmation_tag: bytes


class PublicGroup:
    """One epoch without its secrets."""

    __slots__ = ("_state",)

    def __init__(self, state: PublicState) -> None:
        self._state = state

    @classmethod
    def of(cls, group: Group) -> PublicGroup:
        """What is public of a member's group. Changes with the group's cached proposals."""
        return cls(group._state)  # noqa: SLF001 - of this package

    @property
    def group_id(self) -> bytes:
        """Name of the group."""
        return self._state.context.group_id

    @property
    def epoch(self) -> int:
        """Number of this epoch."""
        return self._state.context.epoch

    @property
    def context(self) -> bytes:
        """The encoded GroupContext (RFC 9420 8.1): equal for those in the same epoch, with the same members, who came there
        by the same commits.
        """
        return self._state.context_bytes

    def follow(self, commit: bytes, may_replace: MayReplace) -> PublicGroup:
        """The epoch that a commit (an MLSMessage) leads to, as far as it can be known from outside.

        Raises:
            PeerError: it is malformed, of another group or epoch, not signed by its sender, or breaks a rule.
        """
        state = self._state
        message = self._authentic(commit)
        if not isinstance(message.content.content, Commit):
            raise DecodeError("not a commit")
        followed = follow_publicly(state, message, may_replace=may_replace)
        provisional = provisional_context(state.context, followed.applied.tree, followed.applied.extensions)
        confirmed = confirmed_transcript_hash(state.interim_transcript_hash, message.confirmed_transcript_input())
        context = msgspec.structs.replace(provisional, confirmed_transcript_hash=confirmed)
        return PublicGroup(_public_state(context, followed.applied.tree, message.auth.confirmation_tag or b""))

    def _authentic(self, encoded: bytes) -> AuthenticatedContent:
        wire_format, body = open_envelope(encoded)
        if wire_format is not WireFormat.PUBLIC_MESSAGE:
            raise DecodeError("not a public handshake message")
        public = decode(body, PublicMessage.read)
        check_target(self._state, public.content.group_id, public.content.epoch)
        if isinstance(public.content.content, bytes):
            raise DecodeError("application data that is not encrypted")
        message = AuthenticatedContent(wire_format=WireFormat.PUBLIC_MESSAGE, content=public.content, auth=public.auth)
        verify_content(signer_key(self._state, message), message, self._state.context_bytes)
        return message

    def reader(self, record: EpochRecord) -> EpochReader:
        """Read this epoch's messages. Each reader takes each message once."""
        return EpochReader(self._state, record)

    def encode(self) -> bytes:
        """Encode for storing or handing on; about 250 bytes per member, and 30 for each inner node."""
        state = self._state
        stored = _StoredPublic(_FORMAT, state.context_bytes, state.tree.encode(), state.confirmation_tag)
        return msgspec.msgpack.encode(stored)

    @classmethod
    def decode(cls, encoded: bytes) -> PublicGroup:
        """Decode what `encode` gave, and check that the tree is valid in itself. It may still be of no group at all.

        Raises:
            PeerError: malformed, or a tree that no group can have.
        """
        try:
            stored = msgspec.msgpack.decode(encoded, type=_StoredPublic)
        except msgspec.MsgspecError as error:
            raise DecodeError("not an encoded public group") from error
        if stored.format != _FORMAT:
            raise DecodeError("a public group of another version")
        context, tree = decode(stored.context, GroupContext.read), decode(stored.tree, RatchetTree.read)
        if tree.tree_hash() != context.tree_hash:
            raise InvalidTree("a tree that is not the one in the group context")
        check_tree(tree, context.group_id, context.extensions)
        return cls(_public_state(context, tree, stored.confirmation_tag))


def _public_state(context: GroupContext, tree: RatchetTree, confirmation_tag: bytes) -> PublicState:
    return PublicState(
        context=context,
        context_bytes=context.encode(),
        tree=tree,
        confirmation_tag=confirmation_tag,
        interim_transcript_hash=interim_transcript_hash(context.confirmed_transcript_hash, confirmation_tag),
        proposals={},
    )


class EpochReader:
    """The messages of one epoch that is over. Made by `PublicGroup.reader`."""

    __slots__ = ("_record", "_secret_tree", "_state")

    def __init__(self, state: PublicState, record: EpochRecord) -> None:
        self._state = state
        self._record = record
        self._secret_tree = SecretTree(record.encryption_secret, state.tree.leaf_count)

    def unprotect(self, message: bytes) -> ApplicationMessage:
        """Decrypt an application message and verify its sender's signature; works once for each.

        Raises:
            Replayed: it was read before.
            PeerError: it is malformed, of another group or epoch, or not authentic.
        """
        state = self._state
        wire_format, body = open_envelope(message)
        if wire_format is not WireFormat.PRIVATE_MESSAGE:
            raise DecodeError("not an encrypted message")
        private = decode(body, PrivateMessage.read)
        check_target(state, private.group_id, private.epoch)
        if private.content_type is not ContentType.APPLICATION:
            raise DecodeError("not an application message")
        opened, key = open_private(
            private,
            sender_data_secret=self._record.sender_data_secret,
            secret_tree=self._secret_tree,
            tree=state.tree,
            own_leaf=None,
        )
        content = opened.content
        verify_content(signer_key(state, opened), opened, state.context_bytes)
        leaf = state.tree.leaf(content.sender.index)
        assert leaf is not None, "the sender's signature was just verified"
        assert isinstance(content.content, bytes), "the content type was compared above"
        self._secret_tree.consume(content.sender.index, RatchetType.APPLICATION, key)
        return ApplicationMessage(
            sender=member_of(content.sender.index, leaf),
            epoch=private.epoch,
            generation=key.generation,
            authenticated_data=private.authenticated_data,
            plaintext=content.content,
            signed=SignedMessage(content.encoded, state.context_bytes, opened.auth.signature, leaf.signature_key),
        )
