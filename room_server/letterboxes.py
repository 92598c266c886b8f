"""Sealed letters between two devices of one person, which have nothing in common but a code. Pure.

    new device ── put(box, letter) ──▶ kept for LETTER_S_MAX at most ── take(box) ──▶ old device; the box is empty again

The node sees a random box number and bytes that it cannot open (`client.linking`). A letter is handed out once: whoever
comes second finds nothing. Kept in memory only: a restart loses letters, and the devices begin again. Bounds: letters
kept, bytes of each, and how fast new ones come in; all of them together are LETTERS_MAX * LETTER_BYTES_MAX bytes.
"""

from __future__ import annotations

from room_server import limits
from room_server.errors import RefusedError
from wire.errors import RefusalCode
from wire.limits import LETTER_BYTES_MAX
from wire.messages import BOX_BYTES


class LetterBoxes:
    """The boxes of one node. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._letters: dict[bytes, tuple[float, bytes]] = {}
        self._left = float(limits.LETTERS_AT_ONCE_MAX)
        self._at = 0.0

    def __len__(self) -> int:
        return len(self._letters)

    def put(self, box: bytes, letter: bytes, now: float) -> None:
        """Keep a letter until it is taken or too old.

        Raises:
            RefusedError: the sizes are wrong, the box is in use, or there are too many letters.
        """
        if len(box) != BOX_BYTES or not 0 < len(letter) <= LETTER_BYTES_MAX:
            raise RefusedError(RefusalCode.MALFORMED, f"a letter has 1 to {LETTER_BYTES_MAX:,} bytes")
        self._expire(now)
        if box in self._letters:
            raise RefusedError(RefusalCode.ROOM_CONFLICT, "a letter is in that box already")
        if len(self._letters) >= limits.LETTERS_MAX or self._left < 1:
            raise RefusedError(RefusalCode.BUSY, "too many letters wait here", retry_after_s=1 / limits.LETTERS_PER_S)
        self._left -= 1
        self._letters[box] = (now, letter)

    def take(self, box: bytes, now: float) -> bytes | None:
        """The letter of a box, which is empty afterwards; None: there is none."""
        self._expire(now)
        kept = self._letters.pop(box, None)
        return None if kept is None else kept[1]

    def _expire(self, now: float) -> None:
        passed_s, self._at = now - self._at, now
        self._left = min(self._left + passed_s * limits.LETTERS_PER_S, float(limits.LETTERS_AT_ONCE_MAX))
        for box, (since, _) in tuple(self._letters.items()):
            if now - since < limits.LETTER_S_MAX:
                return  # In the order of their coming.
            del self._letters[box]
