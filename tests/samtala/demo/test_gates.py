"""A gate must carry bytes when open and none when closed."""

from __future__ import annotations

import trio

from samtala.demo.gates import Gate, open_gates


async def echo(stream: trio.SocketStream) -> None:
    async for data in stream:
        await stream.send_all(data)


async def test_an_open_gate_carries_bytes_both_ways(nursery: trio.Nursery) -> None:
    listeners = await nursery.start(trio.serve_tcp, echo, 0)
    port = listeners[0].socket.getsockname()[1]

    async with open_gates([port, port]) as gates, await trio.open_tcp_stream("127.0.0.1", gates[0, 1].port) as stream:
        await stream.send_all(b"hej")

        assert await stream.receive_some(10) == b"hej"


async def test_a_closed_gate_swallows_and_an_opened_one_cuts(nursery: trio.Nursery) -> None:
    listeners = await nursery.start(trio.serve_tcp, echo, 0)
    gate = Gate(0, 1)
    await nursery.start(gate.serve, listeners[0].socket.getsockname()[1])
    async with await trio.open_tcp_stream("127.0.0.1", gate.port) as stream:
        await stream.send_all(b"before")
        assert await stream.receive_some(10) == b"before"

        gate.close()
        await stream.send_all(b"during")
        with trio.move_on_after(0.05) as waiting:
            await stream.receive_some(10)
        gate.open()

        assert waiting.cancelled_caught
        assert await stream.receive_some(10) in {b"", b"during"}


async def test_a_gate_to_nobody_closes_the_connection(nursery: trio.Nursery) -> None:
    gate = Gate(0, 1)
    await nursery.start(gate.serve, 1)

    async with await trio.open_tcp_stream("127.0.0.1", gate.port) as stream:
        with trio.fail_after(5):
            assert await stream.receive_some(10) == b""
