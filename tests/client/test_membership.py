from __future__ import annotations

from pathlib import Path

import pytest
import trio

from client.errors import RefusedError
from client.membership import Newcomer
from client.room_state import Phase
from client.store import Store, open_store
from tests.client.builders import identity_of
from tests.client.communities import community, lobby, notices_until, person
from wire.identity import ServerAddress
from wire.ids import NodeKey
from wire.link import Link, parse_link


class InThread:
    """A store as rooms use it."""

    def __init__(self, store: Store) -> None:
        self.store = store

    async def run(self, act):  # type: ignore[no-untyped-def]  # a fake of a generic method
        return act(self.store)


def store_in(folder: Path) -> InThread:
    folder.mkdir(exist_ok=True)
    return InThread(open_store(folder / "store.db", b"k" * 32))


async def test_a_newcomer_is_stored_before_and_after(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster, person(tmp_path, "alice") as alice:
        ours = await lobby(cluster, alice)
        link = parse_link(ours.link)
        store = store_in(tmp_path / "bob")

        await Newcomer(link, identity_of("bob"), store).join([node.address for node in cluster.nodes])

        stored = store.store.room(link.room_id)
        assert stored is not None
        assert stored.phase is Phase.JOINING
        assert stored.record.name == "lobby"
        assert len(store.store.memory(link.room_id).in_flight) == 1
        assert (await notices_until(ours, "JOINED"))[-1].sender.name == "bob"
        store.store.close()


async def test_another_links_secret_opens_nothing(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster, person(tmp_path, "alice") as alice:
        ours = await lobby(cluster, alice)
        link = parse_link(ours.link)
        wrong = Link(root_public=link.root_public, secret=b"x" * 16, hints=link.hints)
        store = store_in(tmp_path / "mallory")
        newcomer = Newcomer(wrong, identity_of("mallory"), store)

        with trio.move_on_after(1) as giving_up:
            await newcomer.join([node.address for node in cluster.nodes])

        assert giving_up.cancelled_caught
        assert any("proof" in failure.lower() for failure in newcomer.failures)
        assert store.store.rooms() == []
        store.store.close()


async def test_the_same_key_twice_is_refused(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster, person(tmp_path, "alice") as alice:
        ours = await lobby(cluster, alice)
        link = parse_link(ours.link)
        servers = [node.address for node in cluster.nodes]
        store = store_in(tmp_path / "bob")
        await Newcomer(link, identity_of("bob"), store).join(servers)

        with pytest.raises(RefusedError, match="in the room already"):
            await Newcomer(link, identity_of("bob"), store).join(servers)

        store.store.close()


async def test_servers_out_of_reach_are_listed(tmp_path: Path) -> None:
    store = store_in(tmp_path / "bob")
    link = Link(root_public=b"r" * 32, secret=b"s" * 16)
    newcomer = Newcomer(link, identity_of("bob"), store)
    assert newcomer.failures == ()

    with trio.move_on_after(0.5):
        await newcomer.join([ServerAddress("127.0.0.1", 9, NodeKey(b"k" * 32))])

    assert "127.0.0.1:9" in newcomer.failures[0]
    store.store.close()
