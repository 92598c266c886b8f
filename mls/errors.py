"""What can go wrong in MLS, and whose fault it is.

Every error leaves the group exactly as it was. Bytes from peers never raise anything but a `PeerError`.

    MLSError
    ├── LocalError                we misused the API, or our own disk lied
    │   ├── InvalidArgument       an argument out of range (a leaf that is blank, a key of the wrong length)
    │   ├── GroupClosed           we were removed, or the group was re-initialised: it takes no more messages
    │   └── StateCorrupt          stored bytes do not decode, or the two halves of a state do not belong together
    └── PeerError                 they broke the protocol, or the message is not for this state
        ├── DecodeError           not the encoding of anything RFC 9420 knows
        ├── LimitExceeded         well formed, but larger than we serve
        ├── Unsupported           another protocol version, cipher suite, credential or extension
        ├── WrongGroup            another group's message
        ├── WrongEpoch            another epoch's message (past or future)
        ├── UnknownSender         the sender's leaf is blank or out of range
        ├── InvalidSignature      a signature or membership tag does not verify
        ├── DecryptionFailed      a ciphertext does not open
        ├── Replayed              this generation was used already
        │   └── OwnMessage        our own application message came back
        ├── GenerationTooFar      the generation is further ahead than we derive
        ├── InvalidLeafNode       a leaf node breaks RFC 9420 7.3 (a KeyPackage: 10.1)
        ├── InvalidTree           a ratchet tree breaks RFC 9420 12.4.3.1
        ├── InvalidProposal       a proposal, or their list, breaks RFC 9420 12.1 and 12.2
        ├── InvalidCommit         a commit's path or confirmation tag breaks RFC 9420 12.4
        ├── InvalidGroupInfo      a GroupInfo or Welcome breaks RFC 9420 12.4.3
        ├── MissingPreSharedKey   a pre-shared key that we do not hold is named
        ├── NotForUs              a Welcome without an entry for our KeyPackage
        └── OwnCommit             our own commit came back: merge the pending one
"""

from __future__ import annotations

# ruff: noqa: N818 - these names read as what happened (`except Replayed`), and "Error" would add nothing

__all__ = [
    "DecodeError",
    "DecryptionFailed",
    "GenerationTooFar",
    "GroupClosed",
    "InvalidArgument",
    "InvalidCommit",
    "InvalidGroupInfo",
    "InvalidLeafNode",
    "InvalidProposal",
    "InvalidSignature",
    "InvalidTree",
    "LimitExceeded",
    "LocalError",
    "MLSError",
    "MissingPreSharedKey",
    "NotForUs",
    "OwnCommit",
    "OwnMessage",
    "PeerError",
    "Replayed",
    "StateCorrupt",
    "UnknownSender",
    "Unsupported",
    "WrongEpoch",
    "WrongGroup",
]


class MLSError(Exception):
    """Base of everything this package raises on purpose."""


class LocalError(MLSError):
    """We misused the API, or our own stored bytes are bad."""


class InvalidArgument(LocalError):
    """An argument is out of range."""


class GroupClosed(LocalError):
    """We were removed, or the group was re-initialised: it takes no more messages."""


class StateCorrupt(LocalError):
    """Stored bytes do not decode, or the two halves of a state do not belong together."""


class PeerError(MLSError):
    """A peer broke the protocol, or the message is not for this state."""


class DecodeError(PeerError):
    """Bytes that are not the encoding of anything RFC 9420 knows."""


class LimitExceeded(PeerError):
    """Well formed, but larger than we serve (see `mls.limits`)."""


class Unsupported(PeerError):
    """Another protocol version, cipher suite, credential type or extension."""


class WrongGroup(PeerError):
    """The message belongs to another group."""


class WrongEpoch(PeerError):
    """The message belongs to another epoch, past or future."""


class UnknownSender(PeerError):
    """The sender's leaf is blank or out of range."""


class InvalidSignature(PeerError):
    """A signature or a membership tag does not verify."""


class DecryptionFailed(PeerError):
    """A ciphertext does not open."""


class Replayed(PeerError):
    """The sender's generation was used already: a replay, or older than the keys we keep."""


class OwnMessage(Replayed):
    """A message from our own leaf: its key was deleted when we sent it."""


class GenerationTooFar(PeerError):
    """The generation is further ahead than we are willing to derive."""


class InvalidLeafNode(PeerError):
    """A leaf node breaks RFC 9420 7.3, or a KeyPackage 10.1."""


class InvalidTree(PeerError):
    """A ratchet tree breaks RFC 9420 12.4.3.1."""


class InvalidProposal(PeerError):
    """A proposal, or a list of them, breaks RFC 9420 12.1 and 12.2."""


class InvalidCommit(PeerError):
    """A commit's path or confirmation tag breaks RFC 9420 12.4."""


class InvalidGroupInfo(PeerError):
    """A GroupInfo or Welcome breaks RFC 9420 12.4.3."""


class MissingPreSharedKey(PeerError):
    """A pre-shared key that we do not hold is named."""


class NotForUs(PeerError):
    """A Welcome without an entry for our KeyPackage."""


class OwnCommit(PeerError):
    """Our own commit came back: merge the pending one instead of processing it."""
