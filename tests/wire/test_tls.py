from __future__ import annotations

import os
import ssl

import pytest
import trio
import trio.testing

from tests.wire.streams import recorded_pair
from wire import limits
from wire.errors import ClosedError, HandshakeError, PeerError
from wire.identity import NodeIdentity, ServerAddress
from wire.ids import NodeKey
from wire.tls import TlsConnection, accept, client_context, connect, connect_over, server_context

SERVER = NodeIdentity(b"s" * 32)
OTHER = NodeIdentity(b"o" * 32)
CONTEXT = server_context(SERVER)


async def tls_pair(
    streams: tuple[trio.abc.Stream, trio.abc.Stream] | None = None,
) -> tuple[TlsConnection, TlsConnection]:
    """A client's and a server's end."""
    near, far = streams or trio.testing.memory_stream_pair()
    accepted: list[TlsConnection] = []

    async def serve() -> None:
        accepted.append(await accept(far, CONTEXT))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        client = await connect_over(near, SERVER.public)
    return client, accepted[0]


async def receive_exactly(connection: TlsConnection, size: int) -> bytes:
    received = b""
    while len(received) < size:
        received += await connection.receive_some()
    return received


async def fail_to_accept(stream: trio.abc.Stream) -> None:
    with pytest.raises(PeerError):
        await accept(stream, CONTEXT)


async def test_bytes_arrive_both_ways() -> None:
    client, server = await tls_pair()

    await client.send(b"ping")
    assert await server.receive_some() == b"ping"
    await server.send([b"po", b"ng"])
    assert await client.receive_some() == b"pong"
    assert client.peer_key == SERVER.public
    assert server.peer_key is None
    assert client.round_trip_s is None, "nobody measures a stream in memory"


async def test_send_of_many_pieces_is_one_socket_send() -> None:
    near, far = recorded_pair()
    client, server = await tls_pair((near, far))
    near.sent.clear()

    await client.send([b"x" * 300] * 64)

    assert len(near.sent) == 1
    assert await receive_exactly(server, 64 * 300) == b"x" * (64 * 300)


async def test_large_data_passes_whole() -> None:
    client, server = await tls_pair()
    data = os.urandom(3 * 1024 * 1024 + 17)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.send, data)
        assert await receive_exactly(server, len(data)) == data


async def test_nothing_crosses_in_clear() -> None:
    near, far = recorded_pair()
    client, server = await tls_pair((near, far))

    await client.send(b"CANARY" * 10)
    await server.receive_some()

    assert b"CANARY" not in b"".join(near.sent)


async def test_wrong_key_gets_a_client_hello_and_nothing_else() -> None:
    near, far = recorded_pair()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail_to_accept, far)
        with pytest.raises(HandshakeError, match="another key"):
            await connect_over(near, OTHER.public)

    assert len(near.sent) == 1
    assert near.sent[0][:1] == b"\x16", "a handshake record"
    assert near.sent[0][5:6] == b"\x01", "the ClientHello"


async def test_man_in_the_middle_with_another_key_gets_nothing() -> None:
    """He ends our TLS with his own key and would open another to the server."""
    near, far = recorded_pair()
    caught: list[PeerError] = []

    async def intercept() -> None:
        try:
            connection = await accept(far, server_context(OTHER))
            await connection.receive_some()
        except PeerError as error:
            caught.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(intercept)
        with pytest.raises(HandshakeError, match="another key"):
            await connect_over(near, SERVER.public)

    assert caught


async def test_older_tls_is_refused() -> None:
    near, far = trio.testing.memory_stream_pair()
    context = client_context()
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_2

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail_to_accept, far)
        with pytest.raises(PeerError):
            await connect_over(near, SERVER.public, context)


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + bytes(70_000), b"\0" * 500])
async def test_garbage_instead_of_a_handshake_is_refused(garbage: bytes) -> None:
    near, far = trio.testing.memory_stream_pair()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail_to_accept, far)
        await near.send_all(garbage)
        await near.aclose()


async def test_endless_handshake_is_cut_at_its_limit(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    monkeypatch.setattr(limits, "HANDSHAKE_BYTES_MAX", 4)
    near, far = trio.testing.memory_stream_pair()
    await near.send_all(b"\x16\x03\x01\x02\x00")

    with pytest.raises(HandshakeError):
        await accept(far, CONTEXT)

    assert trio.current_time() == 0


async def test_silent_client_is_dropped_in_time(autojump_clock: trio.testing.MockClock) -> None:
    near, far = trio.testing.memory_stream_pair()

    with pytest.raises(HandshakeError, match="too long"):
        await accept(far, CONTEXT)

    assert trio.current_time() == pytest.approx(limits.HANDSHAKE_S_MAX)
    assert await near.receive_some() == b""


async def test_silent_server_is_given_up_in_time(autojump_clock: trio.testing.MockClock) -> None:
    near, _far = trio.testing.memory_stream_pair()

    with pytest.raises(HandshakeError, match="too long"):
        await connect_over(near, SERVER.public)

    assert trio.current_time() == pytest.approx(limits.HANDSHAKE_S_MAX)


async def test_handshake_cut_at_any_byte_is_refused() -> None:
    near, far = recorded_pair()
    await tls_pair((near, far))
    server_flight = b"".join(far.sent)
    for size in range(0, len(server_flight), 37):
        client_end, script = trio.testing.memory_stream_pair()
        await script.send_all(server_flight[:size])
        await script.send_eof()

        with pytest.raises(PeerError):
            await connect_over(client_end, SERVER.public)


async def test_replayed_handshake_is_refused() -> None:
    near, far = recorded_pair()
    await tls_pair((near, far))
    client_end, script = trio.testing.memory_stream_pair()
    await script.send_all(b"".join(far.sent))

    with pytest.raises(HandshakeError):
        await connect_over(client_end, SERVER.public)


async def test_end_of_the_other_side_is_told_as_no_bytes() -> None:
    client, server = await tls_pair()

    await client.send(b"last")
    await client.aclose()

    assert await server.receive_some() == b"last"
    assert await server.receive_some() == b""
    assert await server.receive_some() == b""


async def test_end_without_goodbye_is_told_as_no_bytes() -> None:
    near, far = trio.testing.memory_stream_pair()
    _client, server = await tls_pair((near, far))

    await near.send_eof()

    assert await server.receive_some() == b""


@pytest.mark.parametrize("at", [0, 3, 20, -1])
async def test_tampered_record_ends_the_connection_and_yields_nothing(at: int) -> None:
    near, far = recorded_pair()
    client, server = await tls_pair((near, far))
    sink, source = trio.testing.memory_stream_pair()
    inner = near._inner
    near._inner = sink
    await client.send(b"x" * 300)
    record = bytearray(await source.receive_some())
    record[at] ^= 1
    await inner.send_all(record)
    await inner.aclose()

    with pytest.raises(HandshakeError, match="TLS failed"):
        await server.receive_some()


async def test_record_cut_at_every_byte_arrives_once_it_is_whole() -> None:
    near, far = recorded_pair()
    client, server = await tls_pair((near, far))
    inner, near._inner = near._inner, trio.testing.memory_stream_pair()[0]
    for cut in range(1, 60):
        near.sent.clear()
        await client.send(b"y" * 40)
        (record,) = near.sent
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_send_in_two, inner, record, cut)
            assert await server.receive_some() == b"y" * 40


async def _send_in_two(stream: trio.abc.Stream, record: bytes, cut: int) -> None:
    await stream.send_all(record[:cut])
    await trio.testing.wait_all_tasks_blocked()
    await stream.send_all(record[cut:])


async def test_slow_reader_cannot_wedge_close(autojump_clock: trio.testing.MockClock) -> None:
    near, far = trio.testing.lockstep_stream_pair()
    client, _server = await tls_pair((near, far))

    await client.aclose()

    assert trio.current_time() <= limits.CLOSE_S_MAX


async def test_close_works_while_a_send_is_stuck(autojump_clock: trio.testing.MockClock) -> None:
    near, far = trio.testing.lockstep_stream_pair()
    client, _server = await tls_pair((near, far))

    async def send() -> None:
        with pytest.raises(ClosedError):
            await client.send(b"never read")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await trio.testing.wait_all_tasks_blocked()
        await client.aclose()

    assert trio.current_time() == 0


async def test_connection_is_broken_after_a_cancelled_send() -> None:
    """Half a record may have left: whatever followed it could not be read."""
    near, far = trio.testing.lockstep_stream_pair()
    client, _server = await tls_pair((near, far))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.send, b"never read")
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    with pytest.raises(ClosedError):
        await client.send(b"more")


async def test_close_while_receiving_ends_the_receiver() -> None:
    client, _server = await tls_pair()

    async def receive() -> None:
        with pytest.raises(ClosedError):
            await client.receive_some()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        await client.aclose()


async def test_sending_to_a_gone_peer_says_closed() -> None:
    near, far = trio.testing.memory_stream_pair()
    client, _server = await tls_pair((near, far))
    await far.aclose()

    with pytest.raises(ClosedError):
        await client.send(b"x")
    with pytest.raises(ClosedError):
        await client.send(b"x")


async def test_connect_over_loopback() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    address = ServerAddress("127.0.0.1", port, SERVER.public)

    async def echo(stream: trio.SocketStream) -> None:
        server = await accept(stream, CONTEXT)
        await server.send(await server.receive_some())
        await server.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, echo, listeners)
        client = await connect(address)
        await client.send(b"hello")
        assert await client.receive_some() == b"hello"
        assert client.round_trip_s is not None
        assert 0 < client.round_trip_s < 10
        await client.aclose()
        assert client.round_trip_s is None
        with pytest.raises(HandshakeError):
            await connect(ServerAddress("127.0.0.1", port, NodeKey(b"w" * 32)))
        nursery.cancel_scope.cancel()


async def test_nobody_there_is_told_with_the_reason() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    for listener in listeners:
        await listener.aclose()

    with pytest.raises(ClosedError, match=rf"127.0.0.1:{port}: .*refused"):
        await connect(ServerAddress("127.0.0.1", port, SERVER.public))


def test_making_contexts_leaks_no_descriptors() -> None:
    server_context(OTHER)
    before = len(os.listdir("/dev/fd"))

    for _ in range(20):
        server_context(OTHER)

    assert len(os.listdir("/dev/fd")) == before
