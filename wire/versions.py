"""Which version of the protocol two programs speak: the newest that both know. Pure.

    hello: newest, oldest ─▶ ◀─ hello: newest, oldest        common = the smaller of the newest, if neither is too old for it

Whoever brings a new version keeps the one before it for a while (`PROTOCOL_OLDEST`), so that servers can be upgraded one after the
other, and people's programs whenever they please. A hello that carries more fields than we know is read all the same: that is how the
next version adds to it.
"""

from __future__ import annotations

from typing import Final

from wire.errors import HandshakeError

PROTOCOL_VERSION: Final = 1
"""The newest that this program speaks."""
PROTOCOL_OLDEST: Final = 1
"""The oldest that it speaks."""


def common_version(newest: int, oldest: int) -> int:
    """What to speak with somebody who says these.

    Args:
        newest: that they speak.
        oldest: that they speak; 0: they speak one only.

    Raises:
        HandshakeError: there is none.
    """
    oldest = oldest or newest
    common = min(newest, PROTOCOL_VERSION)
    if common < max(oldest, PROTOCOL_OLDEST) or oldest > newest:
        theirs = str(newest) if oldest == newest else f"{oldest} to {newest}"
        ours = (
            str(PROTOCOL_VERSION) if PROTOCOL_OLDEST == PROTOCOL_VERSION else f"{PROTOCOL_OLDEST} to {PROTOCOL_VERSION}"
        )
        raise HandshakeError(f"the other side speaks version {theirs}, we speak {ours}")
    return common
