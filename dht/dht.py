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
from typing import TypeAlias

import msgspec

from dht.counters import Counters
from dht.errors import DecodeError, QuotaExceeded
from dht.external_address import ExternalAddress
from dht.items import MutableItem
from dht.krpc import Answer, Arguments, ErrorCode, Failure, Query, decode, encode_query
from dht.limits import (
    BOOTSTRAP_MAX,
    BOOTSTRAP_RETRY_S,
    BUCKET_NODES_MAX,
    LOOKUPS_MAX,
    LOOKUPS_WAITING_MAX,
    MAINTENANCE_S,
    PUT_REPLICAS,
    REPLY_NODES_MAX,
    SELF_LOOKUP_S,
    TABLE_SMALL_NODES,
    UPKEEP_PINGS_MAX,
    VERIFICATIONS_MAX,
)
from dht.lookup import Candidate, Lookup, Wanted
from dht.node_id import NODE_ID_BYTES, Address, is_exempt, is_secure, secure_node_id
from dht.responder import Responder
from dht.routing_table import Admission, RoutingTable
from dht.storage import SignedValue, Storage
from dht.tokens import Tokens
from dht.transactions import Entropy, Pending, Purpose, Transactions

_SECRET_BYTES = 16


class PutResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a put achieved.

    `stored` nodes have the item now, those that had exactly this version included; `refused` counts the others' codes
    (BEP 44); `closest_queried` nodes were asked to store; `held` had this version before; `newer` is a later version
    that was seen on the way.
    """

    stored: int
    refused: dict[int, int]
    closest_queried: int
    held: int = 0
    newer: MutableItem | None = None


class ItemFound(msgspec.Struct, frozen=True, kw_only=True):
    """A get found a valid item, newer than any it found before."""

    operation: int
    item: MutableItem


class LookupEnded(msgspec.Struct, frozen=True, kw_only=True):
    """A get or find is over. `answered` of `queries` nodes answered."""

    operation: int
    item: MutableItem | None
    queries: int
    answered: int


class PutEnded(msgspec.Struct, frozen=True, kw_only=True):
    """A put is over."""

    operation: int
    result: PutResult


Event: TypeAlias = ItemFound | LookupEnded | PutEnded


class Operation(msgspec.Struct, kw_only=True):
    """A lookup and what follows it. `item` is set for puts; `unanswered` are the nodes that still owe a put's answer."""

    number: int
    lookup: Lookup
    seeds: Sequence[Address]
    item: MutableItem | None = None
    cas: int | None = None
    unless_held: int | None = None
    is_internal: bool = False
    is_storing: bool = False
    unanswered: dict[Address, Candidate] = msgspec.field(default_factory=dict)
    stored: int = 0
    held: int = 0
    asked_to_store: int = 0
    refused: dict[int, int] = msgspec.field(default_factory=dict)


class Dht:
    """A Mainline node as a state machine.

    Args:
        own_id: 20 bytes; None makes one from `entropy`, which is replaced once our address is known (BEP 42).
        admission: who may enter tables.
        read_only: ask, never answer (BEP 43).
        bootstrap: addresses to begin from while few nodes are known.
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
    ) -> None:
        self.counters = Counters()
        self.read_only = read_only
        self.external = ExternalAddress()
        self.bootstrap = tuple(bootstrap)[:BOOTSTRAP_MAX]
        self._has_fixed_id = own_id is not None
        self._entropy = entropy
        self._admission = admission
        own_id = entropy(NODE_ID_BYTES) if own_id is None else own_id
        self.table = RoutingTable(own_id, admission=admission, now=now)
        self.storage = Storage(own_id)
        self._tokens = Tokens(entropy(_SECRET_BYTES), now)
        self._responder = Responder(
            table=self.table, storage=self.storage, tokens=self._tokens, admission=admission, counters=self.counters
        )
        self._transactions = Transactions(entropy)
        self._operations: dict[int, Operation] = {}
        self._waiting: dict[int, Operation] = {}
        self._next_operation = 1
        self._datagrams: list[tuple[bytes, Address]] = []
        self._events: list[Event] = []
        self._maintain_at = now + MAINTENANCE_S
        self._self_lookup_at = now + BOOTSTRAP_RETRY_S

    @property
    def own_id(self) -> bytes:
        """Our 20-byte id; it may change once, when our address becomes known (BEP 42)."""
        return self.table.own_id

    def take_datagrams(self) -> list[tuple[bytes, Address]]:
        """Return what is to be sent, and forget it."""
        datagrams, self._datagrams = self._datagrams, []
        return datagrams

    def take_events(self) -> list[Event]:
        """Return what happened, and forget it."""
        events, self._events = self._events, []
        return events

    # Commands

    def find(self, target: bytes, now: float, *, seeds: Sequence[Address] = ()) -> int:
        """Look for the nodes nearest to a target; ends with `LookupEnded`. Return the operation's number.

        Raises:
            QuotaExceeded: here as in `get` and `put`, too many operations wait already.
        """
        lookup = self._lookup(target, wanted=None, is_fast=False)
        return self._begin(Operation(number=self._number(), lookup=lookup, seeds=seeds), now)

    def get(self, public_key: bytes, salt: bytes, now: float, *, seeds: Sequence[Address] = ()) -> int:
        """Look for an item: `ItemFound` at once for the first and each newer one, then `LookupEnded`."""
        lookup = self._item_lookup(public_key, salt, is_fast=True)
        operation = Operation(number=self._number(), lookup=lookup, seeds=seeds)
        present = self.storage.get(lookup.target, now)
        if isinstance(present, SignedValue):
            lookup.on_local(present, now)
            self._found(operation, present)
        return self._begin(operation, now)

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
        lookup = self._item_lookup(item.public_key, item.salt, is_fast=False)
        operation = Operation(
            number=self._number(), lookup=lookup, seeds=seeds, item=item, cas=cas, unless_held=unless_held
        )
        return self._begin(operation, now)

    def cancel(self, number: int, now: float) -> None:
        """Forget an operation: nobody waits for it any more."""
        self._waiting.pop(number, None)
        self._operations.pop(number, None)
        self._begin_waiting(now)

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
        self._begin_waiting(now)

    def _on_query(self, query: Query, address: Address, now: float) -> None:
        if self.read_only or query.sender == self.own_id:
            self.counters.drop("read_only" if self.read_only else "own")
            return
        answer = self._responder.answer(query, address, now)
        if answer is not None:
            self._send(answer, address)
        if not query.read_only and answer is not None and self.table.wants(query.sender, address):
            self._verify(address, now)

    def _verify(self, address: Address, now: float) -> None:
        """Ping a stranger: only an answer from its address brings it into the table."""
        if self._transactions.count(Purpose.VERIFY) < VERIFICATIONS_MAX:
            self._ask(address, b"ping", {}, purpose=Purpose.VERIFY, now=now)

    def _on_answer(self, answer: Answer, address: Address, now: float) -> None:
        pending = self._transactions.close(answer.transaction, address, now)
        if pending is None:
            self.counters.drop("unsolicited")
            return
        if answer.sender == self.own_id:
            # We asked ourselves, by a seed that is our own public address.
            self._on_no_answer(pending, now)
            return
        self.table.on_answered(answer.sender, address, now)
        self._responder.egress.proofs.prove(address[0], now)
        if answer.external is not None and self.external.vote(address, answer.external):
            self._adopt_address(now)
        operation = self._operation_of(pending)
        if operation is None:
            return
        if pending.purpose is Purpose.PUT:
            self._on_put_answered(operation, address, None)
        else:
            rejected = operation.lookup.rejected
            found = operation.lookup.on_answer(answer, address, now)
            self.counters.items_rejected += operation.lookup.rejected - rejected
            if found is not None and operation.item is None:
                self._found(operation, found)
        self._advance(operation, now)

    def _on_failure(self, failure: Failure, address: Address, now: float) -> None:
        pending = self._transactions.close(failure.transaction, address, now)
        if pending is None:
            self.counters.drop("unsolicited")
            return
        operation = self._operation_of(pending)
        if operation is not None and pending.purpose is Purpose.PUT:
            self._on_put_answered(operation, address, failure.code)
            self._advance(operation, now)
        else:
            self._on_no_answer(pending, now)

    def _on_no_answer(self, pending: Pending, now: float) -> None:
        operation = self._operation_of(pending)
        if operation is None:
            return
        if pending.purpose is Purpose.PUT:
            operation.unanswered.pop(pending.address, None)
        else:
            operation.lookup.on_failed(pending.address)
        self._advance(operation, now)

    def _operation_of(self, pending: Pending) -> Operation | None:
        return None if pending.operation is None else self._operations.get(pending.operation)

    # Time

    def next_deadline(self) -> float:
        """Return when `tick` is next needed."""
        deadlines = [self._maintain_at]
        deadlines += [op.lookup.deadline for op in self._operations.values() if op.lookup.deadline is not None]
        pending = self._transactions.next_deadline()
        return min(deadlines) if pending is None else min(*deadlines, pending)

    def tick(self, now: float) -> None:
        """Do what time brings: timeouts, ends of fast gets, upkeep."""
        due = self._transactions.due(now)
        for pending in due.slow:
            operation = self._operation_of(pending)
            if operation is not None:
                operation.lookup.on_slow(pending.address)
                self._advance(operation, now)
        for pending in due.failed:
            self.counters.queries_failed += 1
            self.table.on_failed(pending.address, now)
            self._on_no_answer(pending, now)
        for operation in list(self._operations.values()):
            if operation.lookup.deadline is not None and now >= operation.lookup.deadline:
                self._advance(operation, now)
        if now >= self._maintain_at:
            self._maintain_at = now + MAINTENANCE_S
            self._maintain(now)
        self._begin_waiting(now)
        for pending in due.to_send:
            self._send(pending.datagram, pending.address)

    def _maintain(self, now: float) -> None:
        if self._tokens.is_due(now):
            self._tokens.rotate(self._entropy(_SECRET_BYTES), now)
        self.counters.items_expired += self.storage.expire(now)
        for stale in self.table.stale(now, UPKEEP_PINGS_MAX):
            self._ask(stale.address, b"ping", {}, purpose=Purpose.UPKEEP, now=now)
        idle = self.table.idle_target(now, self._entropy(NODE_ID_BYTES))
        if idle is not None:
            self._begin_internal(idle, now)
        if now >= self._self_lookup_at:
            is_alone = not self.table and bool(self.bootstrap)
            self._self_lookup_at = now + (BOOTSTRAP_RETRY_S if is_alone else SELF_LOOKUP_S)
            if len(self.table) < TABLE_SMALL_NODES:
                self._begin_internal(self.own_id, now)

    def _adopt_address(self, now: float) -> None:
        """Take an id that is bound to the address that others see (BEP 42), and measure everything from it."""
        host = self.external.host
        if host is None or self._has_fixed_id or is_exempt(host) or is_secure(self.own_id, host):
            return
        own_id = secure_node_id(host, self._entropy(NODE_ID_BYTES))
        table = RoutingTable(own_id, admission=self._admission, now=now)
        for contact in self.table:
            table.on_answered(contact.node_id, contact.address, contact.answered_at)
        self.table = self._responder.table = table
        self.storage.move_to(own_id)

    # Operations

    def _number(self) -> int:
        number = self._next_operation
        self._next_operation += 1
        return number

    def _item_lookup(self, public_key: bytes, salt: bytes, *, is_fast: bool) -> Lookup:
        wanted = Wanted(public_key=public_key, salt=salt)
        return self._lookup(wanted.target, wanted=wanted, is_fast=is_fast)

    def _lookup(self, target: bytes, *, wanted: Wanted | None, is_fast: bool) -> Lookup:
        return Lookup(target, wanted=wanted, is_fast=is_fast, admission=self._admission, own_id=self.own_id)

    def _begin_internal(self, target: bytes, now: float) -> None:
        """Begin a lookup that keeps the table fresh, unless there is enough to do."""
        if len(self._operations) < LOOKUPS_MAX:
            lookup = self._lookup(target, wanted=None, is_fast=False)
            self._begin(Operation(number=self._number(), lookup=lookup, seeds=(), is_internal=True), now)

    def _begin(self, operation: Operation, now: float) -> int:
        if len(self._operations) >= LOOKUPS_MAX:
            if len(self._waiting) >= LOOKUPS_WAITING_MAX:
                raise QuotaExceeded(f"{LOOKUPS_WAITING_MAX} lookups wait already")
            self._waiting[operation.number] = operation
            return operation.number
        lookup = operation.lookup
        lookup.add_seeds((None, address) for address in operation.seeds)
        near = self.table.closest(lookup.target, BUCKET_NODES_MAX)
        lookup.add_seeds((contact.node_id, contact.address) for contact in near)
        if len(near) < REPLY_NODES_MAX:
            lookup.add_seeds((None, address) for address in self.bootstrap)
        self._operations[operation.number] = operation
        self._advance(operation, now)
        return operation.number

    def _begin_waiting(self, now: float) -> None:
        # Not from `_end`: operations that end as soon as they begin would nest as deep as many wait.
        while self._waiting and len(self._operations) < LOOKUPS_MAX:
            self._begin(self._waiting.pop(next(iter(self._waiting))), now)

    def _advance(self, operation: Operation, now: float) -> None:
        """Ask whom the lookup wants asked; go on to storing, or end, when it is done."""
        if operation.number not in self._operations:
            return
        if not operation.is_storing:
            self._ask_candidates(operation, now)
            if not operation.lookup.is_finished(now):
                return
            if operation.item is not None and not self._is_held(operation):
                self._store(operation, now)
        if not operation.unanswered:
            self._end(operation)

    def _ask_candidates(self, operation: Operation, now: float) -> None:
        lookup = operation.lookup
        while candidates := lookup.next_queries():
            for candidate in candidates:
                method, arguments = lookup.query()
                is_sent = self._ask(
                    candidate.address,
                    method,
                    arguments,
                    purpose=Purpose.LOOKUP,
                    operation=operation.number,
                    now=now,
                    may_resend=candidate.node_id is None,
                )
                if not is_sent:
                    lookup.on_failed(candidate.address)

    def _is_held(self, operation: Operation) -> bool:
        """Count the nearest nodes that have this version, and say whether that is enough (BEP 44)."""
        assert operation.item is not None, "only puts store"
        near = operation.lookup.closest(PUT_REPLICAS)
        operation.held = sum(candidate.seq == operation.item.seq for candidate in near)
        return operation.unless_held is not None and operation.held >= operation.unless_held

    def _store(self, operation: Operation, now: float) -> None:
        item = operation.item
        assert item is not None, "only puts store"
        operation.is_storing = True
        for candidate in operation.lookup.closest(PUT_REPLICAS):
            if candidate.token is None:
                continue
            arguments: Arguments = {
                b"k": item.public_key,
                b"seq": item.seq,
                b"sig": item.signature,
                b"token": candidate.token,
                b"v": item.value,
            }
            arguments |= {b"salt": item.salt} if item.salt else {}
            arguments |= {b"cas": operation.cas} if operation.cas is not None else {}
            if self._ask(
                candidate.address, b"put", arguments, purpose=Purpose.PUT, operation=operation.number, now=now
            ):
                operation.unanswered[candidate.address] = candidate
                operation.asked_to_store += 1

    def _on_put_answered(self, operation: Operation, address: Address, code: int | None) -> None:
        candidate = operation.unanswered.pop(address, None)
        if candidate is None:
            return
        assert operation.item is not None, "only puts are answered as puts"
        # Some implementations refuse to store again what they have (bittorrent-dht): that is a success.
        has_it = code == ErrorCode.SEQUENCE_LESS and candidate.seq == operation.item.seq
        if code is None or has_it:
            operation.stored += 1
        else:
            operation.refused[code] = operation.refused.get(code, 0) + 1

    def _found(self, operation: Operation, found: SignedValue) -> None:
        item = found.to_item()
        if item is not None and not operation.is_internal:
            self._events.append(ItemFound(operation=operation.number, item=item))

    def _end(self, operation: Operation) -> None:
        del self._operations[operation.number]
        lookup = operation.lookup
        best = None if lookup.best is None else lookup.best.to_item()
        if operation.item is not None:
            self.counters.end_put("stored" if operation.stored or operation.held else "unstored")
            result = PutResult(
                stored=operation.stored,
                refused=operation.refused,
                closest_queried=operation.asked_to_store,
                held=operation.held,
                newer=best if best is not None and best.seq > operation.item.seq else None,
            )
            self._events.append(PutEnded(operation=operation.number, result=result))
        else:
            kind = "complete" if lookup.wanted is None else "missing" if best is None else "found"
            self.counters.end_lookup(kind)
            if not operation.is_internal:
                answered = len(lookup.closest(lookup.queries))
                self._events.append(
                    LookupEnded(operation=operation.number, item=best, queries=lookup.queries, answered=answered)
                )

    # Sending

    def _ask(
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
        def encode(transaction: bytes) -> bytes:
            return encode_query(
                method, {b"id": self.own_id, **arguments}, transaction=transaction, read_only=self.read_only
            )

        pending = self._transactions.open(
            address, encode=encode, purpose=purpose, operation=operation, now=now, may_resend=may_resend
        )
        if pending is None:
            return False
        self.counters.queries_sent += 1
        if pending.send_at <= now:
            pending.is_sent = True
            self._send(pending.datagram, address)
        return True

    def _send(self, datagram: bytes, address: Address) -> None:
        self.counters.datagrams_out += 1
        self.counters.bytes_out += len(datagram)
        self._datagrams.append((datagram, address))
