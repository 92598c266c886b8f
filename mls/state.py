"""One member's view of one epoch, and how it is stored.

Stored in two parts. The epoch part holds what only a commit changes: the tree, the context, the secrets of the key
schedule, our private keys. The ratchet part holds what messages change: the secret tree and cached proposals. Both carry
the epoch's confirmation tag, which no other epoch of any group shares, so parts of different epochs do not fit together.

The signature key is in neither: it outlives groups and is kept elsewhere.
"""

from __future__ import annotations

from typing import Final

import msgspec

from mls.codec import decode, vector
from mls.crypto import SignatureKey, public_key_of
from mls.errors import MLSError, StateCorrupt
from mls.framing import AuthenticatedContent
from mls.key_schedule import EpochSecrets, GroupContext, interim_transcript_hash
from mls.limits import RESUMPTION_EPOCHS_MAX
from mls.nodes import EXTERNAL_PUB_EXTENSION, RATCHET_TREE_EXTENSION, Extension, LeafNode
from mls.proposals import Proposal, ReInit, encode_proposal, read_proposal
from mls.ratchet_tree import RatchetTree
from mls.secret_tree import SecretTree, SecretTreeState
from mls.welcome import GroupInfo, sign_group_info

__all__ = ["GroupState", "Member", "PublicState", "member_of"]

_FORMAT: Final = 1
"""Version of both stored parts; the first field of each."""


class Member(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A member: its leaf index, the identity in its credential, its Ed25519 key (32 bytes)."""

    leaf_index: int
    identity: bytes
    signature_public_key: bytes


def member_of(leaf_index: int, leaf: LeafNode) -> Member:
    """The member at a leaf."""
    return Member(leaf_index=leaf_index, identity=leaf.credential.content, signature_public_key=leaf.signature_key)


class CachedProposal(msgspec.Struct, frozen=True, kw_only=True):
    """A verified proposal that a commit of this epoch may name. `sender` is a leaf index, or None for outsiders."""

    proposal: Proposal
    sender: int | None
    message: AuthenticatedContent


class _StoredEpoch(msgspec.Struct, array_like=True):
    format: int
    confirmation_tag: bytes
    context: bytes
    tree: bytes
    own_leaf: int
    private_keys: dict[int, bytes]
    secrets: EpochSecrets
    resumption_psks: dict[int, bytes]
    reinit: bytes


class _StoredRatchets(msgspec.Struct, array_like=True):
    format: int
    confirmation_tag: bytes
    secret_tree: SecretTreeState
    proposals: list[tuple[bytes, int | None, bytes]]


class PublicState(msgspec.Struct, kw_only=True):
    """What is known of an epoch without any of its secrets: who is in it, and how it came to be."""

    context: GroupContext
    context_bytes: bytes
    tree: RatchetTree
    confirmation_tag: bytes
    interim_transcript_hash: bytes
    proposals: dict[bytes, CachedProposal] = {}


class GroupState(PublicState, kw_only=True):
    """Everything one member knows in one epoch.

    Only `secret_tree` and `proposals` change within an epoch. `private_keys` are X25519 keys by node index, for our leaf
    and those ancestors whose secret we learnt. `resumption_psks` are those of this and a few past epochs.
    """

    own_leaf: int
    private_keys: dict[int, bytes]
    secrets: EpochSecrets
    secret_tree: SecretTree
    signature_key: SignatureKey
    resumption_psks: dict[int, bytes]
    reinit: ReInit | None = None

    def group_info(self, *, with_tree: bool = True, with_external_pub: bool = True) -> GroupInfo:
        """Describe this epoch to a newcomer, signed by us."""
        extensions = []
        if with_tree:
            extensions.append(Extension(extension_type=RATCHET_TREE_EXTENSION, data=self.tree.encode()))
        if with_external_pub:
            public = self.secrets.external_key_pair().public
            extensions.append(Extension(extension_type=EXTERNAL_PUB_EXTENSION, data=vector(public)))
        return sign_group_info(
            self.signature_key,
            self.context,
            extensions=tuple(extensions),
            confirmation_tag=self.confirmation_tag,
            signer=self.own_leaf,
        )

    def epoch_part(self) -> bytes:
        """Encode what only a commit changes."""
        return msgspec.msgpack.encode(
            _StoredEpoch(
                format=_FORMAT,
                confirmation_tag=self.confirmation_tag,
                context=self.context_bytes,
                tree=self.tree.encode(),
                own_leaf=self.own_leaf,
                private_keys=self.private_keys,
                secrets=self.secrets,
                resumption_psks=self.resumption_psks,
                reinit=b"" if self.reinit is None else encode_proposal(self.reinit),
            )
        )

    def ratchet_part(self) -> bytes:
        """Encode what messages change."""
        return msgspec.msgpack.encode(
            _StoredRatchets(
                format=_FORMAT,
                confirmation_tag=self.confirmation_tag,
                secret_tree=self.secret_tree.state(),
                proposals=[
                    (reference, cached.sender, cached.message.encode()) for reference, cached in self.proposals.items()
                ],
            )
        )

    @classmethod
    def restore(cls, epoch_part: bytes, ratchet_part: bytes, signature_key: SignatureKey) -> GroupState:
        """Put both parts together again.

        Raises:
            StateCorrupt: a part is malformed, they are of different epochs, or the signature key is another member's.
        """
        try:
            epoch = msgspec.msgpack.decode(epoch_part, type=_StoredEpoch)
            ratchets = msgspec.msgpack.decode(ratchet_part, type=_StoredRatchets)
            return _assemble(epoch, ratchets, signature_key)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise StateCorrupt("not a stored group") from error
        except StateCorrupt:
            raise
        except MLSError as error:
            raise StateCorrupt(f"a stored group that does not decode: {error}") from error


def _assemble(epoch: _StoredEpoch, ratchets: _StoredRatchets, signature_key: SignatureKey) -> GroupState:
    if (epoch.format, ratchets.format) != (_FORMAT, _FORMAT):
        raise StateCorrupt("a stored group of another version")
    if epoch.confirmation_tag != ratchets.confirmation_tag:
        raise StateCorrupt("the two parts of a stored group belong to different epochs")
    context = decode(epoch.context, GroupContext.read)
    tree = decode(epoch.tree, RatchetTree.read)
    own = tree.leaf(epoch.own_leaf)
    if tree.tree_hash() != context.tree_hash or ratchets.secret_tree.leaf_count != tree.leaf_count:
        raise StateCorrupt("a stored tree that is not its group's")
    if own is None or own.signature_key != signature_key.public:
        raise StateCorrupt("the signature key of another member")
    _check_private_keys(epoch, tree)
    reinit = decode(epoch.reinit, read_proposal) if epoch.reinit else None
    return GroupState(
        context=context,
        context_bytes=epoch.context,
        tree=tree,
        own_leaf=epoch.own_leaf,
        private_keys=epoch.private_keys,
        secrets=epoch.secrets,
        secret_tree=SecretTree.of_state(ratchets.secret_tree),
        confirmation_tag=epoch.confirmation_tag,
        interim_transcript_hash=interim_transcript_hash(context.confirmed_transcript_hash, epoch.confirmation_tag),
        signature_key=signature_key,
        resumption_psks=epoch.resumption_psks,
        reinit=reinit if isinstance(reinit, ReInit) else None,
        proposals={reference: _restore_proposal(sender, message) for reference, sender, message in ratchets.proposals},
    )


def _check_private_keys(epoch: _StoredEpoch, tree: RatchetTree) -> None:
    for node, private in epoch.private_keys.items():
        held = tree.nodes[node] if 0 <= node < len(tree.nodes) else None
        if held is None or public_key_of(private) != held.encryption_key:
            raise StateCorrupt("a stored private key that is not its node's")


def _restore_proposal(sender: int | None, message: bytes) -> CachedProposal:
    content = decode(message, AuthenticatedContent.read)
    proposal = content.content.content
    if not isinstance(proposal, Proposal):
        raise StateCorrupt("a stored proposal that is none")
    return CachedProposal(proposal=proposal, sender=sender, message=content)


def remember_resumption(past: dict[int, bytes], epoch: int, secret: bytes) -> dict[int, bytes]:
    """Past resumption secrets with one more, the oldest beyond the limit dropped."""
    kept = sorted(past.items())[-(RESUMPTION_EPOCHS_MAX - 1) :]
    return {**dict(kept), epoch: secret}
