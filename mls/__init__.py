"""Messaging Layer Security (RFC 9420) for cipher suite 0x0003: X25519, ChaCha20-Poly1305, SHA-256, Ed25519.

    me = SignatureKey.generate(entropy)
    group = Group.create(b"room", me, b"alice", entropy=entropy, now=now)
    staged = group.commit(add=[bobs_key_package], entropy=entropy, now=now)   # nothing has changed yet
    group = staged.merge()                                                    # once the log shows staged.commit
    sealed = group.protect(b"hej", entropy=entropy)

A pure core: time and randomness are arguments, bytes go in and out, and nobody is called back. The modules, bottom up:
`codec crypto tree_math` · `nodes ratchet_tree key_schedule secret_tree` · `proposals framing protection welcome
tree_validation tree_kem key_packages` · `state proposal_list epoch commit succession joining receiving` ·
`signed staged group history`.

Not audited. Python cannot wipe secrets from memory.
"""

from mls.crypto import CIPHER_SUITE, Entropy, KeyPair, SignatureKey, generate_key_pair, open_sealed, seal_to_key
from mls.errors import (
    DecodeError,
    DecryptionFailed,
    GenerationTooFar,
    GroupClosed,
    InvalidArgument,
    InvalidCommit,
    InvalidGroupInfo,
    InvalidLeafNode,
    InvalidProposal,
    InvalidSignature,
    InvalidTree,
    LimitExceeded,
    LocalError,
    MissingPreSharedKey,
    MLSError,
    NotForUs,
    OwnCommit,
    OwnMessage,
    PeerError,
    Replayed,
    StateCorrupt,
    UnknownSender,
    Unsupported,
    WrongEpoch,
    WrongGroup,
)
from mls.group import ApplicationMessage, Group, StagedCommit, StagedGroup
from mls.history import EpochReader, EpochRecord, PublicGroup, record_of
from mls.joining import propose_to_join
from mls.key_packages import KeyPackageBundle, KeyPackageFacts, key_package_of, new_key_package
from mls.nodes import ROOM_EXTENSION, Extension
from mls.signed import SignedMessage
from mls.state import Member

__all__ = [
    "CIPHER_SUITE",
    "ROOM_EXTENSION",
    "ApplicationMessage",
    "DecodeError",
    "DecryptionFailed",
    "Entropy",
    "EpochReader",
    "EpochRecord",
    "Extension",
    "GenerationTooFar",
    "Group",
    "GroupClosed",
    "InvalidArgument",
    "InvalidCommit",
    "InvalidGroupInfo",
    "InvalidLeafNode",
    "InvalidProposal",
    "InvalidSignature",
    "InvalidTree",
    "KeyPackageBundle",
    "KeyPackageFacts",
    "KeyPair",
    "LimitExceeded",
    "LocalError",
    "MLSError",
    "Member",
    "MissingPreSharedKey",
    "NotForUs",
    "OwnCommit",
    "OwnMessage",
    "PeerError",
    "PublicGroup",
    "Replayed",
    "SignatureKey",
    "SignedMessage",
    "StagedCommit",
    "StagedGroup",
    "StateCorrupt",
    "UnknownSender",
    "Unsupported",
    "WrongEpoch",
    "WrongGroup",
    "generate_key_pair",
    "key_package_of",
    "new_key_package",
    "open_sealed",
    "propose_to_join",
    "record_of",
    "seal_to_key",
]
