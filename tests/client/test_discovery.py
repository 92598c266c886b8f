from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio

from client.discovery import Attempt, Discovery, Found, OtherSources, check_link, known_nodes_of
from client.errors import UnavailableError
from client.well_known import record_path
from dht.items import MutableItem
from dht.node import Node, open_node
from tests.client.web_server import web_server
from wire.descriptor import Descriptor, Replica, RoomRoot, descriptor_seq
from wire.errors import LocalError
from wire.link import Hint, Link

ROOT = RoomRoot(b"r" * 32)
SECRET = b"s" * 16


def item(revision: int, *, root: RoomRoot = ROOT, secret: bytes = SECRET, port: int = 7610) -> MutableItem:
    replicas = (
        Replica(node_key=b"n" * 32, port=port, ipv4="192.0.2.1", ipv6="2001:db8::1"),
        Replica(node_key=b"m" * 32, port=1),
    )
    descriptor = Descriptor(issued_hours=1, valid_hours=1, replicas=replicas)
    return root.sign_descriptor(descriptor, link_secret=secret, seq=descriptor_seq(0, revision))


def link(*places: tuple[str, int]) -> Link:
    hints = tuple(Hint(host=host, port=port) for host, port in places)
    return Link(root_public=ROOT.public, secret=SECRET, hints=hints)


@asynccontextmanager
async def replica(*items: MutableItem) -> AsyncIterator[Node]:
    async with open_node() as node:
        for pinned in items:
            node.pin(pinned)
        yield node


async def test_a_hint_is_enough(autojump_clock: None) -> None:
    async with replica(item(1)) as node:
        found = await Discovery(link(node.address)).first()

    assert found.source == "hints of the link"
    assert [str(server).partition("#")[0] for server in found.servers] == ["192.0.2.1:7610", "[2001:db8::1]:7610"]


async def test_the_newest_of_all_answers_wins() -> None:
    async with replica(item(1)) as old, replica(item(3)) as new:
        search = Discovery(link(old.address, new.address), cached=item(2).to_bytes())
        seen: list[int] = []

        await search.search(lambda found: bool(seen.append(found.item.seq)))

    assert seen[0] == 2
    assert seen == sorted(seen)
    assert search.best is not None
    assert search.best.item.seq == 3


async def test_the_trace_tells_who_began_who_won_and_why_others_failed() -> None:
    async with replica(item(3)) as new, replica() as ignorant:
        search = Discovery(link(new.address), cached=item(2).to_bytes(), known_nodes=[ignorant.address])

        await search.search(lambda found: False)

    remembered, hints, known = search.trace
    assert (remembered.has_begun, remembered.has_won, remembered.seq) == (True, False, 2)
    assert (hints.has_begun, hints.has_won, hints.seq) == (False, True, 3)
    assert hints.answered_s is not None
    assert known.seq in {None, 3}
    assert [line.rpartition("[")[2] for line in search.lines()[:2]] == ["first]", "wins]"]


async def test_an_answer_that_names_no_room_counts_the_nodes_that_gave_it(autojump_clock: None) -> None:
    async with replica() as ignorant:
        search = Discovery(link(ignorant.address, ("127.0.0.1", 9)))

        await search.search(lambda found: False)

    assert search.trace[0].outcome == "not known there; 1 of 2 nodes answered"


async def test_what_this_profile_remembers_comes_first_without_a_network() -> None:
    found = await Discovery(link(), cached=item(1).to_bytes()).first()

    assert found.source == "remembered"


async def test_known_nodes_are_asked_when_the_hints_are_dead() -> None:
    async with replica(item(1)) as node:
        found = await Discovery(link(("127.0.0.1", 9)), known_nodes=[node.address]).first()

        assert found.source == "known nodes"


async def test_nodes_that_answered_are_remembered() -> None:
    async with replica(item(1)) as node:
        search = Discovery(link(node.address))
        await search.search(lambda found: False)

        assert tuple(node.address) in {tuple(place) for place in search.known_nodes}


async def test_a_web_server_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = item(4)
    path = tmp_path / "www" / record_path(record.target).lstrip("/")
    path.parent.mkdir(parents=True)
    path.write_bytes(record.to_bytes())
    with web_server(tmp_path) as (port, authority):
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        others = OtherSources(web_hosts=(("localhost", port), ("127.0.0.1", 9)))
        search = Discovery(link(("127.0.0.1", 9)), others=others)

        found = await search.first()

    assert (found.source, found.item) == ("web server", record)


async def test_a_web_server_that_lies_or_is_dead_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forged = msgspec.structs.replace(item(1), seq=descriptor_seq(0, 9))
    path = tmp_path / "www" / record_path(forged.target).lstrip("/")
    path.parent.mkdir(parents=True)
    path.write_bytes(forged.to_bytes())
    with web_server(tmp_path) as (port, authority):
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        others = OtherSources(web_hosts=(("localhost", port), ("127.0.0.1", 9)))

        with pytest.raises(UnavailableError) as caught:
            await Discovery(link(), others=others).first()

    assert {"not signed" in line for line in caught.value.tried} == {True, False}


async def test_a_pasted_record_is_enough_and_a_newer_one_wins() -> None:
    search = Discovery(link(), cached=item(1).to_bytes(), others=OtherSources(record=item(2).to_bytes()))

    await search.search(lambda found: False)

    assert search.best is not None
    assert (search.best.source, search.best.item.seq) == ("pasted", 2)


async def test_nobody_found_lists_what_was_tried(autojump_clock: None) -> None:
    async with replica() as ignorant:
        search = Discovery(link(ignorant.address), known_nodes=[("127.0.0.1", 9)])

        with pytest.raises(UnavailableError) as caught:
            await search.first()

    assert len(caught.value.tried) == 2
    assert "hints of the link" in caught.value.tried[0]
    assert "ms" in caught.value.tried[0]


async def test_a_search_that_is_given_up_says_for_how_long_nobody_answered(autojump_clock: None) -> None:
    search = Discovery(link(("127.0.0.1", 9)))

    with trio.move_on_after(0.2):
        await search.first()

    assert "no answer for 200 ms" in search.nobody().tried[0]


async def test_a_link_without_addresses_in_an_empty_profile_says_what_to_do() -> None:
    with pytest.raises(UnavailableError, match="no address"):
        await Discovery(link()).first()


@pytest.mark.parametrize(
    ("cached", "reason"),
    [
        (b"garbage", "damaged"),
        (item(1, root=RoomRoot(b"x" * 32)).to_bytes(), "refused"),
        (item(1, secret=b"x" * 16).to_bytes(), "refused"),
    ],
    ids=["garbage", "another room's", "another link's"],
)
async def test_what_is_not_the_owners_word_is_refused_and_shown(cached: bytes, reason: str) -> None:
    search = Discovery(link(), cached=cached)

    with pytest.raises(UnavailableError) as caught:
        await search.first()

    assert reason in caught.value.tried[0]


async def test_a_forged_record_is_refused() -> None:
    forged = msgspec.structs.replace(item(1), seq=descriptor_seq(0, 9))

    with pytest.raises(UnavailableError) as caught:
        await Discovery(link(), cached=forged.to_bytes()).first()

    assert "not signed" in caught.value.tried[0]


def test_a_link_that_names_no_room_is_refused() -> None:
    check_link(link())

    with pytest.raises(LocalError, match="names no room"):
        check_link(Link(root_public=b"\xff" * 32, secret=SECRET))


def test_replicas_without_addresses_are_left_out() -> None:
    descriptor = Descriptor(issued_hours=1, valid_hours=1, replicas=(Replica(node_key=b"m" * 32, port=1),))

    assert (
        Found(item=item(1), descriptor=descriptor, attempt=Attempt(source="test", asked="nobody", began_s=0.0)).servers
        == []
    )


def test_remembered_nodes_that_are_none_cost_nothing_but_time() -> None:
    assert known_nodes_of(None) == known_nodes_of(b"rotten") == []
    assert known_nodes_of(msgspec.msgpack.encode([("192.0.2.1", 7610)])) == [("192.0.2.1", 7610)]
