"""The replicated service of the simulation: a journal that notices double application.

Its state is a hash over everything applied in order, so two replicas agree on their state exactly if they agree on
every request of every op. It raises at once when it is driven out of order or asked to apply one request twice: the
replica promises that to every service (exactly once, VRR 4.1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b

import msgspec

from vr.log import Request
from vr.simulator.errors import Violation
from vr.types import ClientId, OpNumber, SessionNumber

OnApplied = Callable[[OpNumber, bytes], None]
DIGEST_BYTES = 16


class _Snapshot(msgspec.Struct, array_like=True, frozen=True):
    digest: bytes
    last_op: int
    applied: int
    last_numbers: list[tuple[bytes, int, int]]  # (client, session, last applied number), sorted


class JournalService:
    """A service that is nothing but its own history. `on_applied(op, digest)` is told every op it takes."""

    def __init__(self, on_applied: OnApplied | None = None) -> None:
        self.digest = bytes(DIGEST_BYTES)
        self.last_op = 0
        self.applied = 0
        self._last_numbers: dict[tuple[bytes, int], int] = {}
        self._on_applied = on_applied

    def apply(self, op: OpNumber, timestamp_us: int, requests: Sequence[Request]) -> list[bytes]:
        """Append the requests; each result proves the state it was applied in.

        Raises:
            Violation: an op out of order, or a request applied twice or out of sequence.
        """
        if op <= self.last_op:
            raise Violation("applied_in_order", f"op {op} applied after op {self.last_op}")
        self.last_op = op
        hasher = blake2b(self.digest, digest_size=DIGEST_BYTES)
        hasher.update(b"%d %d %d" % (op, timestamp_us, len(requests)))
        results = []
        for request in requests:
            self._count(request)
            hasher.update(b"%s %d %d %s" % (request.client, request.session, request.number, request.body))
            results.append(b"%d:%s" % (self.applied, hasher.digest()[:4]))
        self.digest = hasher.digest()
        if self._on_applied is not None:
            self._on_applied(op, self.digest)
        return results

    def _count(self, request: Request) -> None:
        key = (request.client, request.session)
        last = self._last_numbers.get(key, 0)
        if request.number != last + 1:
            raise Violation(
                "exactly_once", f"session {request.session:#x}: request {request.number} applied after {last}"
            )
        self._last_numbers[key] = request.number
        self.applied += 1

    def last_number(self, client: ClientId, session: SessionNumber) -> int:
        """What a reader sees: the number of the session's last request that was applied; 0: none."""
        return self._last_numbers.get((client, session), 0)

    def mark(self) -> int:
        """The number of requests applied so far."""
        return self.applied

    def snapshot(self) -> bytes:
        """The state as deterministic bytes."""
        last_numbers = sorted((client, session, number) for (client, session), number in self._last_numbers.items())
        return msgspec.msgpack.encode(
            _Snapshot(digest=self.digest, last_op=self.last_op, applied=self.applied, last_numbers=last_numbers)
        )

    def restore(self, snapshot: bytes) -> None:
        """Become the state of `snapshot`."""
        state = msgspec.msgpack.decode(snapshot, type=_Snapshot)
        self.digest = state.digest
        self.last_op = state.last_op
        self.applied = state.applied
        self._last_numbers = {(client, session): number for client, session, number in state.last_numbers}
