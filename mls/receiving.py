"""From bytes to an authentic content: envelopes opened, group and epoch compared, tags and signatures verified.

Everything here is a question; the group's state changes only afterwards, by whoever asked (see `mls.secret_tree` for why).
"""

from __future__ import annotations

import msgspec

from mls.codec import Reader, decode
from mls.crypto import ref_hash
from mls.errors import DecodeError, InvalidProposal, LimitExceeded, UnknownSender, WrongEpoch, WrongGroup
from mls.framing import (
    AuthenticatedContent,
    PrivateMessage,
    PublicMessage,
    SenderType,
    WireFormat,
    open_envelope,
)
from mls.limits import LEAVES_MAX, PROPOSAL_CACHED_BYTES_MAX, PROPOSALS_CACHED_MAX
from mls.nodes import EXTERNAL_SENDERS_EXTENSION, Credential, find_extension
from mls.proposals import (
    Add,
    Commit,
    ExternalInit,
    Proposal,
    Update,
)
from mls.protection import check_membership_tag, open_private, verify_content
from mls.secret_tree import MessageKey
from mls.state import CachedProposal, GroupState, PublicState

__all__ = [
    "Received",
    "check_target",
    "proposal_reference",
    "receive",
    "receive_private",
    "remember_proposal",
    "signer_key",
]


class Received(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An authentic content; `message_key` is the key to consume if it came encrypted."""

    message: AuthenticatedContent
    message_key: MessageKey | None


def check_target(state: PublicState, group_id: bytes, epoch: int) -> None:
    """Check that a message is for this group and epoch.

    Raises:
        WrongGroup: it is another group's.
        WrongEpoch: it is another epoch's.
    """
    if group_id != state.context.group_id:
        raise WrongGroup("a message of another group")
    if epoch != state.context.epoch:
        raise WrongEpoch(f"a message of epoch {epoch}, this is {state.context.epoch}")


def receive(state: GroupState, encoded: bytes) -> Received:
    """Open and authenticate a handshake message, public or private.

    Raises:
        PeerError: it is malformed, for another group or epoch, or not authentic.
    """
    wire_format, body = open_envelope(encoded)
    match wire_format:
        case WireFormat.PUBLIC_MESSAGE:
            return Received(message=_receive_public(state, decode(body, PublicMessage.read)), message_key=None)
        case WireFormat.PRIVATE_MESSAGE:
            return receive_private(state, decode(body, PrivateMessage.read))
        case _:
            raise DecodeError("not a framed message")


def receive_private(state: GroupState, message: PrivateMessage) -> Received:
    """Decrypt and authenticate a PrivateMessage; its key is not consumed yet.

    Raises:
        PeerError: it is for another group or epoch, does not decrypt, or is not authentic.
    """
    check_target(state, message.group_id, message.epoch)
    opened, message_key = open_private(
        message,
        sender_data_secret=state.secrets.sender_data_secret,
        secret_tree=state.secret_tree,
        tree=state.tree,
        own_leaf=state.own_leaf,
    )
    verify_content(signer_key(state, opened), opened, state.context_bytes)
    return Received(message=opened, message_key=message_key)


def _receive_public(state: GroupState, public: PublicMessage) -> AuthenticatedContent:
    content = public.content
    check_target(state, content.group_id, content.epoch)
    if isinstance(content.content, bytes):
        raise DecodeError("application data that is not encrypted")
    message = AuthenticatedContent(wire_format=WireFormat.PUBLIC_MESSAGE, content=content, auth=public.auth)
    public_key = signer_key(state, message)
    check_membership_tag(state.secrets.membership_key, public, state.context_bytes)
    verify_content(public_key, message, state.context_bytes)
    return message


def signer_key(state: PublicState, message: AuthenticatedContent) -> bytes:
    """Key that must have signed a message (RFC 9420 6.1)."""
    sender, content = message.content.sender, message.content.content
    match sender.sender_type:
        case SenderType.MEMBER:
            leaf = state.tree.leaf(sender.index)
            if leaf is None:
                raise UnknownSender(f"no member at leaf {sender.index}")
            return leaf.signature_key
        case SenderType.EXTERNAL:
            if isinstance(content, bytes | Commit | Update | ExternalInit):
                raise InvalidProposal("content that outsiders may not send")
            return _external_sender_key(state, sender.index)
        case SenderType.NEW_MEMBER_PROPOSAL:
            if not isinstance(content, Add):
                raise InvalidProposal("a newcomer that proposes something else than to be added")
            return content.key_package.leaf_node.signature_key
        case SenderType.NEW_MEMBER_COMMIT:
            if not isinstance(content, Commit) or content.path is None:
                raise InvalidProposal("a newcomer's commit without a path")
            return content.path.leaf_node.signature_key


def _read_external_sender(reader: Reader) -> bytes:
    signature_key = reader.opaque()
    Credential.read(reader)
    return signature_key


def _external_sender_key(state: PublicState, index: int) -> bytes:
    encoded = find_extension(state.context.extensions, EXTERNAL_SENDERS_EXTENSION)
    if encoded is None:
        raise UnknownSender("a group without external senders")
    keys = decode(encoded, lambda reader: reader.items(_read_external_sender, count_max=LEAVES_MAX))
    if index >= len(keys):
        raise UnknownSender(f"no external sender {index}")
    return keys[index]


def proposal_reference(message: AuthenticatedContent) -> bytes:
    """ProposalRef (RFC 9420 5.2), 32 bytes."""
    return ref_hash(b"MLS 1.0 Proposal Reference", message.encode())


def remember_proposal(state: GroupState, message: AuthenticatedContent) -> bytes:
    """Keep an authentic proposal for a later commit; returns its reference.

    Raises:
        DecodeError: not a proposal.
        LimitExceeded: it is too large, or too many are kept already.
    """
    proposal = message.content.content
    if not isinstance(proposal, Proposal):
        raise DecodeError("not a proposal")
    if len(message.content.encoded) > PROPOSAL_CACHED_BYTES_MAX:
        raise LimitExceeded(f"a proposal of more than {PROPOSAL_CACHED_BYTES_MAX} bytes")
    reference = proposal_reference(message)
    if reference not in state.proposals and len(state.proposals) >= PROPOSALS_CACHED_MAX:
        raise LimitExceeded(f"more than {PROPOSALS_CACHED_MAX} proposals in one epoch")
    sender = message.content.sender
    by_member = sender.sender_type is SenderType.MEMBER
    state.proposals[reference] = CachedProposal(
        proposal=proposal, sender=sender.index if by_member else None, message=message
    )
    return reference
