from __future__ import annotations

import importlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import trio

from client.discovery import Discovery, OtherSources
from client.errors import UnavailableError
from client.name_records import parse_record_text, record_name, record_text, resolve_records
from tests.client.test_discovery import item, link
from wire.descriptor import RoomRoot

HOST = "room.example"


@asynccontextmanager
async def name_server(*texts: tuple[bytes, ...]) -> AsyncIterator[tuple[str, int]]:
    """Answers for HOST with these TXT records, for others that there is no such name; made with the library itself."""
    dns = pytest.importorskip("dns", reason="the extra `dns` is not installed")
    for part in ("message", "rdatatype", "rrset", "rcode", "flags", "rdtypes.ANY.TXT"):
        importlib.import_module(f"dns.{part}")

    def answer(query: bytes) -> bytes:
        asked: Any = dns.message.from_wire(query)
        response = dns.message.make_response(asked)
        if asked.question[0].name.to_text() == record_name(HOST) and texts:
            records = [dns.rdtypes.ANY.TXT.TXT(1, dns.rdatatype.TXT, text) for text in texts]
            response.answer.append(dns.rrset.from_rdata_list(asked.question[0].name, 60, records))
        else:
            response.set_rcode(dns.rcode.NXDOMAIN)
        wire: bytes = response.to_wire(max_size=65_535)
        return wire

    async def reply(socket: trio.socket.SocketType) -> None:
        while True:
            query, sender = await socket.recvfrom(4096)
            await socket.sendto(answer(query), sender)

    with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as socket:
        await socket.bind(("127.0.0.1", 0))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reply, socket)
            yield socket.getsockname()
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("size", [0, 1, 2, 3, 190, 600])
def test_records_come_back_from_strings_of_bounded_length(size: int) -> None:
    strings = record_text(bytes(range(256))[:size] * (1 if size <= 256 else 2))

    assert all(0 < len(string) <= 255 for string in strings)
    assert record_text(parse_record_text(strings) or b"") == strings


@pytest.mark.parametrize(
    "strings",
    [(), (b"v=spf1 -all",), (b"samtala",), (b"samtala=\xff",), (b"samtala=a",), (b"samtala=" + b"A" * 9000,)],
)
def test_other_texts_are_no_records(strings: tuple[bytes, ...]) -> None:
    assert parse_record_text(strings) is None


async def test_room_is_found_by_the_name_of_a_host() -> None:
    others = record_text(item(7, root=RoomRoot(b"o" * 32)).to_bytes())
    ours = record_text(item(3).to_bytes())
    async with name_server((b"v=spf1 -all",), others, (b"samtala=AAAA",), ours) as place:
        search = Discovery(link((HOST, 9)), others=OtherSources(name_server=place))
        with trio.fail_after(10):
            found = await search.first()

    assert (found.source, found.item) == ("DNS", item(3))
    assert "DNS (_samtala.room.example.): found, version 0.3" in "\n".join(search.lines())


async def test_forged_record_is_refused() -> None:
    forged = record_text(msgspec.structs.replace(item(3), signature=bytes(64)).to_bytes())
    async with name_server(forged) as place:
        search = Discovery(link((HOST, 9)), others=OtherSources(name_server=place))
        with trio.fail_after(10):
            await search.search(lambda found: True)

    assert search.best is None
    assert "refused: the record is not signed by the room's owner" in "\n".join(search.lines())


async def test_name_without_records_is_said() -> None:
    async with name_server() as place:
        with pytest.raises(UnavailableError, match="does not exist"):
            await resolve_records(HOST, place)


async def test_records_of_one_host_are_bounded() -> None:
    async with name_server(*(record_text(bytes([number])) for number in range(40))) as place:
        assert len(await resolve_records(HOST, place)) == 16
