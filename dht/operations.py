"""Operations: lookups that somebody waits for, and the puts that follow some of them.

    begun ─▶ (waits for a place) ─▶ lookup ─▶ storing (puts only) ─▶ ended: one event
                                      └──▶ disjoint lookups (gets that found nothing) ─▶ ended

Only `LOOKUPS_MAX` run at a time. What ends one operation begins another, so beginning is never done from within an end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import msgspec

from dht.counters import Counters
from dht.disjoint import DisjointLookup
from dht.errors import QuotaExceeded
from dht.events import Event, ItemFound, LookupEnded, PutEnded, PutResult
from dht.items import MutableItem
from dht.krpc import Answer, Arguments, ErrorCode
from dht.limits import (
    BOOTSTRAP_MAX,
    BUCKET_NODES_MAX,
    DISJOINT_PATHS,
    DISJOINT_QUERIES_MAX,
    LOOKUP_QUERIES_MAX,
    LOOKUPS_MAX,
    LOOKUPS_WAITING_MAX,
    PUT_REPLICAS,
    REPLY_NODES_MAX,
    TABLE_SMALL_NODES,
)
from dht.lookup import Candidate, Lookup, Wanted
from dht.node_id import Address
from dht.outbox import Outbox
from dht.routing_table import Admission, RoutingTable
from dht.storage import SignedValue
from dht.transactions import Pending, Purpose


class Operation(msgspec.Struct, kw_only=True):
    """A lookup and what follows it. `item` is set for puts; `unanswered` are the nodes that still owe a put's answer."""

    number: int
    lookup: Lookup | DisjointLookup
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


class Operations:
    """All operations of a node.

    `bootstrap` are addresses to begin from while few nodes are known; `other` is our table of the other address family;
    `neighbours_known_at` is when a lookup of our own id last ended that somebody answered.
    """

    def __init__(
        self,
        *,
        table: RoutingTable,
        outbox: Outbox,
        admission: Admission,
        counters: Counters,
        bootstrap: Iterable[Address] = (),
    ) -> None:
        self.bootstrap = tuple(bootstrap)[:BOOTSTRAP_MAX]
        self.other: RoutingTable | None = None
        self.neighbours_known_at: float | None = None
        self._table = table
        self._outbox = outbox
        self._admission = admission
        self._counters = counters
        self._running: dict[int, Operation] = {}
        self._waiting: dict[int, Operation] = {}
        self._next_number = 1
        self._events: list[Event] = []

    def take_events(self) -> list[Event]:
        """Return what happened, and forget it."""
        events, self._events = self._events, []
        return events

    # Beginning

    def find(self, target: bytes, now: float, *, seeds: Sequence[Address] = ()) -> int:
        """Begin to look for the nodes nearest to a target; return the operation's number.

        Raises:
            QuotaExceeded: here as in `get` and `put`, too many operations wait already.
        """
        lookup = self._lookup(target, wanted=None, is_fast=False)
        return self._begin(Operation(number=self._number(), lookup=lookup, seeds=seeds), now)

    def get(
        self, wanted: Wanted, now: float, *, present: SignedValue | None = None, seeds: Sequence[Address] = ()
    ) -> int:
        """Begin to look for an item; `present` is the version that our own storage has."""
        lookup = self._lookup(wanted.target, wanted=wanted, is_fast=True)
        operation = Operation(number=self._number(), lookup=lookup, seeds=seeds)
        if present is not None:
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
        """Begin to store an item (`Dht.put`)."""
        wanted = Wanted(public_key=item.public_key, salt=item.salt)
        lookup = self._lookup(wanted.target, wanted=wanted, is_fast=False)
        operation = Operation(
            number=self._number(), lookup=lookup, seeds=seeds, item=item, cas=cas, unless_held=unless_held
        )
        return self._begin(operation, now)

    def refresh(self, target: bytes, now: float) -> None:
        """Begin a lookup that keeps the table fresh, unless there is enough to do."""
        if len(self._running) < LOOKUPS_MAX:
            lookup = self._lookup(target, wanted=None, is_fast=False)
            self._begin(Operation(number=self._number(), lookup=lookup, seeds=(), is_internal=True), now)

    def tell(self, number: int, item: SignedValue, now: float) -> None:
        """Tell a get of an item that was found elsewhere."""
        for operations in (self._running, self._waiting):
            if number in operations:
                operations[number].lookup.on_local(item, now)

    def cancel(self, number: int, now: float) -> None:
        """Forget an operation: nobody waits for it any more."""
        self._waiting.pop(number, None)
        self._running.pop(number, None)
        self.begin_waiting(now)

    def _number(self) -> int:
        number = self._next_number
        self._next_number += 1
        return number

    def _lookup(
        self,
        target: bytes,
        *,
        wanted: Wanted | None,
        is_fast: bool,
        may_ask: Callable[[Address], bool] | None = None,
    ) -> Lookup:
        return Lookup(
            target,
            wanted=wanted,
            is_fast=is_fast,
            admission=self._admission,
            own_id=self._table.own_id,
            reach=0 if wanted is None else self._table.reach(),
            may_ask=may_ask,
            queries_max=LOOKUP_QUERIES_MAX if may_ask is None else DISJOINT_QUERIES_MAX,
        )

    def _begin(self, operation: Operation, now: float) -> int:
        if len(self._running) >= LOOKUPS_MAX:
            if len(self._waiting) >= LOOKUPS_WAITING_MAX:
                raise QuotaExceeded(f"{LOOKUPS_WAITING_MAX} lookups wait already")
            self._waiting[operation.number] = operation
            return operation.number
        operation.lookup.add_seeds(self._seeds(operation, BUCKET_NODES_MAX))
        self._running[operation.number] = operation
        self._advance(operation, now)
        return operation.number

    def _seeds(self, operation: Operation, count: int) -> list[tuple[bytes | None, Address]]:
        """Return where to begin: an operation's own seeds, so many of the table, and the bootstrap if those are few."""
        near = self._table.closest(operation.lookup.target, count)
        seeds: list[tuple[bytes | None, Address]] = [(None, address) for address in operation.seeds]
        seeds += [(contact.node_id, contact.address) for contact in near]
        if len(near) < REPLY_NODES_MAX:
            seeds += [(None, address) for address in self.bootstrap]
        return seeds

    def begin_waiting(self, now: float) -> None:
        """Begin what waits, as far as there are places."""
        # Not from `_end`: operations that end as soon as they begin would nest as deep as many wait.
        while self._waiting and len(self._running) < LOOKUPS_MAX:
            self._begin(self._waiting.pop(next(iter(self._waiting))), now)

    def move_to(self, own_id: bytes) -> None:
        """Let lookups of our own id go on towards the one that we have from now on; told before the table is."""
        for operation in (*self._running.values(), *self._waiting.values()):
            lookup = operation.lookup
            if isinstance(lookup, Lookup) and lookup.wanted is None and lookup.target == self._table.own_id:
                lookup.move_to(own_id)

    # Progress

    def _of(self, pending: Pending) -> Operation | None:
        """Return the operation that a query belongs to, None if it has none or that is over."""
        return None if pending.operation is None else self._running.get(pending.operation)

    def next_deadline(self) -> float | None:
        """Return when a fast get is over by itself."""
        deadlines = [op.lookup.deadline for op in self._running.values() if op.lookup.deadline is not None]
        return min(deadlines, default=None)

    def tick(self, now: float) -> None:
        """End the fast gets whose time is over."""
        for operation in list(self._running.values()):
            if operation.lookup.deadline is not None and now >= operation.lookup.deadline:
                self._advance(operation, now)

    def on_answer(self, pending: Pending, answer: Answer, address: Address, now: float) -> None:
        """Take an answer to one of our queries."""
        operation = self._of(pending)
        if operation is None:
            return
        if pending.purpose is Purpose.PUT:
            self._on_put_answered(operation, address, None)
        else:
            rejected = operation.lookup.rejected
            found = operation.lookup.on_answer(answer, address, now)
            self._counters.items_rejected += operation.lookup.rejected - rejected
            if found is not None and operation.item is None:
                self._found(operation, found)
        self._advance(operation, now)

    def on_failure(self, pending: Pending, code: int, now: float) -> None:
        """Take an error (BEP 5) that answers one of our queries."""
        operation = self._of(pending)
        if operation is None or pending.purpose is not Purpose.PUT:
            self.on_no_answer(pending, now)
            return
        self._on_put_answered(operation, pending.address, code)
        self._advance(operation, now)

    def on_slow(self, pending: Pending, now: float) -> None:
        """Note that a query is slow: another may take its place."""
        operation = self._of(pending)
        if operation is not None:
            operation.lookup.on_slow(pending.address)
            self._advance(operation, now)

    def on_no_answer(self, pending: Pending, now: float) -> None:
        """Note that a query will not be answered."""
        operation = self._of(pending)
        if operation is None:
            return
        if pending.purpose is Purpose.PUT:
            operation.unanswered.pop(pending.address, None)
        else:
            operation.lookup.on_failed(pending.address)
        self._advance(operation, now)

    def _advance(self, operation: Operation, now: float) -> None:
        """Ask whom the lookup wants asked; go on to storing, or end, when it is done."""
        if operation.number not in self._running:
            return
        if not operation.is_storing:
            self._ask_candidates(operation, now)
            if not operation.lookup.is_finished(now):
                return
            if self._look_disjointly(operation):
                self._advance(operation, now)
                return
            if operation.item is not None and not self._is_held(operation):
                self._store(operation, now)
        if not operation.unanswered:
            self._end(operation, now)

    def _look_disjointly(self, operation: Operation) -> bool:
        """Begin disjoint lookups in the place of one that found nothing; return whether there is reason to."""
        first = operation.lookup
        if operation.item is not None or not isinstance(first, Lookup) or first.wanted is None:
            return False
        if first.best is not None or not first.has_unasked:
            return False
        begin = partial(self._lookup, first.target, wanted=first.wanted, is_fast=True)
        paths = DisjointLookup(first, lambda may_ask: begin(may_ask=may_ask), admission=self._admission)
        paths.add_seeds(self._seeds(operation, DISJOINT_PATHS * BUCKET_NODES_MAX))
        operation.lookup = paths
        return True

    def _ask_candidates(self, operation: Operation, now: float) -> None:
        lookup = operation.lookup
        wants_both = self.other is not None and len(self.other) < TABLE_SMALL_NODES
        while candidates := lookup.next_queries():
            for candidate in candidates:
                method, arguments = lookup.query()
                if wants_both:
                    arguments[b"want"] = [b"n4", b"n6"]
                is_sent = self._outbox.ask(
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
        assert isinstance(operation.lookup, Lookup), "only gets look disjointly"
        for candidate in operation.lookup.storers():
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
            if self._outbox.ask(
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

    def _end(self, operation: Operation, now: float) -> None:
        del self._running[operation.number]
        lookup = operation.lookup
        if lookup.target == self._table.own_id and lookup.closest(1):
            self.neighbours_known_at = now
        best = None if lookup.best is None else lookup.best.to_item()
        if operation.item is not None:
            self._counters.end_put("stored" if operation.stored or operation.held else "unstored")
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
            self._counters.end_lookup(kind)
            if isinstance(lookup, DisjointLookup):
                self._counters.end_disjoint(kind)
            if not operation.is_internal:
                ended = LookupEnded(
                    operation=operation.number,
                    item=best,
                    queries=lookup.queries,
                    answered=len(lookup.closest(lookup.queries)),
                    hops=lookup.hops,
                )
                self._events.append(ended)
