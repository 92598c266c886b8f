"""Our node and bittorrent-dht's (npm), both ways, on loopback addresses of their own (BEP 5, 43, 44).

What they do otherwise than BEP 44 has it: an item announced again under the same number is refused with 302, what does
not verify or is a method unknown is answered with silence, and a value may have 1000 bytes before it is bencoded.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from dht import bencode
from dht.endpoint import Waiter
from dht.events import PutEnded
from dht.items import MutableItem, sign_item_with_seed
from dht.krpc import Answer, Arguments, ErrorCode, Failure, decode, encode_query
from dht.limits import DATAGRAM_BYTES_MAX
from dht.node import Node, _over, open_node
from dht.node_id import Address
from tests.npm_peers.process import PeerMissingError, PeerProcess, open_peer

pytestmark = [pytest.mark.foreign, pytest.mark.timeout(60)]

FOLDER = Path(__file__).parent / "bittorrent_dht"
DEADLINE_S = 30.0
SILENCE_S = 0.5
SEED = b"npm peer" * 4
FOREIGN_NODES = 3
replace = msgspec.structs.replace


@pytest.fixture(scope="module")
def peer() -> Iterator[PeerProcess]:
    try:
        with open_peer(FOLDER) as process:
            yield process
    except PeerMissingError as missing:
        pytest.skip(f"bittorrent-dht: {missing}")


class ForeignNode:
    """One node of theirs."""

    def __init__(self, peer: PeerProcess, host: str, started: dict[str, Any]) -> None:
        self._peer = peer
        self.node_id = bytes.fromhex(started["node"])
        self.address: Address = (host, started["port"])

    async def call(self, op: str, **request: Any) -> dict[str, Any]:
        return await call(self._peer, op, node=self.node_id.hex(), **request)

    async def put(self, **fields: Any) -> dict[str, Any]:
        return await self.call("put", fields=hexadecimal(fields))

    async def get(self, target: bytes, salt: bytes = b"") -> dict[str, Any] | None:
        found: dict[str, Any] | None = (await self.call("get", target=target.hex(), salt=salt.hex()))["found"]
        return found

    async def query(self, to: Address, method: str, **fields: Any) -> dict[str, Any]:
        return await self.call("query", host=to[0], port=to[1], method=method, fields=hexadecimal(fields))

    async def code_of_put(self, to: Address, item: MutableItem, **change: Any) -> Any:
        """Put an item as it stands to one node; return the code of its refusal."""
        got = await self.query(to, "get", target=item.target)
        fields = {**fields_of(item), "token": bytes.fromhex(got["values"]["token"]), **change}
        return (await self.query(to, "put", **fields)).get("code")


def hexadecimal(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in fields.items()}


def fields_of(item: MutableItem) -> dict[str, Any]:
    salt = {"salt": item.salt} if item.salt else {}
    return {"k": item.public_key, "seq": item.seq, "sig": item.signature, "v": item.value, **salt}


async def call(peer: PeerProcess, op: str, **request: Any) -> dict[str, Any]:
    return await trio.to_thread.run_sync(lambda: peer.call(op, **request), abandon_on_cancel=True)


async def start(peer: PeerProcess, number: int, bootstrap: Address | None) -> ForeignNode:
    host = f"127.0.0.{31 + number}"
    seeds = None if bootstrap is None else [{"host": bootstrap[0], "port": bootstrap[1]}]
    return ForeignNode(peer, host, await call(peer, "start", host=host, bootstrap=seeds))


@asynccontextmanager
async def network(peer: PeerProcess) -> AsyncIterator[tuple[Node, list[ForeignNode]]]:
    """One node of ours in the middle, some of theirs around it, all of whom know each other."""
    with trio.fail_after(DEADLINE_S):
        async with open_node(host="127.0.0.30") as node:
            try:
                theirs = [await start(peer, number, node.address) for number in range(FOREIGN_NODES)]
                while node.stats().nodes < FOREIGN_NODES:
                    await trio.lowlevel.checkpoint()
                # The first ones knew nobody but us when they began.
                for one in theirs:
                    await one.query(node.address, "find_node", target=one.node_id)
                    for other in theirs:
                        await one.query(other.address, "ping")
                yield node, theirs
            finally:
                with trio.CancelScope(shield=True):
                    await call(peer, "stop")


async def ask(host: str, to: Address, method: bytes, arguments: Arguments) -> Answer | Failure | None:
    """Ask one node a question that our own node would not ask; None is silence."""
    with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as socket:
        await socket.bind((host, 0))
        await socket.sendto(encode_query(method, {b"id": b"q" * 20, **arguments}, transaction=b"ab"), to)
        with trio.move_on_after(SILENCE_S):
            while True:
                message = decode(await socket.recv(DATAGRAM_BYTES_MAX))
                if isinstance(message, Answer | Failure):
                    return message
        return None


async def code_of_put(to: Address, item: MutableItem) -> int | None:
    """Put an item as it stands to one of theirs: 0 when it is stored, None when they say nothing."""
    got = await ask("127.0.0.27", to, b"get", {b"target": item.target})
    assert isinstance(got, Answer)
    fields: Arguments = {name.encode(): value for name, value in fields_of(item).items()}
    message = await ask("127.0.0.27", to, b"put", fields | {b"token": got.values[b"token"]})
    return message.code if isinstance(message, Failure) else None if message is None else 0


async def refused(node: Node, item: MutableItem, seeds: list[Address], cas: int | None = None) -> PutEnded:
    """Put through the core what our interface would not send."""
    endpoint, waiter = node._endpoints[0], Waiter()
    waiter.begin(endpoint, endpoint.dht.put(item, trio.current_time(), cas=cas, seeds=seeds))
    end = (await _over(waiter))[0]
    assert isinstance(end, PutEnded)
    return end


@pytest.mark.parametrize("salt", [b"", b"room"])
async def test_what_we_put_they_get_and_what_they_put_we_get(peer: PeerProcess, salt: bytes) -> None:
    ours = sign_item_with_seed(SEED, seq=7, value=b"from samtala", salt=salt)
    theirs = sign_item_with_seed(bytes(32), seq=3, value=b"from npm", salt=salt)
    async with network(peer) as (node, foreign), open_node(host="127.0.0.29", bootstrap=[node.address]) as writer:
        await writer.bootstrap()
        result = await writer.put(ours)
        assert result.refused == {}
        assert result.stored >= FOREIGN_NODES
        late = await start(peer, FOREIGN_NODES, foreign[0].address)
        found = await late.get(ours.target, salt)
        assert found is not None
        assert (found["v"], found["seq"]) == (ours.value.hex(), ours.seq)
        assert found["sig"] == ours.signature.hex()

        put = await foreign[0].put(**fields_of(theirs))
        assert put["target"] == theirs.target.hex()
        assert put["stored"] >= FOREIGN_NODES
        for seeds in ([node.address], [foreign[1].address]):
            async with open_node(host="127.0.0.28", read_only=True) as reader:
                assert await reader.get(theirs.public_key, salt, seeds=seeds) == theirs


async def test_anybody_announces_again_what_another_signed(peer: PeerProcess) -> None:
    """Neither needs the key, and their refusal of what they have already counts as stored."""
    first = sign_item_with_seed(SEED, seq=1, value=b"first")
    second = sign_item_with_seed(SEED, seq=2, value=b"second")
    async with network(peer) as (node, foreign), open_node(host="127.0.0.28", read_only=True) as reader:
        assert (await foreign[0].put(**fields_of(first)))["stored"] >= FOREIGN_NODES
        late = await start(peer, FOREIGN_NODES, None)
        seeds = [node.address, late.address, *(one.address for one in foreign)]
        found = await reader.get(first.public_key, seeds=[node.address])
        assert found == first
        again = await reader.put(first, seeds=seeds)
        assert again.refused == {}
        assert again.stored >= FOREIGN_NODES + 2
        alone = await ask("127.0.0.27", late.address, b"get", {b"target": first.target})
        assert isinstance(alone, Answer)
        assert alone.values[b"sig"] == first.signature

        await reader.put(second, seeds=seeds)
        gotten = await foreign[1].get(second.target)
        assert gotten is not None
        fresh = await start(peer, FOREIGN_NODES + 1, late.address)
        fields = {name: gotten[name] for name in ("k", "seq", "sig", "v")}
        async with open_node(host="127.0.0.26", bootstrap=[late.address]) as ours:
            await ours.bootstrap()
            await fresh.call("put", fields=fields)
            async with open_node(host="127.0.0.25", read_only=True) as other:
                assert await other.get(second.public_key, seeds=[ours.address]) == second


async def test_they_refuse_with_the_codes_we_know(peer: PeerProcess) -> None:
    good = sign_item_with_seed(SEED, seq=5, value=b"good")
    older = sign_item_with_seed(SEED, seq=4, value=b"older")
    newer = sign_item_with_seed(SEED, seq=6, value=b"newer")
    async with network(peer) as (_, foreign), open_node(host="127.0.0.28", read_only=True) as writer:
        seeds = [foreign[0].address]
        everybody = FOREIGN_NODES + 1
        assert (await writer.put(good, seeds=seeds)).stored == everybody

        async def codes(item: MutableItem, cas: int | None = None) -> dict[int, int]:
            return (await refused(writer, item, seeds, cas)).result.refused

        assert await codes(older) == {ErrorCode.SEQUENCE_LESS: everybody}
        assert await codes(newer, cas=3) == {ErrorCode.CAS_MISMATCH: everybody}
        assert await codes(replace(newer, value=bytes(1001))) == {ErrorCode.VALUE_TOO_BIG: everybody}
        assert await codes(newer, cas=5) == {}

        to = foreign[0].address
        badly = await ask("127.0.0.27", to, b"put", {b"token": b"bad", b"v": b"x"})
        assert isinstance(badly, Failure)
        assert badly.code == ErrorCode.PROTOCOL
        forged = replace(sign_item_with_seed(SEED, seq=9, value=b"forged"), seq=10)
        assert await code_of_put(to, forged) is None
        assert (await code_of_put(to, sign_item_with_seed(SEED, seq=9, value=b"right"))) == 0


async def test_we_refuse_theirs_with_every_code(peer: PeerProcess) -> None:
    good = sign_item_with_seed(SEED, seq=5, value=b"good")
    newer = sign_item_with_seed(SEED, seq=6, value=b"newer")
    async with network(peer) as (node, foreign):
        one, to = foreign[0], node.address
        assert await one.code_of_put(to, good) is None

        assert await one.code_of_put(to, good, token=b"not a token") == ErrorCode.PROTOCOL
        assert await one.code_of_put(to, good, sig=b"short") == ErrorCode.PROTOCOL
        assert await one.code_of_put(to, good, k=good.public_key[:31]) == ErrorCode.PROTOCOL
        assert await one.code_of_put(to, newer, v=bytes(997)) == ErrorCode.VALUE_TOO_BIG
        assert await one.code_of_put(to, newer, sig=good.signature) == ErrorCode.INVALID_SIGNATURE
        salted = sign_item_with_seed(SEED, seq=6, value=b"newer", salt=b"s")
        assert await one.code_of_put(to, replace(salted, salt=bytes(65))) == ErrorCode.SALT_TOO_BIG
        assert await one.code_of_put(to, newer, cas=4) == ErrorCode.CAS_MISMATCH
        older = sign_item_with_seed(SEED, seq=4, value=b"older")
        assert await one.code_of_put(to, older) == ErrorCode.SEQUENCE_LESS
        other = sign_item_with_seed(SEED, seq=5, value=b"other")
        assert await one.code_of_put(to, other) == ErrorCode.SEQUENCE_LESS
        assert await one.code_of_put(to, good) is None
        assert await one.code_of_put(to, newer, cas=5) is None

        assert (await one.query(to, "get", target=b"short"))["code"] == ErrorCode.PROTOCOL
        assert (await one.query(to, "no_such_method"))["code"] == ErrorCode.METHOD_UNKNOWN
        assert (await one.query(to, "sample_infohashes", target=bytes(20)))["code"] == ErrorCode.METHOD_UNKNOWN
        peers = (await one.query(to, "get_peers", info_hash=bytes(20)))["values"]
        assert "nodes" in peers
        assert "token" not in peers


async def test_their_put_with_cas_changes_only_what_it_expects(peer: PeerProcess) -> None:
    first = sign_item_with_seed(SEED, seq=1, value=b"first")
    second = sign_item_with_seed(SEED, seq=2, value=b"second")
    async with network(peer) as (node, foreign), open_node(host="127.0.0.28", read_only=True) as reader:
        assert (await foreign[0].put(**fields_of(first)))["stored"] == FOREIGN_NODES  # all but itself
        await foreign[1].put(**fields_of(second), cas=9)
        kept = await ask("127.0.0.27", node.address, b"get", {b"target": first.target})
        assert isinstance(kept, Answer)
        assert kept.values[b"v"] == first.value
        await foreign[1].put(**fields_of(second), cas=1)
        assert await reader.get(second.public_key, seeds=[node.address]) == second


async def test_the_largest_value_fits_both_ways(peer: PeerProcess) -> None:
    """A string of 996 bytes has 1000 when it is bencoded."""
    largest = sign_item_with_seed(SEED, seq=1, value=bytes(range(249)) * 4)
    async with network(peer) as (node, foreign), open_node(host="127.0.0.28", read_only=True) as ours:
        assert (await ours.put(largest, seeds=[node.address])).stored == FOREIGN_NODES + 1
        found = await foreign[0].get(largest.target)
        assert found is not None
        assert found["v"] == largest.value.hex()

        theirs = sign_item_with_seed(bytes(32), seq=1, value=largest.value)
        assert (await foreign[1].put(**fields_of(theirs)))["stored"] >= FOREIGN_NODES
        assert await ours.get(theirs.public_key, seeds=[node.address]) == theirs


async def test_immutable_items_pass_both_ways(peer: PeerProcess) -> None:
    value = b"never changes"
    target = hashlib.sha1(bencode.encode(value), usedforsecurity=False).digest()
    async with network(peer) as (node, foreign):
        put = await foreign[0].put(v=value)
        assert put["target"] == target.hex()
        kept = await ask("127.0.0.27", node.address, b"get", {b"target": target})
        assert isinstance(kept, Answer)
        assert kept.values[b"v"] == value

        late = await start(peer, FOREIGN_NODES, node.address)
        for to in (node.address, late.address):
            token = await ask("127.0.0.27", to, b"get", {b"target": target})
            assert isinstance(token, Answer)
            stored = await ask("127.0.0.27", to, b"put", {b"token": token.values[b"token"], b"v": value})
            assert isinstance(stored, Answer)
        found = await late.get(target)
        assert found is not None
        assert found["v"] == value.hex()


async def test_a_read_only_node_of_ours_never_answers_them(peer: PeerProcess) -> None:
    """Nor does it enter our tables; theirs, which do not know BEP 43, drop it when it is silent."""
    async with network(peer) as (node, foreign), open_node(host="127.0.0.28", read_only=True) as reader:
        assert await reader.get(bytes(32), seeds=[node.address, foreign[0].address]) is None
        assert (await foreign[0].query(reader.address, "ping"))["code"] == "ETIMEDOUT"
        assert reader.address not in node.known_nodes()
