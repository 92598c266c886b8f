from __future__ import annotations

import pytest

from client.whereabouts import Whereabouts, servers_of
from dht.items import MutableItem
from tests.wire.certificates import ROOM, encoded, identity, servers
from wire.certificate import RoomServers
from wire.descriptor import Descriptor, Replica
from wire.errors import PeerError
from wire.ids import GroupEpoch, RoomId
from wire.limits import CERTIFICATES_PER_FRAME_MAX
from wire.messages import KnownServers, ServersChanged

FIRST, SECOND, THIRD = servers(0, (1, 2, 3)), servers(1, (2, 3, 4)), servers(2, (5, 6, 7))
TO_SECOND = encoded(SECOND, signers=(1, 2))
TO_THIRD = encoded(THIRD, signers=(3, 4))


def whereabouts(known: RoomServers | None = FIRST) -> Whereabouts:
    place = Whereabouts(ROOM, known)
    place.introduction()
    return place


def test_server_is_told_what_we_know() -> None:
    assert Whereabouts(ROOM, SECOND).introduction() == KnownServers(ROOM, GroupEpoch(1))
    assert Whereabouts(ROOM, None).introduction() is None


def test_moves_are_followed_one_by_one_and_at_once() -> None:
    slow, fast = whereabouts(), whereabouts()

    assert slow.follow(ServersChanged(ROOM, (TO_SECOND,)))
    assert slow.follow(ServersChanged(ROOM, (TO_THIRD,)))
    assert fast.follow(ServersChanged(ROOM, (TO_SECOND, TO_THIRD)))

    assert slow.known == fast.known == THIRD


@pytest.mark.parametrize(
    "message",
    [
        ServersChanged(ROOM, ()),
        ServersChanged(RoomId(b"s" * 16), (TO_SECOND,)),
        ServersChanged(ROOM, (TO_THIRD,)),
        ServersChanged(ROOM, (TO_SECOND, TO_SECOND)),
        ServersChanged(ROOM, (b"junk",)),
        ServersChanged(ROOM, (encoded(SECOND, signers=(1,)),)),
        ServersChanged(ROOM, (TO_SECOND, encoded(THIRD, signers=(5, 6)))),
        ServersChanged(ROOM, (b"",) * (CERTIFICATES_PER_FRAME_MAX + 1)),
    ],
)
def test_what_does_not_hold_changes_nothing(message: ServersChanged) -> None:
    place = whereabouts()

    with pytest.raises(PeerError):
        place.follow(message)

    assert place.known == FIRST


def test_replayed_move_is_refused() -> None:
    place = whereabouts()
    place.follow(ServersChanged(ROOM, (TO_SECOND,)))

    with pytest.raises(PeerError):
        place.follow(ServersChanged(ROOM, (TO_SECOND,)))


def test_who_believes_nobody_follows_nobody() -> None:
    assert not whereabouts(None).follow(ServersChanged(ROOM, (TO_SECOND,)))


def test_owner_is_believed_unless_others_moved_the_room_since() -> None:
    place = whereabouts(SECOND)

    assert not place.believe(FIRST)
    assert place.known == SECOND
    assert place.believe(THIRD)
    assert place.known == THIRD


def test_server_may_tell_what_the_owner_told_meanwhile() -> None:
    place = whereabouts()
    place.believe(SECOND)

    assert not place.follow(ServersChanged(ROOM, (TO_SECOND,)))
    assert place.follow(ServersChanged(ROOM, (TO_THIRD,)))
    assert place.known == THIRD


def test_owners_record_names_each_server_once() -> None:
    replicas = (
        Replica(node_key=identity(1).public, port=1, ipv4="192.0.2.1", ipv6="2001:db8::1"),
        Replica(node_key=identity(2).public, port=2, ipv6="2001:db8::2"),
        Replica(node_key=identity(3).public, port=3),
        Replica(node_key=identity(1).public, port=4, ipv4="192.0.2.9"),
    )
    item = MutableItem(public_key=b"k" * 32, signature=b"s" * 64, seq=5 << 32 | 7, value=b"v")

    known = servers_of(item, Descriptor(issued_hours=0, valid_hours=1, replicas=replicas))

    assert known.epoch == 5
    assert [(server.host, server.port) for server in known.servers] == [("192.0.2.1", 1), ("2001:db8::2", 2), ("", 3)]
    assert [address.host for address in known.addresses] == ["192.0.2.1", "2001:db8::2"]
