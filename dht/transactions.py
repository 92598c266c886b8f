"""Queries in flight: matched to answers by (transaction, address), and timed.

    opened ─▶ (waits for its address's rate) ─▶ sent ─▶ slow ─▶ failed
                                                  └──── answered

Soft timeout: twice the 90th percentile of late round trips, between 0.3 and 1 s; the asker then no longer waits for it.
Hard timeout: 4 s; it has failed. A query to a seed is sent once more after a second, since one lost datagram must not
lose a lone hint. Transactions are two random bytes, so that an answer cannot be guessed from elsewhere.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum

import msgspec

from dht.limits import (
    ADDRESSES_MAX,
    HARD_TIMEOUT_S,
    QUERIES_MAX,
    RETRANSMIT_S,
    ROUND_TRIPS_MAX,
    SEND_DELAY_S_MAX,
    SENDS_PER_ADDRESS_BURST,
    SENDS_PER_ADDRESS_PER_S,
    SOFT_TIMEOUT_S_MAX,
    SOFT_TIMEOUT_S_MIN,
)
from dht.node_id import Address, is_loopback
from dht.rates import Rates

Entropy = Callable[[int], bytes]
_TRIES_MAX = 16


class Purpose(Enum):
    """What an answer is for."""

    LOOKUP = "lookup"
    PUT = "put"
    VERIFY = "verify"
    UPKEEP = "upkeep"


class Pending(msgspec.Struct, kw_only=True):
    """A query in flight. `operation` is whose it is; `send_at` may lie ahead; `resend_at` is for seeds."""

    transaction: bytes
    address: Address
    method: bytes
    purpose: Purpose
    operation: int | None
    datagram: bytes
    send_at: float
    resend_at: float | None
    is_sent: bool = False
    is_slow: bool = False


class Due(msgspec.Struct, frozen=True, kw_only=True):
    """What time has brought: queries to send now, those that became slow, those that failed."""

    to_send: list[Pending]
    slow: list[Pending]
    failed: list[Pending]


class Transactions:
    """All queries in flight, at most `QUERIES_MAX`, and as many a second to one address as others tolerate."""

    def __init__(self, entropy: Entropy) -> None:
        self._entropy = entropy
        self._pending: dict[tuple[bytes, Address], Pending] = {}
        self._round_trips: deque[float] = deque(maxlen=ROUND_TRIPS_MAX)
        self._rates: Rates[str] = Rates(
            per_s=SENDS_PER_ADDRESS_PER_S, burst=SENDS_PER_ADDRESS_BURST, sources_max=ADDRESSES_MAX
        )
        self.soft_timeout_s = SOFT_TIMEOUT_S_MAX

    def __len__(self) -> int:
        return len(self._pending)

    def addresses(self, purpose: Purpose) -> list[Address]:
        """Return where queries of a purpose are in flight to."""
        return [pending.address for pending in self._pending.values() if pending.purpose is purpose]

    def open(
        self,
        address: Address,
        *,
        method: bytes,
        encode: Callable[[bytes], bytes],
        purpose: Purpose,
        operation: int | None,
        now: float,
        may_resend: bool = False,
    ) -> Pending | None:
        """Enter a query; `encode` makes its datagram from the transaction. It leaves by the next `due`.

        Returns None when too many are in flight, or the address's rate would hold it up too long.
        """
        host = address[0]
        delay = 0.0 if is_loopback(host) else self._rates.delay(host, now)
        transaction = self._new_transaction(address)
        if len(self._pending) >= QUERIES_MAX or delay > SEND_DELAY_S_MAX or transaction is None:
            return None
        self._rates.take(host, now)
        send_at = now + delay
        pending = Pending(
            transaction=transaction,
            address=address,
            method=method,
            purpose=purpose,
            operation=operation,
            datagram=encode(transaction),
            send_at=send_at,
            resend_at=send_at + RETRANSMIT_S if may_resend else None,
        )
        self._pending[transaction, address] = pending
        return pending

    def close(self, transaction: bytes, address: Address, now: float) -> Pending | None:
        """Return the query that an answer from `address` belongs to, which is then over; None if there is none."""
        pending = self._pending.get((transaction, address))
        if pending is None or not pending.is_sent:
            return None
        del self._pending[transaction, address]
        self._round_trips.append(now - pending.send_at)
        ranked = sorted(self._round_trips)
        slowish = ranked[len(ranked) * 9 // 10]
        self.soft_timeout_s = min(max(2 * slowish, SOFT_TIMEOUT_S_MIN), SOFT_TIMEOUT_S_MAX)
        return pending

    def due(self, now: float) -> Due:
        """Return what is due, noted as done."""
        due = Due(to_send=[], slow=[], failed=[])
        for pending in list(self._pending.values()):
            if not pending.is_sent:
                if now >= pending.send_at:
                    pending.is_sent = True
                    due.to_send.append(pending)
                continue
            # The same sums as in `_deadline`: a difference would round otherwise, and a deadline would come for ever.
            if now >= pending.send_at + HARD_TIMEOUT_S:
                del self._pending[pending.transaction, pending.address]
                due.failed.append(pending)
                continue
            if pending.resend_at is not None and now >= pending.resend_at:
                pending.resend_at = None
                due.to_send.append(pending)
            if not pending.is_slow and now >= pending.send_at + self.soft_timeout_s:
                pending.is_slow = True
                due.slow.append(pending)
        return due

    def next_deadline(self) -> float | None:
        """Return the earliest time at which `due` has something."""
        return min(map(self._deadline, self._pending.values()), default=None)

    def _deadline(self, pending: Pending) -> float:
        if not pending.is_sent:
            return pending.send_at
        timeout_s = HARD_TIMEOUT_S if pending.is_slow else self.soft_timeout_s
        deadline = pending.send_at + timeout_s
        return deadline if pending.resend_at is None else min(deadline, pending.resend_at)

    def _new_transaction(self, address: Address) -> bytes | None:
        for _ in range(_TRIES_MAX):
            transaction = self._entropy(2)
            if (transaction, address) not in self._pending:
                return transaction
        return None
