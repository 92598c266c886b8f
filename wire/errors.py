"""Errors of the wire, and the reasons that servers give.

WireError
├── LocalError            we misused the API
├── AddressError          text that is no HOST:PORT#KEY
├── KeyFileError          a key file that is missing, there already, open to others or malformed
└── PeerError             they broke the protocol: close the connection, count `cause`
    ├── FrameError        frame too long, empty or cut
    ├── DecodeError       bytes that are no message of this protocol, or out of bounds
    ├── HandshakeError    TLS failed, wrong key, wrong version, out of order
    └── ClosedError       the other side went away
"""

from __future__ import annotations

from enum import IntEnum


class WireError(Exception):
    """Base of everything `wire` raises."""


class LocalError(WireError):
    """Our own call was wrong; nothing was sent."""


class AddressError(WireError):
    """Text that is no server address; says what is wrong with it and nothing secret."""


class KeyFileError(WireError):
    """A key file that cannot be used; names the file and what to do, never its content."""


class PeerError(WireError):
    """The other side broke the protocol. `cause` is a fixed snake_case word, fit for a metric label."""

    cause = "protocol"


class FrameError(PeerError):
    """A frame longer than the limit, or of no length."""

    cause = "frame"


class DecodeError(PeerError):
    """Bytes that do not decode to a message of this protocol within its limits."""

    cause = "decode"


class HandshakeError(PeerError):
    """TLS failed, the key is not the pinned one, or the hello is wrong."""

    cause = "handshake"


class ClosedError(PeerError):
    """The connection is gone."""

    cause = "closed"


class RefusalCode(IntEnum):
    """Why a server refused a call. The numbers are part of the protocol and never change meaning."""

    MALFORMED = 1
    VERSION = 2
    UNKNOWN_ROOM = 3
    ROOM_CONFLICT = 4
    NOT_REPLICA = 5
    BAD_PROOF = 6
    UNKNOWN_EPOCH = 7
    NOT_PROVEN = 8
    BUSY = 9
    EVICTED = 10
    UNKNOWN_SESSION = 11
    SEQUENCE_GAP = 12
    LIMIT = 13
    DRAINING = 14
    UNAVAILABLE = 15
    NOT_FOUND = 16
    FORBIDDEN = 17
    FULL = 18
    """The room has all the space that this server gives it; what its members say is not taken up until there is more."""
