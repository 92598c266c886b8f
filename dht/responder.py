"""Answers to queries: the serving half of a node (BEP 5, 42, 44).

    ping        our id
    find_node   nodes near the target
    get         nodes, a write token, and the item if it is here
    put         stores, after token, size, signature and sequence number were checked
    get_peers   nodes without a token, so that announcements go elsewhere: we keep no torrents' peers
    other       with a target or info_hash: like find_node; else error 204. Never `sample_infohashes` (BEP 51)

A source address may be forged, and an answer is larger than its question. Therefore: so many queries a second from one
host; and until a host has shown, by a token or a pong, that it is where it says, its network gets few bytes a second
(`egress`): beyond that less is said, an item without nodes or nodes without an item, and then nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dht import bencode
from dht.bencode import Value
from dht.counters import Counters
from dht.egress import Egress
from dht.krpc import Arguments, ErrorCode, Query, encode_answer, encode_failure
from dht.limits import (
    ADDRESSES_MAX,
    QUERIES_PER_S,
    QUERY_BURST,
    REPLY_NODES_MAX,
)
from dht.node_id import NODE_ID_BYTES, Address, network_of, pack_node
from dht.rates import Rates
from dht.routing_table import Admission, Contact, RoutingTable
from dht.storage import PlainValue, SignedValue, Storage, Stored, StoreRefusal
from dht.tokens import Tokens

_NEVER_ANSWERED: Final = b"sample_infohashes"
_FIELDS: Final = {b"n4": b"nodes", b"n6": b"nodes6"}
_NAMES: Final = {method.encode(): method for method in ("ping", "find_node", "get", "put", "get_peers")}


class Responder:
    """Answers queries from the table and the storage, which it shares with the rest of the node.

    `other` is our table of the other address family; its nodes are named to those who want them (BEP 32).
    """

    def __init__(
        self, *, table: RoutingTable, storage: Storage, tokens: Tokens, admission: Admission, counters: Counters
    ) -> None:
        self.table = table
        self.other: RoutingTable | None = None
        self._storage = storage
        self._tokens = tokens
        self._admission = admission
        self._counters = counters
        self._queries: Rates[str] = Rates(per_s=QUERIES_PER_S, burst=QUERY_BURST, sources_max=ADDRESSES_MAX)
        self.egress = Egress(admission)

    def answer(self, query: Query, address: Address, now: float) -> bytes | None:
        """Return the datagram that answers a query, None to stay silent."""
        host = address[0]
        if self._admission.meters(host) and not self._queries.allows(host, now):
            self._counters.drop("rate_limited")
            return None
        self._counters.answer(_NAMES.get(query.method, "unknown"))
        for datagram, is_shared in self._drafts(query, address, now):
            if self.egress.allows(host, len(datagram), now, is_shared=is_shared):
                return datagram
        self._counters.drop("egress_limited")
        return None

    def _drafts(self, query: Query, address: Address, now: float) -> Iterator[tuple[bytes, bool]]:
        """Yield answers, the fullest first, and whether each carries an item that is kept for others."""
        match query.method:
            case b"ping":
                yield self._reply({}, query, address), False
            case b"get":
                yield from self._on_get(query, address, now)
            case b"put":
                yield self._on_put(query, address, now), False
            case _:
                yield self._on_find(query, address), False

    def _on_find(self, query: Query, address: Address) -> bytes:
        target = query.arguments.get(b"target", query.arguments.get(b"info_hash"))
        known = query.method in (b"find_node", b"get_peers")
        if isinstance(target, bytes) and len(target) == NODE_ID_BYTES and query.method != _NEVER_ANSWERED:
            return self._reply(self._nodes(target, query, address), query, address)
        if known:
            return self._refuse(ErrorCode.PROTOCOL, "a target has 20 bytes", query, address)
        return self._refuse(ErrorCode.METHOD_UNKNOWN, "method unknown", query, address)

    def _on_get(self, query: Query, address: Address, now: float) -> Iterator[tuple[bytes, bool]]:
        target, known_seq = query.arguments.get(b"target"), query.arguments.get(b"seq")
        if not isinstance(target, bytes) or len(target) != NODE_ID_BYTES:
            yield self._refuse(ErrorCode.PROTOCOL, "a target has 20 bytes", query, address), False
            return
        values: Arguments = {b"token": self._tokens.make(address, target)}
        nodes = self._nodes(target, query, address)
        stored = self._storage.get(target, now)
        is_shared = not self._storage.is_pinned(target)
        if stored is not None:
            item = _item_fields(stored, known_seq if isinstance(known_seq, int) else None)
            is_shared = is_shared and b"v" in item
            # Nodes of both families beside a large value would not fit into a datagram.
            yield self._reply(values | item | self._nodes(target, None, address), query, address), is_shared
            yield self._reply(values | item, query, address), is_shared
        if stored is None or is_shared:
            yield self._reply(values | nodes, query, address), False

    def _on_put(self, query: Query, address: Address, now: float) -> bytes:
        try:
            self._store(query.arguments, address, now)
        except StoreRefusal as refusal:
            self._counters.refuse(refusal.code)
            return self._refuse(refusal.code, refusal.text, query, address)
        return self._reply({}, query, address)

    def _store(self, arguments: Arguments, address: Address, now: float) -> None:
        """Store what a put brings.

        Raises:
            StoreRefusal: with the code that the writer is told.
        """
        value, token, key = arguments.get(b"v"), arguments.get(b"token"), arguments.get(b"k")
        if value is None or not isinstance(token, bytes):
            raise StoreRefusal(ErrorCode.PROTOCOL, "a put has v and token")
        item: Stored = PlainValue(encoded_value=bencode.encode(value))
        if key is not None:
            item = _signed_value(arguments, item.encoded_value)
        if not self._tokens.accepts(token, address, item.target):
            raise StoreRefusal(ErrorCode.PROTOCOL, "bad token")
        self.egress.proofs.prove(address[0], now)
        network = network_of(address[0]) if self._admission.meters(address[0]) else None
        if isinstance(item, PlainValue):
            self._storage.put_plain(item, network=network, now=now)
        else:
            cas = arguments.get(b"cas")
            self._storage.put_signed(item, cas=cas if isinstance(cas, int) else None, network=network, now=now)

    def _nodes(self, target: bytes, query: Query | None, address: Address) -> Arguments:
        """Return the nodes near a target: of the asker's family, or of those that the query wants (BEP 32)."""
        own, other = (b"n6", b"n4") if ":" in address[0] else (b"n4", b"n6")
        want = [] if query is None else query.arguments.get(b"want", [])
        wanted = (
            {entry for entry in want if isinstance(entry, bytes)} & {own, other} if isinstance(want, list) else set()
        )
        tables = {own: self.table} if self.other is None else {own: self.table, other: self.other}
        return {
            _FIELDS[family]: _packed(table.closest(target, REPLY_NODES_MAX, good_only=True))
            for family, table in tables.items()
            if family in (wanted or {own})
        }

    def _reply(self, values: Arguments, query: Query, address: Address) -> bytes:
        return encode_answer({b"id": self.table.own_id, **values}, transaction=query.transaction, to=address)

    def _refuse(self, code: ErrorCode, text: str, query: Query, address: Address) -> bytes:
        return encode_failure(code, text.encode(), transaction=query.transaction, to=address)


def _packed(nodes: list[Contact]) -> bytes:
    return b"".join(pack_node(node.node_id, node.address) for node in nodes)


def _item_fields(stored: Stored, known_seq: int | None) -> Arguments:
    """Return what a get's answer says of an item; a reader that has this version is told only its number (BEP 44)."""
    value: Value = bencode.decode(stored.encoded_value)
    if isinstance(stored, PlainValue):
        return {b"v": value}
    if known_seq is not None and stored.seq <= known_seq:
        return {b"seq": stored.seq}
    return {b"k": stored.public_key, b"seq": stored.seq, b"sig": stored.signature, b"v": value}


def _signed_value(arguments: Arguments, encoded_value: bytes) -> SignedValue:
    match arguments:
        case {b"k": bytes(key), b"seq": int(seq), b"sig": bytes(signature)} if len(key) == 32 and len(signature) == 64:
            pass
        case _:
            raise StoreRefusal(ErrorCode.PROTOCOL, "a mutable item has k, seq and sig")
    salt = arguments.get(b"salt", b"")
    if not isinstance(salt, bytes):
        raise StoreRefusal(ErrorCode.PROTOCOL, "a salt is a string")
    return SignedValue(public_key=key, salt=salt, seq=seq, encoded_value=encoded_value, signature=signature)
