from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from room_server import limits
from room_server.dial_back import DialBacks
from room_server.errors import RefusedError
from room_server.peers import Peer
from tests.room_server.cluster import cluster_of
from tests.room_server.network import network_client
from wire.errors import PeerError, RefusalCode
from wire.identity import NodeIdentity
from wire.ids import NodeKey
from wire.messages import DialBack, DialledBack, Reach, Refused
from wire.tls import accept, server_context

PEER = NodeIdentity(b"p" * 32)
STRANGER = NodeIdentity(b"s" * 32)
HOME = "127.0.0.1"


def dial_backs(port: int = 443) -> DialBacks:
    return DialBacks({PEER.public: Peer(name="p", node_key=PEER.public, host="p.example", port=port)})


@asynccontextmanager
async def listening(identity: NodeIdentity | None) -> AsyncIterator[int]:
    """A server with that key, or one that hangs up; its port."""
    context = None if identity is None else server_context(identity)

    async def handle(stream: trio.SocketStream) -> None:
        if context is None:
            await stream.aclose()
            return
        try:
            tls = await accept(stream, context)
            await tls.receive_some()
        except PeerError:
            return
        await tls.aclose()

    [listener] = await trio.open_tcp_listeners(0, host=HOME)
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, handle, [listener])
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def test_server_that_shows_its_key_is_reached() -> None:
    async with listening(PEER) as port:
        answer = await dial_backs().answer(DialBack(7, PEER.public, port), HOME)

    assert answer == DialledBack(7, Reach.REACHED, HOME)


@pytest.mark.parametrize("identity", [STRANGER, None])
async def test_whoever_else_listens_there_is_a_stranger(identity: NodeIdentity | None) -> None:
    async with listening(identity) as port:
        answer = await dial_backs().answer(DialBack(7, PEER.public, port), HOME)

    assert answer.reach is Reach.STRANGER


async def test_port_where_nobody_listens_is_closed() -> None:
    async with listening(PEER) as port:
        pass

    answer = await dial_backs().answer(DialBack(7, PEER.public, port), HOME)

    assert answer.reach is Reach.CLOSED


async def test_what_does_not_answer_is_silent_after_a_while(autojump_clock: MockClock) -> None:
    with trio.socket.socket() as deaf:
        await deaf.bind((HOME, 0))
        deaf.listen(0)  # Nobody accepts: the handshake waits for ever.
        answer = await dial_backs().answer(DialBack(7, PEER.public, deaf.getsockname()[1]), HOME)

    assert answer.reach is Reach.SILENT
    assert trio.current_time() <= limits.DIAL_BACK_S_MAX


@pytest.mark.parametrize(
    ("key", "port", "host"),
    [
        (STRANGER.public, 9000, HOME),
        (NodeKey(b""), 9000, HOME),
        (PEER.public, 22, HOME),
        (PEER.public, 0, HOME),
        (PEER.public, -1, HOME),
        (PEER.public, 65_536, HOME),
        (PEER.public, 9000, ""),
    ],
)
async def test_strangers_and_ports_of_other_services_are_not_dialled(key: NodeKey, port: int, host: str) -> None:
    with pytest.raises(RefusedError) as refused:
        await dial_backs().answer(DialBack(1, key, port), host)

    assert refused.value.code is RefusalCode.FORBIDDEN


async def test_low_port_that_the_configuration_names_is_dialled() -> None:
    answer = await dial_backs(port=1).answer(DialBack(1, PEER.public, 1), HOME)

    assert answer.reach is Reach.CLOSED


async def test_an_address_is_dialled_once_in_a_while_whatever_key_and_port_it_names(autojump_clock: MockClock) -> None:
    backs = dial_backs()
    async with listening(PEER) as port:
        await backs.answer(DialBack(1, PEER.public, port), HOME)
        for again in (port, port - 1):
            with pytest.raises(RefusedError) as refused:
                await backs.answer(DialBack(2, PEER.public, again), HOME)
            assert refused.value.code is RefusalCode.BUSY
            assert 0 < refused.value.retry_after_s <= limits.DIAL_BACK_EVERY_S
        await trio.sleep(limits.DIAL_BACK_EVERY_S)

        assert (await backs.answer(DialBack(3, PEER.public, port), HOME)).reach is Reach.REACHED


async def test_few_dials_are_under_way_at_once(mock_clock: MockClock) -> None:
    backs = dial_backs()
    async with trio.open_nursery() as nursery:
        with trio.socket.socket() as deaf:
            await deaf.bind(("", 0))
            deaf.listen(0)
            port = deaf.getsockname()[1]
            for number in range(limits.DIAL_BACKS_AT_ONCE_MAX):
                nursery.start_soon(backs.answer, DialBack(1, PEER.public, port), f"127.0.0.{10 + number}")
            await trio.testing.wait_all_tasks_blocked()

            with pytest.raises(RefusedError, match="others"):
                await backs.answer(DialBack(2, PEER.public, port), "127.0.0.9")
            nursery.cancel_scope.cancel()


async def test_memory_of_who_asked_is_bounded() -> None:
    backs = dial_backs(port=1)
    for number in range(limits.DIAL_BACK_ADDRESSES_MAX + 2):
        await backs.answer(DialBack(1, PEER.public, 1), f"127.1.{number >> 8}.{number & 255}")

    assert len(backs._asked_at) == limits.DIAL_BACK_ADDRESSES_MAX


async def test_node_dials_its_peer_back_where_the_question_comes_from(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    async with cluster_of(tmp_path_factory.mktemp("reach"), names=("a", "b")) as cluster:
        a, b = (node.address for node in cluster.nodes)
        async with network_client(b) as client:
            answer = await client.call(DialBack(1, a.node_key, a.port), DialledBack)
            refused = await client.call(DialBack(2, STRANGER.public, a.port), Refused)

    assert answer == DialledBack(1, Reach.REACHED, "127.0.0.1")
    assert refused.code is RefusalCode.FORBIDDEN
