from __future__ import annotations

import socket as plain_socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest
import trio

from dht.errors import InvalidItem, InvalidSignature, NodeClosed, SocketUnavailable
from dht.items import MutableItem, sign_item_with_seed
from dht.node import Node, open_node

DEADLINE_S = 20.0
"""Seconds after which a test of real sockets has failed; none comes near it."""


def item(seq: int = 1, value: bytes = b"hej", seed: int = 0) -> MutableItem:
    return sign_item_with_seed(bytes([seed]) * 32, seq=seq, value=value)


def reason(node: Node, word: str) -> int:
    return node.stats().counters.dropped.get(word, 0)


async def until_received(node: Node, datagrams: int) -> None:
    with trio.fail_after(DEADLINE_S):
        while node.stats().counters.datagrams_in < datagrams:
            await trio.lowlevel.checkpoint()


async def test_a_hint_at_a_pinning_replica_is_enough() -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as replica, open_node(read_only=True) as reader:
            replica.pin(item())

            assert await reader.get(item().public_key, seeds=[replica.address]) == item()

            assert reader.stats().counters.datagrams_out == 1
            assert replica.pinned() == [item()]


@pytest.mark.parametrize("allow_list", [None, []])
async def test_a_node_that_is_introduced_later_is_begun_from(allow_list: list[tuple[str, int]] | None) -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as a, open_node(allow_list=allow_list) as b:
            assert await b.bootstrap() == 0
            await b.introduce(("192.0.2.1", 1))
            await b.introduce(a.address)
            await b.introduce(a.address)

            assert await b.bootstrap() == 1


async def test_a_community_of_servers_finds_itself_and_its_records() -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as a, open_node(read_only=True) as seedless:
            bootstrap = [a.address]
            async with open_node(bootstrap=bootstrap) as b, open_node(bootstrap=bootstrap) as c:
                for node in (b, c):
                    assert await node.bootstrap() >= 1
                result = await b.put(item())
                assert result.stored == result.closest_queried == 2
                assert await c.get(item().public_key) == item()
                assert await seedless.get(item().public_key) is None
                assert await seedless.get(item().public_key, seeds=[c.address]) == item()
                assert set(c.known_nodes()) >= {a.address}
                stats = a.stats()
                assert stats.nodes == 2
                assert stats.items == 1
                assert stats.counters.answered["put"] == 1


async def test_an_announcer_needs_the_bytes_only_and_may_skip() -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as a, open_node(bootstrap=[a.address]) as b:
            stored = MutableItem.from_bytes(item().to_bytes())
            assert (await b.put(stored)).stored == 1
            again = await b.put(stored)
            skipped = await b.put(stored, unless_held=1)
            late = await b.put(item(0))

            assert (again.stored, again.held) == (1, 1)
            assert (skipped.closest_queried, skipped.held) == (0, 1)
            assert late.refused == {302: 1}
            assert late.newer == stored
            assert (await b.put(item(2), cas=0)).refused == {301: 1}


async def test_a_stream_gives_the_first_at_once_and_then_newer_ones() -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as old, open_node() as new, open_node(read_only=True) as reader:
            old.pin(item(1))
            new.pin(item(2))
            seqs = [found.seq async for found in reader.get_stream(item().public_key, seeds=[old.address, new.address])]

            assert seqs in ([1, 2], [2])
            assert reader.stats().operations == 0


async def test_a_reader_that_walks_away_leaves_nothing_behind() -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as replica, open_node(read_only=True) as reader:
            replica.pin(item())
            async for found in reader.get_stream(item().public_key, seeds=[replica.address]):
                assert found == item()
                break
            with trio.CancelScope() as scope:
                scope.cancel()
                await reader.put(item(), seeds=[replica.address])

            assert await reader.get(item().public_key, seeds=[replica.address]) == item()
            assert reader.stats().operations == 0


async def test_a_silent_hint_costs_the_hard_timeout_at_most(autojump_clock: trio.testing.MockClock) -> None:
    async with open_node(read_only=True) as reader:
        began = trio.current_time()

        assert await reader.get(item().public_key, seeds=[("127.0.0.1", 9)]) is None

        assert trio.current_time() - began < 4.5


async def test_a_silent_node_named_on_the_way_costs_the_soft_timeout(autojump_clock: trio.testing.MockClock) -> None:
    """What an answer leads to has deadlines of its own, which the clock must hear of."""
    async with open_node() as replica, open_node(read_only=True) as reader:
        async with open_node(bootstrap=[replica.address]) as gone:
            await gone.bootstrap()
            while replica.stats().nodes < 1:
                await trio.lowlevel.checkpoint()
        began = trio.current_time()

        assert await reader.get(item().public_key, seeds=[replica.address]) is None

        assert reader.stats().counters.queries_sent == 2
        assert trio.current_time() - began < 0.5


@pytest.mark.parametrize(
    "garbage",
    [b"", b"\x00", b"d", b"de", b"l" * 1400, b"i" + b"9" * 1400, b"\xff" * 2000, b"d1:ad2:id20:" + b"x" * 20 + b"e"],
    ids=len,
)
async def test_garbage_is_counted_and_survived(garbage: bytes) -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node, open_node(read_only=True) as reader:
            node.pin(item())
            with plain_socket.socket(plain_socket.AF_INET, plain_socket.SOCK_DGRAM) as stranger:
                stranger.sendto(garbage, node.address)
            await until_received(node, 1)

            assert reason(node, "malformed") == 1
            assert await reader.get(item().public_key, seeds=[node.address]) == item()


async def test_a_node_that_went_away_does_not_disturb_the_others() -> None:
    """On some systems the next receive reports the ICMP error of an earlier send."""
    with trio.fail_after(DEADLINE_S):
        async with open_node() as replica, open_node() as reader:
            replica.pin(item())
            async with open_node() as gone:
                address = gone.address

            for _ in range(3):
                assert await reader.get(item().public_key, seeds=[address, replica.address]) == item()


class FailingSocket:
    """A real socket whose receives and sends fail first, as after an ICMP error or on a network that is down."""

    def __init__(self, real: trio.socket.SocketType, errors: Sequence[OSError]) -> None:
        self._real = real
        self._receive_errors = list(errors)
        self._send_errors = list(errors[:1])
        self.family = real.family

    def __enter__(self) -> FailingSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self._real.close()

    def getsockname(self) -> tuple[str, int]:
        host, port = self._real.getsockname()
        return host, port

    async def recvfrom(self, size: int) -> tuple[bytes, tuple[str, int]]:
        if self._receive_errors:
            await trio.lowlevel.checkpoint()
            raise self._receive_errors.pop()
        data, address = await self._real.recvfrom(size)
        return data, address

    async def sendto(self, data: bytes, address: tuple[str, int]) -> int:
        if self._send_errors:
            await trio.lowlevel.checkpoint()
            raise self._send_errors.pop()
        return await self._real.sendto(data, address)


async def test_errors_of_the_socket_are_counted_and_survived() -> None:
    errors = [ConnectionResetError(104, "reset"), OSError(101, "network is unreachable")]
    with trio.fail_after(DEADLINE_S):
        real = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
        await real.bind(("127.0.0.1", 0))
        failing = FailingSocket(real, errors)
        async with open_node() as replica, open_node(socket=failing) as node:  # type: ignore[arg-type]  # a stand-in
            replica.pin(item())
            seeds = [replica.address]

            # The first query cannot leave; a second later it is sent again.
            assert await node.get(item().public_key, seeds=seeds) == item()

            assert reason(node, "socket_error") == 2
            assert node.stats().counters.send_errors == 1


async def test_a_closed_socket_ends_waiting_operations() -> None:
    with trio.fail_after(DEADLINE_S):
        real = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
        await real.bind(("127.0.0.1", 0))
        async with open_node(socket=real) as node, trio.open_nursery() as nursery:

            async def wait_in_vain() -> None:
                with pytest.raises(NodeClosed):
                    await node.get(item().public_key, seeds=[("127.0.0.1", 9)])

            nursery.start_soon(wait_in_vain)
            await trio.testing.wait_all_tasks_blocked()
            real.close()
        with pytest.raises(NodeClosed):
            await node.get(item().public_key)


async def test_after_its_block_a_node_is_closed() -> None:
    async with open_node() as node:
        pass

    with pytest.raises(NodeClosed):
        await node.put(item())
    with pytest.raises(NodeClosed):
        await node.get(item().public_key)


async def test_what_its_owner_did_not_sign_is_neither_pinned_nor_announced() -> None:
    forged = msgspec.structs.replace(item(), seq=9)
    large = msgspec.structs.replace(item(), value=bytes(997))
    async with open_node() as node:
        for action in (node.pin,):
            with pytest.raises(InvalidSignature):
                action(forged)
            with pytest.raises(InvalidItem):
                action(large)
        with pytest.raises(InvalidSignature):
            await node.put(forged)
        with pytest.raises(InvalidItem):
            await node.put(large)
        assert node.pinned() == []


async def test_pins_can_be_let_go() -> None:
    async with open_node() as node:
        node.pin(item())
        node.unpin(item().target)

        assert node.pinned() == []
        assert node.stats().items == 1
        assert await node.get(item().public_key) == item(), "our own storage is asked as well"


async def test_a_port_in_use_is_named() -> None:
    async with open_node() as node:
        with pytest.raises(SocketUnavailable, match=str(node.address[1])):
            async with open_node(port=node.address[1]):
                pass


async def test_names_among_seeds_are_resolved_and_strange_ones_left_out() -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as replica, open_node(bootstrap=[("localhost", replica.address[1])]) as reader:
            replica.pin(item())
            strange = [("no such host", 1), ("::1", 1), ("127.0.0.1", 0)]

            found = await reader.get(item().public_key, seeds=[*strange, ("localhost", replica.address[1])])

            assert found == item()
            assert await reader.bootstrap() == 1


async def test_a_private_node_keeps_strangers_out_and_answers_them() -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as member, open_node() as stranger:
            listed = [("localhost", member.address[1])]
            async with open_node(allow_list=listed, bootstrap=[member.address, stranger.address]) as private:
                private.pin(item())

                await private.bootstrap()
                assert await stranger.get(item().public_key, seeds=[private.address]) == item()

                assert private.known_nodes() == [member.address]


async def test_ipv6_works_where_there_is_ipv6() -> None:
    with trio.fail_after(DEADLINE_S):
        try:
            async with (
                open_node(host="::1") as a,
                open_node(host="::1", bootstrap=[a.address]) as b,
                open_node(host="::1", bootstrap=[a.address]) as c,
            ):
                for node in (b, c):
                    assert await node.bootstrap() >= 1
                assert (await b.put(item())).stored == 2
                assert await c.get(item().public_key) == item()
        except SocketUnavailable as error:
            pytest.skip(f"no IPv6 here: {error}")


async def test_faults_of_the_block_come_out_of_it() -> None:
    with pytest.RaisesGroup(ValueError):
        async with open_node():
            raise ValueError("ours")


@asynccontextmanager
async def both_families(bootstrap: Sequence[tuple[str, int]] = (), **how: bool) -> AsyncIterator[Node]:
    try:
        async with open_node(second=("::1", 0), bootstrap=bootstrap, **how) as node:
            yield node
    except SocketUnavailable as error:
        pytest.skip(f"no IPv6 here: {error}")


async def test_who_knows_one_ipv4_address_comes_to_know_the_nodes_of_ipv6() -> None:
    """BEP 32: whom it asks names them, because it wants them. They speak no IPv4 themselves."""
    with trio.fail_after(DEADLINE_S):
        async with (
            both_families() as a,
            open_node(host="::1", bootstrap=a.addresses) as six,
            both_families([a.address]) as b,
        ):
            await six.bootstrap()
            while a.stats().nodes_ipv6 < 1:
                await trio.lowlevel.checkpoint()  # it pings whoever asked it before it names them
            await b.bootstrap()
            assert six.address in b.known_nodes()
            assert [":" in host for host, _ in b.addresses] == [False, True]


async def test_a_node_of_both_families_publishes_in_both_and_reads_from_either() -> None:
    with trio.fail_after(DEADLINE_S):
        async with (
            both_families() as node,
            open_node() as four,
            open_node(host="::1") as six,
            open_node(host="::1", read_only=True) as reader,
        ):
            seeds = [four.address, six.address]
            assert (await node.put(item(), seeds=seeds)).stored == 2
            assert four.stats().items == six.stats().items == 1
            assert await reader.get(item().public_key, seeds=[six.address]) == item()

            newer = item(seq=2, value=b"newer")
            async with open_node(host="::1", read_only=True) as writer:
                await writer.put(newer, seeds=[six.address])
            assert await node.get(item().public_key, seeds=[six.address]) == newer
            result = await node.put(item(), seeds=seeds)
            assert result.newer == newer
            assert result.refused == {302: 1}
            end = node.get_stream(item().public_key, seeds=seeds)
            assert [found async for found in end][-1].seq >= 1
            assert end.end is not None
            assert end.end.answered >= 1


async def test_what_is_pinned_is_answered_in_both_families_and_listed_once() -> None:
    with trio.fail_after(DEADLINE_S):
        async with both_families() as node, open_node(host="::1", read_only=True) as reader:
            node.pin(item())
            assert node.pinned() == [item()]
            assert await reader.get(item().public_key, seeds=[node.addresses[1]]) == item()
            newer = item(seq=2, value=b"newer")
            await reader.put(newer, seeds=[node.addresses[1]])
            assert node.pinned() == [newer]
            node.unpin(newer.target)
            assert node.pinned() == []
