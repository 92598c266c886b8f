"""The client table: exactly-once execution over retries, view changes and restarts (VRR 4.1, 4.5).

A session is registered by a logged operation; its number is derived from that operation. The table changes on commit
only: unlike VRR 4.1, which writes it at prepare time and so can lock a client out after a view change. Results of the last
SESSION_RESULTS_KEPT requests are kept, so that any request of the window can be repeated and gets the same answer.
"""

from __future__ import annotations

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
    """All sessions of a group, as of the last applied operation; deterministic."""

    def __init__(self) -> None:
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

    def register(self, request: Request, op: OpNumber, place: int) -> SessionNumber:
        """Commit a register. At the limit, the session whose last commit is oldest makes room."""
        number = session_number(op, place)
        assert number not in self._sessions, "an operation is applied once"
        if len(self._sessions) >= limits.SESSIONS_MAX:
            self._evict()
        self._sessions[number] = Session(request.client, RequestNumber(0), op, {})
        return number

    def judge(self, request: Request, ahead: int = 0) -> Verdict:
        """What to do with a committed request, after `ahead` others of its session in the same batch."""
        known = self._sessions.get(request.session)
        if known is None or known.client != request.client:
            return Verdict.UNKNOWN
        if request.number <= known.last_number + ahead:
            return Verdict.REPEAT
        return Verdict.EXECUTE if request.number == known.last_number + ahead + 1 else Verdict.GAP

    def record(self, request: Request, op: OpNumber, result: bytes) -> None:
        """Commit the result of an executed request."""
        known = self._sessions[request.session]
        assert request.number == known.last_number + 1, "requests of a session execute in order, once"
        known.last_number = request.number
        known.last_op = op
        known.results[request.number] = (op, result)
        known.results.pop(request.number - limits.SESSION_RESULTS_KEPT, None)

    def _evict(self) -> None:
        oldest = min(self._sessions, key=lambda number: (self._sessions[number].last_op, number))
        del self._sessions[oldest]

    def snapshot(self) -> bytes:
        """The table in deterministic bytes."""
        return msgspec.msgpack.encode([(number, self._sessions[number]) for number in sorted(self._sessions)])

    @classmethod
    def from_snapshot(cls, snapshot: bytes) -> SessionTable:
        """The table that `snapshot` describes.

        Raises:
            DecodeError: not a snapshot.
        """
        table = cls()
        try:
            table._sessions = dict(msgspec.msgpack.decode(snapshot, type=list[tuple[SessionNumber, Session]]))
        except msgspec.MsgspecError as error:
            raise DecodeError("malformed session table") from error
        return table
