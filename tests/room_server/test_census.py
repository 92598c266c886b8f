from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import cast

import pytest
import trio
import trio.testing

from room_server import limits
from room_server.census import Census
from room_server.errors import ClusterError, ConnectionCutError
from room_server.hosting import Hosting
from tests.room_server.rosters import key
from vr.replica import Status
from wire.ids import NodeKey, RoomId
from wire.messages import Message
from wire.peer_messages import PeerAskPlaces, PeerPlaces, RoomPlace

A, B, C = key(1), key(2), key(3)


def room_id(number: int) -> RoomId:
    return RoomId(number.to_bytes(16, "big"))


def place(number: int, *, is_led: bool = True, servers: tuple[NodeKey, ...] = (A, B)) -> RoomPlace:
    return RoomPlace(room_id(number), servers, True, is_led)


class Rooms:
    """Of a server: of which of them it is the leader, and which have left."""

    def __init__(self, numbers: Iterable[int], *, led: Iterable[int] = (), left: Iterable[int] = ()) -> None:
        service = SimpleNamespace(by_quorum=True)
        self.rooms = [SimpleNamespace(room_id=room_id(n), group=room_id(n), service=service) for n in numbers]
        members = tuple(SimpleNamespace(node_key=one) for one in (A, B))
        self.replicas = {
            room_id(n): SimpleNamespace(
                index=0,
                is_primary=n in led,
                status=Status.RETIRED if n in left else Status.NORMAL,
                configuration=SimpleNamespace(members=members, is_member=lambda _: True),
            )
            for n in numbers
        }
        self.host = SimpleNamespace(replica=self.replicas.__getitem__)


class Net:
    """Censuses that hear each other at once; silent servers hear, and say nothing."""

    def __init__(self) -> None:
        self.censuses: dict[NodeKey, Census] = {}
        self.silent: set[NodeKey] = set()

    def add(self, own: NodeKey, rooms: Rooms) -> Census:
        def tell(to: NodeKey, message: Message) -> bool:
            census = self.censuses.get(to)
            if census is None:
                return False
            if isinstance(message, PeerAskPlaces) and to not in self.silent:
                census.on_ask(own, message)
            elif isinstance(message, PeerPlaces):
                census.on_places(own, message)
            return True

        self.censuses[own] = Census(cast(Hosting, rooms), tell=tell, fellows=lambda: (A, B, C))
        return self.censuses[own]


async def test_all_rooms_of_linked_servers_are_found_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PLACES_PER_PAGE", 2)
    net = Net()
    ours = net.add(A, Rooms([5, 1, 3, 2, 4], led=[1, 2]))
    net.add(B, Rooms([1, 2, 3, 4, 5, 6], led=[3, 4, 5]))

    found = await ours.take(A)

    assert sorted(found, key=lambda one: one.room_id) == [
        *(place(number) for number in range(1, 6)),
        place(6, is_led=False),
    ]


async def test_rooms_that_have_left_are_not_told() -> None:
    net = Net()
    assert await net.add(A, Rooms([1, 2], led=[1, 2], left=[2])).take(A) == [place(1)]


async def test_a_server_that_does_not_answer_spoils_it(autojump_clock: trio.testing.MockClock) -> None:
    net = Net()
    ours = net.add(A, Rooms([1], led=[1]))
    net.add(B, Rooms([2], led=[2]))
    net.silent = {B}

    with pytest.raises(ClusterError, match="try again"):
        await ours.take(A)


async def test_strangers_are_told_nothing() -> None:
    told: list[Message] = []
    census = Census(
        cast(Hosting, Rooms([1], led=[1])), tell=lambda _, message: not told.append(message), fellows=lambda: (A,)
    )

    census.on_ask(B, PeerAskPlaces(1))
    assert told == []
    census.on_ask(A, PeerAskPlaces(1))
    assert told == [PeerPlaces(1, (place(1),))]


@pytest.mark.parametrize(
    "rooms",
    [
        (place(1),) * (limits.PLACES_PER_PAGE + 1),
        (place(1, servers=()),),
        (place(1, servers=(A, A)),),
        (place(1, servers=(NodeKey(b"short"),)),),
        (RoomPlace(RoomId(b"short"), (A,), True, True),),
    ],
)
def test_answers_out_of_bounds_end_the_link(rooms: tuple[RoomPlace, ...]) -> None:
    census = Net().add(A, Rooms([]))

    with pytest.raises(ConnectionCutError):
        census.on_places(B, PeerPlaces(1, rooms))
    census.on_places(B, PeerPlaces(1, (place(1),)))  # Nobody waits for it.


async def test_answers_in_no_order_are_refused() -> None:
    net = Net()
    ours = net.add(A, Rooms([]))
    net.add(B, Rooms([1], led=[1])).page = lambda after: (place(1),)  # type: ignore[method-assign]

    with pytest.raises(ClusterError, match="no order"):
        await ours.take(A)
