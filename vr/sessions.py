"""The client table: exactly-once execution over retries, view changes and restarts (VRR 4.1, 4.5).

A session is registered by a logged operation; its number is derived from that operation. The table changes on commit
only: unlike VRR 4.1, which writes it at prepare time and so can lock a client out after a view change. Results of the last
SESSION_RESULTS_KEPT requests are kept, so that any request of the window can be repeated and gets the same answer.

A session ends when the table is full and its last commit is the oldest, or when it was not used for its time to live by
the timestamps in the log: the same session, at the same operation, on every replica.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto

import msgspec

from vr import limits
from vr.errors import DecodeError
from vr.log import Request
from vr.types import ClientId, OpNumber, RequestNumber, SessionNumber


class Session(msgspec.Struct, array_like=True):
    """One session's committed past. `results` maps request number to (op, result), oldest first."""

    client: ClientId
    last_number: RequestNumber
    last_op: OpNumber
    last_timestamp_us: int
    results: dict[int, tuple[OpNumber, bytes]]


class Verdict(Enum):
    """What a committed request is, against the table."""

    EXECUTE = auto()
    REPEAT = auto()
    UNKNOWN = auto()
    GAP = auto()


def session_number(op: OpNumber, place: int) -> SessionNumber:
    """The number of a session that was registered at `place` in the batch of `op`."""
    assert 0 <= place < limits.BATCH_REQUESTS_MAX <= 256
    return SessionNumber(op << 8 | place)


def session_op(session: SessionNumber) -> OpNumber:
    """The operation that registered a session."""
    return OpNumber(session >> 8)


def session_place(session: SessionNumber) -> int:
    """The place of the register in that operation's batch."""
    return session & 0xFF


class SessionTable:
    """All sessions of a group, as of the last applied operation; deterministic.

    The table is ordered by (last operation, session number), so that eviction looks at its first session only. Limits
    belong to the group's configuration: a replica with limits of its own would execute other requests than its peers.
    """

    def __init__(self, sessions_max: int = limits.SESSIONS_MAX, ttl_s: int = limits.SESSION_TTL_S) -> None:
        self._sessions_max = sessions_max
        self._ttl_us = ttl_s * 1_000_000
        self._sessions: dict[SessionNumber, Session] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def __contains__(self, session: SessionNumber) -> bool:
        return session in self._sessions

    def get(self, session: SessionNumber) -> Session | None:
        """The session, or None if it was never registered or has been evicted."""
        return self._sessions.get(session)

    def result(self, session: SessionNumber, number: RequestNumber) -> tuple[OpNumber, bytes] | None:
        """(op, result) of a committed request, while it is kept."""
        known = self._sessions.get(session)
        return None if known is None else known.results.get(number)

    def register(self, request: Request, op: OpNumber, place: int, timestamp_us: int = 0) -> SessionNumber:
        """Commit a register. At the limit, the session whose last commit is oldest makes room.

        A register that was sent twice makes two sessions; its reply names the one that it made.
        """
        number = session_number(op, place)
        assert number not in self._sessions, "an operation is applied once"
        if len(self._sessions) >= self._sessions_max:
            del self._sessions[self.first_to_go()]
        self._sessions[number] = Session(request.client, RequestNumber(0), op, timestamp_us, {})
        return number

    def first_to_go(self) -> SessionNumber:
        """The session whose last commit is oldest."""
        return next(iter(self._sessions))

    def expire(self, timestamp_us: int) -> None:
        """Evict what was not used for the time to live, by the clock of the log: `timestamp_us` of the next operation."""
        oldest_us = timestamp_us - self._ttl_us
        while self._sessions and self._sessions[number := self.first_to_go()].last_timestamp_us < oldest_us:
            del self._sessions[number]

    def judge(self, request: Request) -> Verdict:
        """What to do with the next committed request; EXECUTE promises that its result will be recorded."""
        known = self._sessions.get(request.session)
        if known is None or known.client != request.client:
            return Verdict.UNKNOWN
        expected = known.last_number + 1
        if request.number == expected:
            known.last_number = RequestNumber(expected)
            return Verdict.EXECUTE
        return Verdict.REPEAT if request.number < expected else Verdict.GAP

    def record(self, executed: Sequence[Request], results: Sequence[bytes], op: OpNumber, timestamp_us: int) -> None:
        """Commit the results of the executed requests of one operation."""
        sessions = self._sessions
        touched: dict[SessionNumber, None] = {}
        for request, result in zip(executed, results, strict=True):
            kept = sessions[request.session].results
            kept[request.number] = (op, result)
            if len(kept) > limits.SESSION_RESULTS_KEPT:
                del kept[request.number - limits.SESSION_RESULTS_KEPT]
            touched[request.session] = None
        for number in sorted(touched):
            known = sessions.pop(number)
            known.last_op, known.last_timestamp_us = op, timestamp_us
            sessions[number] = known

    def snapshot(self) -> bytes:
        """The table in deterministic bytes."""
        return msgspec.msgpack.encode([(number, self._sessions[number]) for number in sorted(self._sessions)])

    def restore(self, snapshot: bytes) -> None:
        """Become the table that `snapshot` describes; unchanged on error.

        Raises:
            DecodeError: not a snapshot.
        """
        try:
            found = msgspec.msgpack.decode(snapshot, type=list[tuple[SessionNumber, Session]])
        except msgspec.MsgspecError as error:
            raise DecodeError("malformed session table") from error
        found.sort(key=lambda item: (item[1].last_op, item[0]))
        self._sessions = dict(found)
