"""What can go wrong in the DHT, and whose fault it is. State is unchanged on every error.

DhtError
├── LocalError              we misused the API, or our own machine refused
│   ├── InvalidItem         an item that BEP 44 forbids: too large, salt too long, sequence number out of range
│   ├── QuotaExceeded       more pinned items or waiting lookups than a node keeps
│   ├── SocketUnavailable   the address cannot be bound
│   └── NodeClosed          the node's `async with` has ended
└── PeerError               bytes from elsewhere are wrong; never raised for our own mistakes
    ├── DecodeError         not strict bencode, or not the message or item it should be
    └── InvalidSignature    an item's signature does not verify
"""

from __future__ import annotations

# ruff: noqa: N818 - these names read as what happened (`except InvalidSignature`)


class DhtError(Exception):
    """Base of everything that `dht` raises."""


class LocalError(DhtError):
    """Our own call or machine is at fault; nothing was sent."""


class InvalidItem(LocalError):
    """An item that no node would store (BEP 44: value 1000 bytes bencoded, salt 64, sequence number 63 bits)."""


class QuotaExceeded(LocalError):
    """The node already has as many pinned items, or waiting lookups, as it keeps."""


class SocketUnavailable(LocalError):
    """The node's address cannot be bound."""


class NodeClosed(LocalError):
    """The node's `async with` has ended, or its socket is gone."""


class PeerError(DhtError):
    """Bytes from elsewhere break the protocol."""


class DecodeError(PeerError):
    """Bytes that are no strict bencode, or decode to something else than expected."""


class InvalidSignature(PeerError):
    """A signature that is not the key's over this sequence number, salt and value."""
