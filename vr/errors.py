"""Errors of the replication library.

VRError
├── LocalError          the embedder misused the API; state unchanged
│   └── UnknownGroup
└── PeerError           bytes from a peer or a disk are not what they claim; state unchanged
    └── DecodeError
"""


class VRError(Exception):
    """Base of everything `vr` raises."""


class LocalError(VRError):
    """The embedder's call was wrong."""


class UnknownGroup(LocalError):  # noqa: N818 - reads as what happened
    """No such group in this process."""


class PeerError(VRError):
    """A peer broke the protocol, or a disk returned something else than was written."""


class DecodeError(PeerError):
    """Bytes that do not decode, are out of bounds, or whose checksum differs."""
