"""What servers say on the local network, and clients listen for: DNS-SD (RFC 6763) over multicast DNS (RFC 6762).

service `_samtala._udp`, TXT keys t0, t1, … each a 20-byte DHT target                 23 bytes of TXT per room
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

SERVICE_TYPE: Final = "_samtala._udp.local."
TARGET_BYTES: Final = 20
TARGETS_MAX: Final = 32
"""Targets of one announcement: with 24 bytes each it still fits a datagram of 1,232 bytes."""


def lan_properties(targets: Sequence[bytes]) -> dict[str, bytes]:
    """The TXT record for at most `TARGETS_MAX` targets."""
    return {f"t{place}": target for place, target in enumerate(targets[:TARGETS_MAX])}


def lan_targets(properties: Mapping[bytes, bytes | None]) -> list[bytes]:
    """The targets of a TXT record; whatever else it holds is passed over."""
    found = (properties.get(b"t%d" % place) for place in range(TARGETS_MAX))
    return [target for target in found if target is not None and len(target) == TARGET_BYTES]
