"""What this device remembers of the history it was shown, to compare it with what others say they saw. Pure.

Every signed message says how far its sender had read, and the hash over all history up to there. Two who were shown
different histories by lying servers notice with the first message that crosses (e2ee.md §5, "malicious primary forks"),
and what they then hold convinces others too (`client.evidence`).
"""

from __future__ import annotations

from collections.abc import Iterable

from client import limits
from client.evidence import make_evidence
from client.identity import Identity
from client.payload import Payload
from client.room_state import Mark
from mls import ApplicationMessage
from wire.ids import RoomId, Sequence


class Witness:
    """Chain hashes of recent places, and ids of recent messages.

    `new_marks` and `evidence` are to be stored; the core takes them out.
    """

    def __init__(
        self, room_id: RoomId, identity: Identity, *, marks: Iterable[Mark], message_ids: Iterable[tuple[bytes, bytes]]
    ) -> None:
        self.new_marks: list[Mark] = []
        self.evidence: list[bytes] = []
        self._room_id = room_id
        self._identity = identity
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

    def compare(self, first: Sequence, payload: Payload, message: ApplicationMessage) -> str | None:
        """Compare what a member saw with what we saw; returns words for an alarm if that cannot be.

        Args:
            first: place of the block that carries the message.
            payload: the message.
            message: the same as it was signed.
        """
        if payload.seen_sequence >= first:
            return "a member has seen a history that goes further than ours"
        known = self._marks.get(payload.seen_sequence, payload.seen_chain)
        if known == payload.seen_chain:
            return None  # We agree, or do not know that place any more.
        if len(self.evidence) < limits.EVIDENCE_MAX:
            self.evidence.append(
                make_evidence(
                    self._identity,
                    self._room_id,
                    known,
                    seen=payload,
                    theirs=message.signed,
                    their_credential=message.sender.identity,
                )
            )
        return f"a member was shown another history up to {payload.seen_sequence}: a server lies to one of us"
