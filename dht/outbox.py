"""What a node sends: datagrams in order, and queries that are remembered until they are answered or too late."""

from __future__ import annotations

from dht.counters import Counters
from dht.krpc import Arguments, encode_query
from dht.node_id import Address
from dht.routing_table import RoutingTable
from dht.transactions import Entropy, Purpose, Transactions


class Outbox:
    """Datagrams to be sent, and the queries among them. `table` knows our id; a `read_only` node says so (BEP 43)."""

    def __init__(self, table: RoutingTable, *, entropy: Entropy, counters: Counters, read_only: bool) -> None:
        self.transactions = Transactions(entropy)
        self._table = table
        self._counters = counters
        self._read_only = read_only
        self._datagrams: list[tuple[bytes, Address]] = []

    @property
    def has_datagrams(self) -> bool:
        """Whether anything is to be sent."""
        return bool(self._datagrams)

    def take(self) -> list[tuple[bytes, Address]]:
        """Return what is to be sent, and forget it."""
        datagrams, self._datagrams = self._datagrams, []
        return datagrams

    def ask(
        self,
        address: Address,
        method: bytes,
        arguments: Arguments,
        *,
        purpose: Purpose,
        now: float,
        operation: int | None = None,
        may_resend: bool = False,
    ) -> bool:
        """Send a query, now or when its address's rate allows; `arguments` are without our id.

        Return False, and send nothing, when too many are in flight or it would wait too long.
        """

        def encode(transaction: bytes) -> bytes:
            return encode_query(
                method, {b"id": self._table.own_id, **arguments}, transaction=transaction, read_only=self._read_only
            )

        pending = self.transactions.open(
            address, method=method, encode=encode, purpose=purpose, operation=operation, now=now, may_resend=may_resend
        )
        if pending is None:
            return False
        self._counters.queries_sent += 1
        if pending.send_at <= now:
            pending.is_sent = True
            self.send(pending.datagram, address)
        return True

    def send(self, datagram: bytes, address: Address) -> None:
        """Send a datagram."""
        self._counters.datagrams_out += 1
        self._counters.bytes_out += len(datagram)
        self._datagrams.append((datagram, address))
