"""The node without its socket: datagrams and time go in, datagrams and events come out.

    receive(datagram, address, now) ─┐                      ┌─▶ take_datagrams()   to send, in order
    tick(now)  at next_deadline()  ──┼─▶ table · storage ───┤
    get · put · find               ──┘   lookups · queries  └─▶ take_events()      found items, ended operations

One owner drives it from one task; nothing here blocks, and nothing remembers who is waiting for what but an operation's
number. A put is a lookup for the nearest nodes, which gives write tokens, and then the put to each of them.

A read-only node (BEP 43) asks and never answers: programs that live for seconds, and machines nobody can reach.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dht.counters import Counters
from dht.errors import DecodeError
from dht.events import Event
from dht.external_address import ExternalAddress
from dht.items import MutableItem
from dht.krpc import Answer, Failure, Query, decode
from dht.limits import (
    BOOTSTRAP_MAX,
    BOOTSTRAP_RETRY_S,
    MAINTENANCE_S,
    SELF_LOOKUP_S,
    TABLE_SMALL_NODES,
    UPKEEP_PINGS_MAX,
    VERIFICATIONS_MAX,
)
from dht.lookup import Wanted, named_nodes
from dht.node_id import NODE_ID_BYTES, Address, is_exempt, is_secure, secure_node_id
from dht.operations import Operations
from dht.outbox import Outbox
from dht.responder import Responder
from dht.routing_table import Admission, RoutingTable
from dht.storage import SignedValue, Storage
from dht.tokens import Tokens
from dht.transactions import Entropy, Purpose

_SECRET_BYTES = 16


class Dht:
    """A Mainline node as a state machine.

    Args:
        own_id: 20 bytes; None makes one from `entropy`, which is replaced once our address is known (BEP 42).
        admission: who may enter tables.
        read_only: ask, never answer (BEP 43).
        bootstrap: addresses to begin from while few nodes are known.
        counters: to count in, if not alone.
        entropy: gives that many unpredictable bytes.
        now: monotonic seconds.
    """

    def __init__(
        self,
        *,
        own_id: bytes | None,
        admission: Admission,
        entropy: Entropy,
        now: float,
        read_only: bool = False,
        bootstrap: Iterable[Address] = (),
        counters: Counters | None = None,
    ) -> None:
        self.counters = Counters() if counters is None else counters
        self.read_only = read_only
        self.external = ExternalAddress()
        self._has_fixed_id = own_id is not None
        self._entropy = entropy
        own_id = entropy(NODE_ID_BYTES) if own_id is None else own_id
        self.admission = admission
        self.table = RoutingTable(own_id, admission=admission, now=now)
        self.storage = Storage(own_id)
        self._tokens = Tokens(entropy(_SECRET_BYTES), now)
        self._responder = Responder(
            table=self.table, storage=self.storage, tokens=self._tokens, admission=admission, counters=self.counters
        )
        self._outbox = Outbox(self.table, entropy=entropy, counters=self.counters, read_only=read_only)
        self._operations = Operations(
            table=self.table,
            outbox=self._outbox,
            admission=admission,
            counters=self.counters,
            bootstrap=bootstrap,
        )
        self._other: Dht | None = None
        self._maintain_at = now + MAINTENANCE_S
        self._self_lookup_at = now + BOOTSTRAP_RETRY_S

    def pair(self, other: Dht) -> None:
        """Share knowledge with our core of the other address family (BEP 32): its table is named to those who want it.

        While that table is small, our lookups ask for its family's nodes, too.
        """
        self._other = other
        self._responder.other = other.table
        self._operations.other = other.table

    @property
    def own_id(self) -> bytes:
        """Our 20-byte id; it may change once, when our address becomes known (BEP 42)."""
        return self.table.own_id

    @property
    def bootstrap(self) -> tuple[Address, ...]:
        """Addresses to begin from while few nodes are known."""
        return self._operations.bootstrap

    @bootstrap.setter
    def bootstrap(self, addresses: Iterable[Address]) -> None:
        self._operations.bootstrap = tuple(addresses)[:BOOTSTRAP_MAX]

    @property
    def has_datagrams(self) -> bool:
        """Whether anything is to be sent."""
        return self._outbox.has_datagrams

    def take_datagrams(self) -> list[tuple[bytes, Address]]:
        """Return what is to be sent, and forget it."""
        return self._outbox.take()

    def take_events(self) -> list[Event]:
        """Return what happened, and forget it."""
        return self._operations.take_events()

    # Commands

    def find(self, target: bytes, now: float, *, seeds: Sequence[Address] = ()) -> int:
        """Look for the nodes nearest to a target; ends with `LookupEnded`. Return the operation's number.

        Raises:
            QuotaExceeded: here as in `get` and `put`, too many operations wait already.
        """
        return self._operations.find(target, now, seeds=seeds)

    def get(self, public_key: bytes, salt: bytes, now: float, *, seeds: Sequence[Address] = ()) -> int:
        """Look for an item: `ItemFound` at once for the first and each newer one, then `LookupEnded`."""
        wanted = Wanted(public_key=public_key, salt=salt)
        present = self.storage.get(wanted.target, now)
        signed = present if isinstance(present, SignedValue) else None
        return self._operations.get(wanted, now, present=signed, seeds=seeds)

    def put(
        self,
        item: MutableItem,
        now: float,
        *,
        cas: int | None = None,
        unless_held: int | None = None,
        seeds: Sequence[Address] = (),
    ) -> int:
        """Store a signed item at the nodes nearest to its target; ends with `PutEnded`.

        Args:
            item: within bounds and verified by the caller.
            now: monotonic seconds.
            cas: store only over this sequence number (BEP 44).
            unless_held: store nothing if so many of the nearest nodes have this version already.
            seeds: where to begin besides the table.
        """
        return self._operations.put(item, now, cas=cas, unless_held=unless_held, seeds=seeds)

    def tell(self, number: int, item: MutableItem, now: float) -> None:
        """Tell a get of a verified item that was found elsewhere: it goes on for a second, looking for a newer one."""
        self._operations.tell(number, SignedValue.of(item), now)

    def cancel(self, number: int, now: float) -> None:
        """Forget an operation: nobody waits for it any more."""
        self._operations.cancel(number, now)

    # Datagrams

    def receive(self, datagram: bytes, address: Address, now: float) -> None:
        """Take a datagram. Whatever it holds, this does not raise."""
        self.counters.datagrams_in += 1
        self.counters.bytes_in += len(datagram)
        try:
            message = decode(datagram)
        except DecodeError:
            self.counters.drop("malformed")
            return
        match message:
            case Query():
                self._on_query(message, address, now)
            case Answer():
                self._on_answer(message, address, now)
            case Failure():
                self._on_failure(message, address, now)
        self._operations.begin_waiting(now)

    def _on_query(self, query: Query, address: Address, now: float) -> None:
        if self.read_only or query.sender == self.own_id:
            self.counters.drop("read_only" if self.read_only else "own")
            return
        answer = self._responder.answer(query, address, now)
        if answer is not None:
            self._outbox.send(answer, address)
        if not query.read_only and answer is not None and self.table.wants(query.sender, address):
            self._verify(address, now)

    def _verify(self, address: Address, now: float) -> None:
        """Ping a stranger: only an answer from its address brings it into the table."""
        verified = self.verifying()
        if len(verified) < VERIFICATIONS_MAX and address not in verified:
            self._outbox.ask(address, b"ping", {}, purpose=Purpose.VERIFY, now=now)

    def verifying(self) -> list[Address]:
        """Return the addresses of strangers that were pinged and have not answered yet."""
        return self._outbox.transactions.addresses(Purpose.VERIFY)

    def hear_of(self, nodes: Iterable[tuple[bytes, Address]], now: float) -> None:
        """Take nodes of our family that were named in the other one (BEP 32): those who answer a ping are known."""
        for node_id, address in nodes:
            if self.table.wants(node_id, address):
                self._verify(address, now)
                self._self_lookup_at = min(self._self_lookup_at, now + BOOTSTRAP_RETRY_S)

    def _on_answer(self, answer: Answer, address: Address, now: float) -> None:
        pending = self._outbox.transactions.close(answer.transaction, address, now)
        if pending is None:
            self.counters.drop("unsolicited")
            return
        self.counters.end_query(pending.method, "answered")
        if answer.sender == self.own_id:
            # We asked ourselves, by a seed that is our own public address.
            self._operations.on_no_answer(pending, now)
            return
        self.table.on_answered(answer.sender, address, now)
        self._responder.egress.proofs.prove(address[0], now)
        if answer.external is not None and self.external.vote(address, answer.external):
            self._adopt_address(now)
        if self._other is not None and pending.purpose is Purpose.LOOKUP:
            self._other.hear_of(named_nodes(answer.values, address, is_ipv6=":" not in address[0]), now)
        self._operations.on_answer(pending, answer, address, now)

    def _on_failure(self, failure: Failure, address: Address, now: float) -> None:
        pending = self._outbox.transactions.close(failure.transaction, address, now)
        if pending is None:
            self.counters.drop("unsolicited")
            return
        self.counters.end_query(pending.method, "refused")
        self._operations.on_failure(pending, failure.code, now)

    # Time

    def next_deadline(self) -> float:
        """Return when `tick` is next needed."""
        candidates = (self._maintain_at, self._operations.next_deadline(), self._outbox.transactions.next_deadline())
        return min(deadline for deadline in candidates if deadline is not None)

    def tick(self, now: float) -> None:
        """Do what time brings: timeouts, ends of fast gets, upkeep."""
        due = self._outbox.transactions.due(now)
        for pending in due.slow:
            self._operations.on_slow(pending, now)
        for pending in due.failed:
            self.counters.queries_failed += 1
            self.counters.end_query(pending.method, "silent")
            self.table.on_failed(pending.address, now)
            self._operations.on_no_answer(pending, now)
        self._operations.tick(now)
        if now >= self._maintain_at:
            self._maintain_at = now + MAINTENANCE_S
            self._maintain(now)
        self._operations.begin_waiting(now)
        for pending in due.to_send:
            self._outbox.send(pending.datagram, pending.address)

    def _maintain(self, now: float) -> None:
        if self._tokens.is_due(now):
            self._tokens.rotate(self._entropy(_SECRET_BYTES), now)
        self.counters.items_expired += self.storage.expire(now)
        for stale in self.table.stale(now, UPKEEP_PINGS_MAX):
            self._outbox.ask(stale.address, b"ping", {}, purpose=Purpose.UPKEEP, now=now)
        idle = self.table.idle_target(now, self._entropy(NODE_ID_BYTES))
        if idle is not None:
            self._operations.refresh(idle, now)
        if now >= self._self_lookup_at:
            self._look_around(now)

    def _look_around(self, now: float) -> None:
        """Look up our own id while the network is small, but not again when joining has just done so."""
        is_alone = not self.table and bool(self.bootstrap)
        known_at = self._operations.neighbours_known_at
        is_known = known_at is not None and now < known_at + SELF_LOOKUP_S and not is_alone
        began = known_at if is_known and known_at is not None else now
        self._self_lookup_at = began + (BOOTSTRAP_RETRY_S if is_alone else SELF_LOOKUP_S)
        if len(self.table) < TABLE_SMALL_NODES and not is_known:
            self._operations.refresh(self.own_id, now)

    def _adopt_address(self, now: float) -> None:
        """Take an id that is bound to the address that others see (BEP 42), and measure everything from it."""
        host = self.external.host
        if host is None or self._has_fixed_id or is_exempt(host) or is_secure(self.own_id, host):
            return
        own_id = secure_node_id(host, self._entropy(NODE_ID_BYTES))
        self._operations.move_to(own_id)
        self.table.move_to(own_id, now)
        self.storage.move_to(own_id)
