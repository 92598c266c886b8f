"""What somebody wants is known from their first bytes, however they are cut, and nothing is answered before."""

from __future__ import annotations

import ssl

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from wire import limits
from wire.errors import ClosedError, HandshakeError, PeerError
from wire.front import RELAY_MARK, Arrival, Reader, look, relay_leg, server_name
from wire.identity import NodeIdentity
from wire.tls import accept, client_context, connect_over, server_context

SERVER, OTHER = NodeIdentity(b"s" * 32), NodeIdentity(b"o" * 32)
TOKEN = b"t" * 16


def client_hello(name: str | None) -> bytes:
    outgoing = ssl.MemoryBIO()
    client = client_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


HELLO = client_hello(server_name(SERVER.public))


def fed(data: bytes, cuts: list[int]) -> Arrival | None:
    reader, begin = Reader(), 0
    for end in [*sorted(cuts), len(data)]:
        arrival = reader.feed(data[begin:end]) if end > begin else None
        if arrival is not None:
            return arrival
        begin = end
    return None


@given(st.lists(st.integers(0, len(HELLO)), max_size=8))
def test_the_name_in_a_client_hello_is_read_however_it_is_cut(cuts: list[int]) -> None:
    assert fed(HELLO, cuts) == Arrival(received=HELLO, server_name=server_name(SERVER.public))


@given(st.lists(st.integers(0, 30), max_size=8))
def test_the_mark_of_a_server_that_was_asked_to_come_is_read_however_it_is_cut(cuts: list[int]) -> None:
    assert fed(relay_leg(TOKEN), cuts) == Arrival(received=relay_leg(TOKEN), token=TOKEN)


def test_whoever_names_nobody_means_us() -> None:
    arrival = fed(client_hello(None), [])
    assert arrival is not None
    assert arrival.server_name == ""


@given(st.binary(min_size=1, max_size=600))
def test_what_is_neither_is_refused_or_not_over(data: bytes) -> None:
    try:
        arrival = fed(data, [])
    except HandshakeError:
        return
    assert arrival is None or data.startswith(RELAY_MARK)


def test_a_hello_without_end_is_refused() -> None:
    endless = b"\x16\x03\x01\x40\x00" + b"\x01\x00\x3f\xfc" + bytes(limits.HANDSHAKE_BYTES_MAX)

    with pytest.raises(HandshakeError):
        fed(endless, list(range(0, len(endless), 1000)))


def test_names_differ_and_tell_nothing_of_the_key() -> None:
    assert server_name(SERVER.public) != server_name(OTHER.public)
    assert SERVER.public.hex()[:16] not in server_name(SERVER.public)
    assert len(server_name(SERVER.public)) <= 63


async def test_a_handshake_goes_on_with_what_was_read() -> None:
    near, far = trio.testing.memory_stream_pair()
    got: list[bytes] = []

    async def serve() -> None:
        arrival = await look(far)
        assert arrival.server_name == server_name(SERVER.public)
        tls = await accept(far, server_context(SERVER), arrival.received)
        got.append(await tls.receive_some())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        client = await connect_over(near, SERVER.public)
        await client.send(b"hej")

    assert got == [b"hej"]


async def test_a_stranger_who_says_nothing_is_left(autojump_clock: trio.testing.MockClock) -> None:
    del autojump_clock
    _, far = trio.testing.memory_stream_pair()

    with pytest.raises(HandshakeError, match="too long"):
        await look(far)


async def test_a_stranger_who_leaves_is_an_error_of_theirs() -> None:
    near, far = trio.testing.memory_stream_pair()
    await near.aclose()

    with pytest.raises(PeerError):
        await look(far)
    await far.aclose()
    with pytest.raises(ClosedError):
        await look(far)
