"""One iterative lookup: ask the nearest known nodes, learn nearer ones, stop when the nearest k have answered.

    fresh ──asked──▶ asked ──soft timeout──▶ slow ──hard timeout──▶ failed
                       └──────answer──────────┴──▶ answered

Alpha queries are kept outstanding among the top of the list (libtorrent's "aggressive"). A slow node frees its place
and no longer keeps the lookup from ending, but a late answer still counts. Seeds whose id is unknown (a link's hint, a
configured server) are asked first. The lookup is a value that is ticked: it sends nothing and knows no transactions.

What others name is bounded in every direction: so many nodes of one answer, so many candidates, so many queries, and
one candidate per network. So it ends under any answers whatever. Ids that are not bound to their address (BEP 42) rank
behind those that are, or whoever is asked could claim to be the nearest of all: with three liars in ten doing that, 0 of
40 reads succeeded in the simulator, and 40 with this order.

A fast get ends `FAST_GET_S` after the first valid item; until then it looks for a higher sequence number. Only items
that verify are ever handed on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import Enum

import msgspec

from dht import bencode
from dht.errors import DecodeError, InvalidSignature
from dht.items import mutable_target
from dht.krpc import Answer, Arguments
from dht.limits import (
    BUCKET_NODES_MAX,
    FAST_GET_S,
    LOOKUP_CANDIDATES_MAX,
    LOOKUP_PARALLEL,
    LOOKUP_QUERIES_MAX,
    LOOKUP_SEEDS_MAX,
    LOOKUP_WIDTH_MAX,
    REPLY_NODES_MAX,
    SEQUENCE_MAX,
)
from dht.node_id import NODE_ID_BITS, Address, distance, is_loopback, is_secure, network_of, unpack_nodes
from dht.routing_table import Admission
from dht.storage import SignedValue


class CandidateState(Enum):
    """Where a candidate stands."""

    FRESH = "fresh"
    ASKED = "asked"
    SLOW = "slow"
    ANSWERED = "answered"
    FAILED = "failed"


class Candidate(msgspec.Struct, kw_only=True):
    """A node of one lookup. A seed of unknown id sorts before all others. `token` and `seq` are as it answered.

    `hops` is how far from our own table it was named: 1 for those we knew.
    """

    address: Address
    node_id: bytes | None
    distance: int
    is_secure: bool = True
    hops: int = 1
    state: CandidateState = CandidateState.FRESH
    token: bytes | None = None
    seq: int | None = None


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """The mutable item that a get looks for."""

    public_key: bytes
    salt: bytes = b""

    @property
    def target(self) -> bytes:
        """The 20 bytes under which it is found."""
        return mutable_target(self.public_key, self.salt)


class Lookup:
    """A lookup for the nodes nearest to `target`, and for an item if one is `wanted`.

    Args:
        target: 20 bytes.
        wanted: the item to find on the way; None looks for nodes only.
        is_fast: end soon after the first valid item; False goes on to the nearest k, as a put needs.
        admission: who may be asked because others named it.
        own_id: ours: others name us, too.
        reach: the distance within which the nearest k are expected. If k are found nearer, somebody may have crowded in
            beside the target, and everybody within reach counts.
        may_ask: whether an address is ours to ask, when several lookups share the nodes (`disjoint`).
        queries_max: how many are asked at most.
    """

    def __init__(
        self,
        target: bytes,
        *,
        wanted: Wanted | None,
        is_fast: bool,
        admission: Admission,
        own_id: bytes,
        reach: int = 0,
        may_ask: Callable[[Address], bool] | None = None,
        queries_max: int = LOOKUP_QUERIES_MAX,
    ) -> None:
        self.target = target
        self._may_ask = may_ask
        self._queries_max = queries_max
        self._is_overfull = False
        self._own_id = own_id
        self._reach = reach
        self.wanted = wanted
        self.best: SignedValue | None = None
        self.hops: int | None = None
        self.queries = 0
        self.rejected = 0
        self.deadline: float | None = None
        self._is_fast = is_fast
        self._admission = admission
        self._candidates: dict[Address, Candidate] = {}
        self._order: list[Candidate] = []
        self._networks: dict[bytes, Address] = {}

    def add_seeds(self, seeds: Iterable[tuple[bytes | None, Address]]) -> None:
        """Add nodes that we trust to be nodes: from our table, a link or the configuration."""
        for node_id, address in seeds:
            if len(self._candidates) >= LOOKUP_SEEDS_MAX:
                return
            self._add(node_id, address)

    def move_to(self, own_id: bytes) -> None:
        """Go on towards another id of ours: our neighbours are there now.

        Those of them that answered before are asked again: they know us under the old id.
        """
        assert self.wanted is None, "an item stays where it is"
        self.target = self._own_id = own_id
        for candidate in self._order:
            if candidate.node_id is not None:
                candidate.distance = distance(candidate.node_id, own_id)
            if candidate.state is CandidateState.ANSWERED:
                candidate.state = CandidateState.FRESH
        self._sort()

    def next_queries(self) -> list[Candidate]:
        """Return the candidates to ask now, marked as asked."""
        asked = []
        outstanding = answered = 0
        for candidate in self._order:
            if outstanding >= LOOKUP_PARALLEL or self.queries >= self._queries_max:
                break
            if self._is_beyond(candidate, answered):
                break
            match candidate.state:
                case CandidateState.ANSWERED:
                    answered += 1
                case CandidateState.ASKED:
                    outstanding += 1
                case CandidateState.FRESH if self._may_ask is not None and not self._may_ask(candidate.address):
                    candidate.state = CandidateState.FAILED
                case CandidateState.FRESH:
                    candidate.state = CandidateState.ASKED
                    outstanding += 1
                    self.queries += 1
                    asked.append(candidate)
                case CandidateState.SLOW | CandidateState.FAILED:
                    pass
        return asked

    def query(self) -> tuple[bytes, Arguments]:
        """Return method and arguments (without our id) of this lookup's queries."""
        arguments: Arguments = {b"target": self.target}
        if self.wanted is None:
            return b"find_node", arguments
        if self.best is not None:
            arguments[b"seq"] = self.best.seq
        return b"get", arguments

    def on_answer(self, answer: Answer, address: Address, now: float) -> SignedValue | None:
        """Take an answer. Return the item in it if it is valid and newer than what was found before."""
        candidate = self._candidates.get(address)
        if candidate is None or candidate.state in (CandidateState.FAILED, CandidateState.ANSWERED):
            return None
        self._name(candidate, answer.sender)
        candidate.state = CandidateState.ANSWERED
        token = answer.values.get(b"token")
        candidate.token = token if isinstance(token, bytes) else None
        for node_id, named in named_nodes(answer.values, address, is_ipv6=":" in address[0]):
            self._add(node_id, named, named_by=candidate)
        return self._take_item(answer.values, candidate, now)

    def on_slow(self, address: Address) -> None:
        """Note that a query is slow: its place may be used."""
        self._change(address, CandidateState.ASKED, CandidateState.SLOW)

    def on_failed(self, address: Address) -> None:
        """Note that a query failed: hard timeout, error, or it could not be sent."""
        self._change(address, CandidateState.ASKED, CandidateState.FAILED)
        self._change(address, CandidateState.SLOW, CandidateState.FAILED)

    def on_local(self, item: SignedValue, now: float) -> None:
        """Take what was found elsewhere and verified: in our own storage, on another path, in the other family."""
        if self.best is None or item.seq > self.best.seq:
            self.best = item
            self._set_deadline(now)

    def is_finished(self, now: float) -> bool:
        """Whether nothing more is to be expected: the nearest k answered, or nobody is left to ask."""
        if self.deadline is not None and now >= self.deadline:
            return True
        states = list(self._nearest_states())
        if CandidateState.ASKED in states:
            return False
        if CandidateState.FRESH in states:
            return self.queries >= self._queries_max
        # With no answer at all, the slow ones are our only hope.
        return CandidateState.ANSWERED in states or CandidateState.SLOW not in states

    @property
    def has_unasked(self) -> bool:
        """Whether anybody was named who was not asked: then there are other ways to go."""
        return self._is_overfull or any(candidate.state is CandidateState.FRESH for candidate in self._order)

    def closest(self, count: int) -> list[Candidate]:
        """Return the nearest candidates that answered."""
        return [candidate for candidate in self._order if candidate.state is CandidateState.ANSWERED][:count]

    def storers(self) -> list[Candidate]:
        """Return those that answered and should store: the nearest k, and whoever else is within reach."""
        answered = self.closest(LOOKUP_WIDTH_MAX)
        return [candidate for place, candidate in enumerate(answered) if not self._is_beyond(candidate, place)]

    def _nearest_states(self) -> Iterator[CandidateState]:
        """States of all that matter: up to the k-th that answered, and within reach while nothing is found."""
        answered = 0
        for candidate in self._order:
            if self._is_beyond(candidate, answered):
                return
            yield candidate.state
            answered += candidate.state is CandidateState.ANSWERED

    def _is_beyond(self, candidate: Candidate, answered: int) -> bool:
        """Whether a candidate no longer matters when so many nearer ones have answered."""
        if answered < BUCKET_NODES_MAX:
            return False
        is_content = self._is_fast and self.best is not None
        is_within_reach = candidate.is_secure and candidate.distance <= self._reach
        return answered >= LOOKUP_WIDTH_MAX or is_content or not is_within_reach

    def _add(self, node_id: bytes | None, address: Address, *, named_by: Candidate | None = None) -> None:
        if address in self._candidates:
            return
        host = address[0]
        if named_by is not None:
            if node_id == self._own_id or not self._admission.admits(node_id, address):
                return
            if self._admission.restricts(host) and self._networks.setdefault(network_of(host), address) != address:
                return
        rank = -1 if node_id is None else distance(node_id, self.target)
        secure = node_id is None or is_secure(node_id, host)
        hops = 1 if named_by is None else named_by.hops + 1
        candidate = Candidate(address=address, node_id=node_id, distance=rank, is_secure=secure, hops=hops)
        self._candidates[address] = candidate
        self._order.append(candidate)
        self._sort()

    def _sort(self) -> None:
        self._order.sort(key=lambda candidate: (not candidate.is_secure, candidate.distance))
        while len(self._order) > LOOKUP_CANDIDATES_MAX:
            dropped = self._order.pop()
            self._is_overfull = True
            del self._candidates[dropped.address]

    def _name(self, candidate: Candidate, node_id: bytes) -> None:
        """A node is where its answer says, not where others said it was."""
        if candidate.node_id != node_id:
            candidate.node_id = node_id
            candidate.distance = distance(node_id, self.target)
            candidate.is_secure = is_secure(node_id, candidate.address[0])
            assert candidate.distance < 1 << NODE_ID_BITS, "ids have 160 bits"
            self._sort()

    def _take_item(self, values: Arguments, candidate: Candidate, now: float) -> SignedValue | None:
        if self.wanted is None:
            return None
        seq = values.get(b"seq")
        if not isinstance(seq, int) or not 0 <= seq <= SEQUENCE_MAX:
            return None
        candidate.seq = seq
        item = _item_of(values, self.wanted, seq)
        if item is None:
            self.rejected += b"v" in values
            return None
        if self.best is not None and item.seq <= self.best.seq:
            return None
        try:
            item.verify()
        except InvalidSignature:
            self.rejected += 1
            candidate.seq = None
            return None
        self.best = item
        self.hops = candidate.hops if self.hops is None else self.hops
        self._set_deadline(now)
        return item

    def _set_deadline(self, now: float) -> None:
        if self._is_fast and self.deadline is None:
            self.deadline = now + FAST_GET_S

    def _change(self, address: Address, before: CandidateState, after: CandidateState) -> None:
        candidate = self._candidates.get(address)
        if candidate is not None and candidate.state is before:
            candidate.state = after


def named_nodes(values: Arguments, address: Address, *, is_ipv6: bool) -> list[tuple[bytes, Address]]:
    """Return the nodes of an address family that an answer from `address` names, empty if it is none it may name."""
    packed = values.get(b"nodes6" if is_ipv6 else b"nodes", b"")
    if not isinstance(packed, bytes):
        return []
    try:
        nodes = unpack_nodes(packed, node_bytes=38 if is_ipv6 else 26, nodes_max=REPLY_NODES_MAX)
    except DecodeError:
        return []
    # Nobody outside this machine can know what runs on it.
    return [node for node in nodes if not is_loopback(node[1][0]) or is_loopback(address[0])]


def _item_of(values: Arguments, wanted: Wanted, seq: int) -> SignedValue | None:
    """Return the item of a get's answer, not yet verified; None if it is another's or no string."""
    match values:
        case {b"k": bytes(key), b"sig": bytes(signature), b"v": bytes(value)} if key == wanted.public_key:
            return SignedValue(
                public_key=key,
                salt=wanted.salt,
                seq=seq,
                encoded_value=bencode.encode(value),
                signature=signature,
            )
        case _:
            return None
