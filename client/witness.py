"""What this device remembers of the history it was shown, to compare it with what others say they saw. Pure.

Every signed message says how far its sender had read, and the hash over all history up to there. Two who were shown
different histories by lying servers notice with the first message that crosses (e2ee.md §5, "malicious primary forks").
"""

from __future__ import annotations

from collections.abc import Iterable

from client import limits
from client.room_state import Mark
from wire.ids import Sequence


class Witness:
    """Chain hashes of recent places, and ids of recent messages. `new_marks` are those to be stored; the core takes them out."""

    def __init__(self, marks: Iterable[Mark], message_ids: Iterable[tuple[bytes, bytes]]) -> None:
        self.new_marks: list[Mark] = []
        self._message_ids = dict.fromkeys(message_ids)
        self._marks = {mark.sequence: mark.chain for mark in marks}

    def mark(self, sequence: Sequence, chain: bytes) -> None:
        """Remember the hash over all history through `sequence`."""
        self._marks[sequence] = chain
        self.new_marks.append(Mark(sequence, chain))
        if len(self._marks) > limits.CHAIN_MARKS_MAX:
            del self._marks[next(iter(self._marks))]

    def is_new(self, user_key: bytes, message_id: bytes) -> bool:
        """Remember a message of a person; False if it was seen before."""
        if (user_key, message_id) in self._message_ids:
            return False
        self._message_ids[user_key, message_id] = None
        if len(self._message_ids) > limits.MESSAGE_IDS_MAX:
            del self._message_ids[next(iter(self._message_ids))]
        return True

    def contradicts(self, sequence: Sequence, chain: bytes) -> bool:
        """Tell whether we were shown something else up to `sequence`; False where we do not know any more."""
        return self._marks.get(sequence, chain) != chain
