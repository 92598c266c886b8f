from __future__ import annotations

import msgspec
import pytest
import trio
import trio.testing

from room_server import limits
from room_server.cluster_links import RosterLinks
from room_server.feed import RingBudget
from room_server.metrics import NodeMetrics
from room_server.peers import MetPeer, Peer, PeerLinks
from room_server.rooms import Rooms
from tests.room_server.epochs import moved_room
from tests.room_server.rosters import key, record
from wire.errors import HandshakeError
from wire.room import encode_genesis

CONFIGURED = Peer(name="configured", node_key=key(8), host="elsewhere", port=1)


class Links:
    """A roster's links over real ones that lead nowhere."""

    def __init__(self) -> None:
        self.rooms = Rooms(RingBudget())
        self.dialled: list[str] = []
        self.metrics = NodeMetrics(version="0", peers=["configured"])
        self.links = PeerLinks(
            [CONFIGURED],
            node_key=bytes(32),  # type: ignore[arg-type]  # the smallest key: all are ours to dial
            rooms=self.rooms,
            host_room=None,  # type: ignore[arg-type]  # nobody tells of rooms
            on_epochs=lambda _: None,
            dial=self._dial,
            metrics=self.metrics,
            random01=lambda: 0.5,
            wall_us=lambda: 0,
        )
        self.roster = RosterLinks(self.links, configured={key(8)}, node_key=key(1), rooms=self.rooms)

    async def _dial(self, peer: Peer) -> MetPeer:
        await trio.lowlevel.checkpoint()
        self.dialled.append(f"{peer.host}:{peer.port}")
        raise HandshakeError("nobody there")

    @property
    def names(self) -> set[str]:
        return {peer.name for peer in self.links.peers.values()}


def test_links_are_kept_to_servers_of_the_roster_and_of_the_configuration() -> None:
    links = Links()

    links.roster.follow([record(1), record(2), record(8)])

    assert links.names == {"configured", "n2"}
    assert not links.roster.tell(key(2), None)  # type: ignore[arg-type]  # there is no link


async def test_servers_that_node_toml_names_anew_are_linked_and_others_leave(
    autojump_clock: trio.testing.MockClock,
) -> None:
    links = Links()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(links.roster.run)
        links.roster.follow([record(2)])
        moved = Peer(name="configured", node_key=key(8), host="another.example", port=2)
        fresh = Peer(name="fresh", node_key=key(9), host="fresh.example", port=3)

        links.roster.configure([moved, fresh])
        assert links.names == {"configured", "fresh", "n2"}
        assert links.links.peers[key(8)] == moved

        links.roster.configure([fresh])
        assert links.names == {"configured", "fresh", "n2"}, "for a while"
        await trio.sleep(limits.LINGER_S + 1)
        assert links.names == {"fresh", "n2"}
        assert set(links.metrics.peer_up) == links.names
        nursery.cancel_scope.cancel()


async def test_a_server_that_moved_is_dialled_where_it_is_now(autojump_clock: trio.testing.MockClock) -> None:
    links = Links()
    links.roster.follow([record(2)])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(links.links.run)
        await trio.sleep(1)
        assert set(links.dialled) == {"elsewhere:1", "n2.example:7610"}

        links.roster.follow([msgspec.structs.replace(record(2), host="new")])
        links.dialled.clear()
        await trio.sleep(5)
        assert set(links.dialled) == {"elsewhere:1", "new:7610"}
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("shares", [False, True])
async def test_who_left_is_linked_a_while_longer_or_for_as_long_as_it_shares_a_room(
    autojump_clock: trio.testing.MockClock, *, shares: bool
) -> None:
    links = Links()
    links.roster.follow([record(2)])
    if shares:
        genesis = moved_room()
        links.rooms.add(genesis, encode_genesis(genesis))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(links.roster.run)
        links.roster.follow([])
        await trio.testing.wait_all_tasks_blocked()
        assert links.names == {"configured", "n2"}

        await trio.sleep(limits.LINGER_S + 1)

        assert links.names == ({"configured", "n2"} if shares else {"configured"})
        nursery.cancel_scope.cancel()


async def test_a_name_that_another_server_has_by_now_is_still_measured(
    autojump_clock: trio.testing.MockClock,
) -> None:
    links = Links()
    links.roster.follow([record(2, "b")])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(links.roster.run)
        links.roster.follow([record(3, "b"), record(4, "configured")])
        await trio.sleep(limits.LINGER_S + 1)
        links.roster.follow([record(3, "b")])
        await trio.sleep(limits.LINGER_S + 1)
        nursery.cancel_scope.cancel()

    assert set(links.metrics.peer_up) == links.names == {"configured", "b"}


async def test_who_came_back_in_time_stays(autojump_clock: trio.testing.MockClock) -> None:
    links = Links()
    links.roster.follow([record(2)])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(links.roster.run)
        links.roster.follow([])
        await trio.testing.wait_all_tasks_blocked()
        links.roster.follow([record(2)])

        await trio.sleep(limits.LINGER_S + 1)

        assert links.names == {"configured", "n2"}
        nursery.cancel_scope.cancel()
