"""The routing table: whom we know, near us in detail and far away in samples (Kademlia 2.4, BEP 5).

    bucket i holds up to k nodes whose ids share exactly i leading bits with ours, and a few that wait for a place

A node enters only after it answered a query of ours from the address it is entered with: a forged sender address gets a
ping, not a place. A node leaves after `FAILURES_MAX` unanswered queries in a row. In a full bucket a newcomer takes the
place of one that failed at least once, or of one whose id is not bound to its address when its own is (BEP 42), and
waits otherwise: old nodes live longest, and an attacker cannot wash them out by arriving in numbers.

One node per address, one per /24 (IPv6 /64) and bucket; loopback is exempt. In a private network only listed addresses
or ids enter, wherever they are; anyone may still ask.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Iterable, Iterator

import msgspec

from dht.errors import QuotaExceeded
from dht.limits import (
    ALLOWED_MAX,
    BUCKET_IDLE_S,
    BUCKET_NODES_MAX,
    FAILURES_MAX,
    NODE_GOOD_S,
    REPLACEMENTS_MAX,
    TABLE_SMALL_NODES,
)
from dht.node_id import (
    NODE_ID_BITS,
    NODE_ID_BYTES,
    Address,
    is_loopback,
    is_secure,
    is_usable,
    network_of,
    shared_prefix_bits,
)


class Contact(msgspec.Struct, kw_only=True):
    """A node that has answered: its 20-byte id, the same as a number, where, when last, and failures since."""

    node_id: bytes
    number: int
    address: Address
    answered_at: float
    failures: int = 0
    secure: bool = True


class Bucket(msgspec.Struct, kw_only=True):
    """Nodes at one prefix length, by id, and newcomers that wait, the latest last."""

    nodes: dict[bytes, Contact] = msgspec.field(default_factory=dict)
    waiting: dict[bytes, Contact] = msgspec.field(default_factory=dict)
    refreshed_at: float = 0.0


class Admission(msgspec.Struct, frozen=True, kw_only=True):
    """Who may enter tables. `allowed` lists addresses and ids of a private network, and may grow; None means anyone."""

    restrict_ips: bool = True
    allowed: set[Address | bytes] | None = None

    @classmethod
    def of(cls, allow_list: Collection[Address | bytes] | None, *, restrict_ips: bool) -> Admission:
        """Return the rule of a list as configured.

        Raises:
            QuotaExceeded: the list is longer than `ALLOWED_MAX`.
        """
        if allow_list is not None and len(allow_list) > ALLOWED_MAX:
            raise QuotaExceeded(f"an allow-list has at most {ALLOWED_MAX} entries")
        allowed = None if allow_list is None else set(allow_list)
        return cls(restrict_ips=restrict_ips, allowed=allowed)

    def allow(self, entries: Collection[Address | bytes]) -> None:
        """Let these in, too, where not everybody may come.

        Raises:
            QuotaExceeded: the list would be longer than `ALLOWED_MAX`.
        """
        if self.allowed is None:
            return
        if len(self.allowed.union(entries)) > ALLOWED_MAX:
            raise QuotaExceeded(f"an allow-list has at most {ALLOWED_MAX} entries")
        self.allowed.update(entries)

    def admits(self, node_id: bytes | None, address: Address) -> bool:
        """Whether such a node may be in a table or be asked because others named it."""
        host, port = address
        if not is_usable(host) or not 0 < port < 1 << 16:
            return False
        return self.allowed is None or address in self.allowed or node_id in self.allowed

    def restricts(self, host: str) -> bool:
        """Whether this host and its network have only one place each in tables and lookups.

        Servers that a list names may well stand in one rack: whoever wrote the list vouches for them.
        """
        return self.restrict_ips and self.allowed is None and not is_loopback(host)

    @staticmethod
    def meters(host: str) -> bool:
        """Whether rates and quotas count for this host: all but our own machine."""
        return not is_loopback(host)


class RoutingTable:
    """Nodes known to be alive, by distance from `own_id`. Its methods never block and never send."""

    def __init__(self, own_id: bytes, *, admission: Admission, now: float) -> None:
        assert len(own_id) == NODE_ID_BYTES, "an id has 20 bytes"
        self.own_id = own_id
        self._admission = admission
        self._buckets = [Bucket(refreshed_at=now) for _ in range(NODE_ID_BITS)]
        self._by_address: dict[Address, Contact] = {}
        self._hosts: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._by_address)

    def __iter__(self) -> Iterator[Contact]:
        return iter(self._by_address.values())

    @property
    def waiting(self) -> int:
        """Nodes that wait for a place."""
        return sum(len(bucket.waiting) for bucket in self._buckets)

    def at(self, address: Address) -> Contact | None:
        """Return the node at an address."""
        return self._by_address.get(address)

    def wants(self, node_id: bytes, address: Address) -> bool:
        """Whether a stranger is worth a verification ping: it would get a place, or may wait for one.

        So is who says to have another id now than the one that we know it by. Once the network is not small, an id that is not
        bound to its address (BEP 42) is not worth one: who is just joining comes again with one that is, and others are
        entered when they answer a query that we have a use for.
        """
        if node_id == self.own_id or not self._admission.admits(node_id, address):
            return False
        known = self._by_address.get(address)
        if known is not None:
            return known.node_id != node_id
        if len(self) >= TABLE_SMALL_NODES and self._admission.allowed is None and not is_secure(node_id, address[0]):
            return False
        bucket = self._bucket(node_id)
        if node_id in bucket.nodes:
            return bucket.nodes[node_id].failures > 0
        if self._is_crowded(bucket, address):
            return False
        return (
            len(bucket.nodes) < BUCKET_NODES_MAX
            or bool(self._replaceable(bucket, secure=True))
            or (node_id not in bucket.waiting and len(bucket.waiting) < REPLACEMENTS_MAX)
        )

    def on_answered(self, node_id: bytes, address: Address, now: float) -> bool:
        """Note that a node answered a query of ours. Return whether it is in the table now."""
        known = self._by_address.get(address)
        if known is not None:
            if known.node_id == node_id:
                known.answered_at, known.failures = now, 0
                self._bucket(node_id).refreshed_at = now
                return True
            # The address has another id now: who had it before is gone.
            self._remove(known)
        if node_id == self.own_id or not self._admission.admits(node_id, address):
            return False
        contact = Contact(
            node_id=node_id,
            number=int.from_bytes(node_id, "big"),
            address=address,
            answered_at=now,
            secure=is_secure(node_id, address[0]),
        )
        return self._enter(contact, now)

    def _enter(self, contact: Contact, now: float) -> bool:
        bucket = self._bucket(contact.node_id)
        bucket.waiting.pop(contact.node_id, None)
        previous = bucket.nodes.get(contact.node_id)
        if previous is not None:
            # The same id elsewhere: believed only when the old address has stopped answering.
            if previous.failures == 0:
                return False
            self._remove(previous)
        if self._is_crowded(bucket, contact.address):
            return False
        if len(bucket.nodes) >= BUCKET_NODES_MAX:
            victim = self._replaceable(bucket, secure=contact.secure)
            if victim is None:
                self._wait(bucket, contact)
                return False
            self._remove(victim)
        bucket.nodes[contact.node_id] = contact
        bucket.refreshed_at = now
        self._by_address[contact.address] = contact
        self._hosts[contact.address[0]] += 1
        return True

    def move_to(self, own_id: bytes, now: float) -> None:
        """Measure from another id of ours from now on; those who find no place there are forgotten."""
        known = list(self)
        self.own_id = own_id
        self._buckets = [Bucket(refreshed_at=now) for _ in range(NODE_ID_BITS)]
        self._by_address = {}
        self._hosts.clear()
        for contact in known:
            self.on_answered(contact.node_id, contact.address, contact.answered_at)

    def on_failed(self, address: Address, now: float) -> None:
        """Note an unanswered query. The third in a row costs a node its place, which goes to one that waits."""
        contact = self._by_address.get(address)
        if contact is None:
            return
        contact.failures += 1
        if contact.failures < FAILURES_MAX:
            return
        bucket = self._bucket(contact.node_id)
        self._remove(contact)
        while bucket.waiting and len(bucket.nodes) < BUCKET_NODES_MAX:
            _, heir = bucket.waiting.popitem()
            if self._enter(heir, now):
                return

    def closest(self, target: bytes, count: int, *, good_only: bool = False) -> list[Contact]:
        """Return up to `count` known nodes nearest to `target`, nearest first; `good_only` leaves out failing ones."""
        number = int.from_bytes(target, "big")
        found: list[Contact] = []
        for group in self._groups(min(shared_prefix_bits(self.own_id, target), NODE_ID_BITS - 1)):
            nodes = [contact for contact in group if not (good_only and contact.failures)]
            nodes.sort(key=lambda contact: contact.number ^ number)
            found += nodes
            if len(found) >= count:
                break
        return found[:count]

    def reach(self) -> int:
        """Return the distance within which k nodes are expected of any id: that of the k-th from our own.

        0 while fewer are known. It measures how dense the network is (pubky's rule); whoever crowds in beside us can
        only make it smaller.
        """
        near = self.closest(self.own_id, BUCKET_NODES_MAX)
        return near[-1].number ^ int.from_bytes(self.own_id, "big") if len(near) == BUCKET_NODES_MAX else 0

    def _groups(self, prefix: int) -> Iterator[Iterable[Contact]]:
        """Groups of nodes, each farther from a target that shares `prefix` bits with us than the one before.

        Those in the target's own bucket share more than `prefix` bits with it; all nearer to us than that share exactly
        `prefix`; bucket i below shares i.
        """
        yield self._buckets[prefix].nodes.values()
        yield [contact for bucket in self._buckets[prefix + 1 :] for contact in bucket.nodes.values()]
        for index in range(prefix - 1, -1, -1):
            yield self._buckets[index].nodes.values()

    def stale(self, now: float, count: int) -> list[Contact]:
        """Return up to `count` nodes that no longer count as good (BEP 5), those silent for longest first."""
        silent = [contact for contact in self if now - contact.answered_at > NODE_GOOD_S]
        return heapq.nsmallest(count, silent, key=lambda contact: contact.answered_at)

    def idle_target(self, now: float, entropy: bytes) -> bytes | None:
        """Return a random id in the range of a bucket that was idle too long, and note it as refreshed (BEP 5).

        Only buckets up to the deepest that has nodes: beyond it there is nobody to find.
        """
        deepest = max((index for index, bucket in enumerate(self._buckets) if bucket.nodes), default=-1)
        for index, bucket in enumerate(self._buckets[: deepest + 1]):
            if now - bucket.refreshed_at > BUCKET_IDLE_S:
                bucket.refreshed_at = now
                return self.random_id(index, entropy)
        return None

    def random_id(self, prefix: int, entropy: bytes) -> bytes:
        """Return an id that shares exactly `prefix` bits with ours; the rest comes from 20 bytes of `entropy`."""
        tail_bits = NODE_ID_BITS - 1 - prefix
        own = int.from_bytes(self.own_id, "big")
        tail = int.from_bytes(entropy, "big") & ((1 << tail_bits) - 1)
        number = (own >> tail_bits ^ 1) << tail_bits | tail
        return number.to_bytes(NODE_ID_BYTES, "big")

    def _bucket(self, node_id: bytes) -> Bucket:
        return self._buckets[min(shared_prefix_bits(self.own_id, node_id), NODE_ID_BITS - 1)]

    def _is_crowded(self, bucket: Bucket, address: Address) -> bool:
        """Whether somebody is at the address already, or its machine or network has its share."""
        if address in self._by_address:
            return True
        host = address[0]
        if not self._admission.restricts(host):
            return False
        network = network_of(host)
        return host in self._hosts or any(
            network_of(contact.address[0]) == network for contact in bucket.nodes.values()
        )

    def _replaceable(self, bucket: Bucket, *, secure: bool) -> Contact | None:
        """Return the node that a newcomer may push out: one that fails, else one with an unbound id (BEP 42)."""
        worst = max(bucket.nodes.values(), key=lambda contact: contact.failures, default=None)
        if worst is not None and worst.failures > 0:
            return worst
        if not secure:
            return None
        return next((contact for contact in bucket.nodes.values() if not contact.secure), None)

    def _wait(self, bucket: Bucket, contact: Contact) -> None:
        bucket.waiting[contact.node_id] = contact
        if len(bucket.waiting) > REPLACEMENTS_MAX:
            del bucket.waiting[next(iter(bucket.waiting))]

    def _remove(self, contact: Contact) -> None:
        del self._bucket(contact.node_id).nodes[contact.node_id]
        del self._by_address[contact.address]
        self._hosts[contact.address[0]] -= 1
        if not self._hosts[contact.address[0]]:
            del self._hosts[contact.address[0]]
