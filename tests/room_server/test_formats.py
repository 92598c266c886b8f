"""Servers of two versions in one cluster: what the newer writes waits until the older one is upgraded."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from room_server import formats
from room_server.cluster import Cluster
from room_server.cluster_file import FILE_NAME, ClusterFile, RememberedCluster
from room_server.errors import ClusterError, SnapshotError, StartError
from room_server.roster import (
    Approve,
    AskToJoin,
    Invite,
    Placement,
    PlaceRooms,
    Remove,
    Renew,
    RosterCode,
    RosterService,
    decode_state,
    encode_genesis,
    encode_state,
    level_of,
)
from tests.room_server.rosters import GENESIS, Told, key, record, token
from wire.cluster import NodeRecord, check_record
from wire.errors import DecodeError
from wire.ids import RoomId

DONE = RosterCode.DONE
NEW = PlaceRooms(key(1), (Placement(RoomId(b"r" * 16), (key(1),)),))


def knowing(level: int, number: int) -> NodeRecord:
    return msgspec.structs.replace(record(number), level=level)


@pytest.fixture
def next_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """This program, as it will be when there is a level 2."""
    monkeypatch.setitem(formats.OPERATION_LEVELS, PlaceRooms, 2)
    monkeypatch.setattr("room_server.roster.LEVEL", 2)
    monkeypatch.setattr("room_server.cluster_file.LEVEL", 2)


def of_two(first: int, second: int) -> Told:
    """A roster of two servers that know these levels."""
    told = Told()
    assert told(Renew(knowing(first, 1))) is DONE
    assert told(Invite(key(1), token(0), 60)) is DONE
    assert told(AskToJoin(token(0), knowing(second, 2))) is DONE
    assert told(Approve(key(1), token(0))) is DONE
    return told


@pytest.mark.usefixtures("next_version")
def test_what_an_older_server_does_not_know_waits_until_it_is_upgraded() -> None:
    told = Told()
    told(Invite(key(1), token(0), 60))
    told(AskToJoin(token(0), knowing(1, 2)))
    told(Approve(key(1), token(0)))
    assert told(Renew(knowing(2, 1))) is DONE
    before = told.service.snapshot()

    assert told(NEW) is RosterCode.MALFORMED, "as the older server says, too"
    assert (told.service.snapshot(), told.service.level) == (before, 1)
    assert told(Renew(knowing(2, 2))) is DONE

    assert told.service.level == 2
    assert told(NEW) is DONE


@pytest.mark.usefixtures("next_version")
def test_a_level_never_falls_and_who_knows_less_is_not_let_in() -> None:
    told = of_two(2, 2)
    assert told.service.level == 2

    assert told(Renew(knowing(1, 2))) is RosterCode.TOO_OLD
    told(Invite(key(1), token(1), 60))
    assert told(AskToJoin(token(1), knowing(1, 3))) is RosterCode.TOO_OLD
    assert told(Remove(key(1), key(2))) is DONE

    again = RosterService(GENESIS)
    again.restore(told.service.snapshot())
    assert (told.service.level, again.level) == (2, 2)


def test_the_level_rises_when_the_last_older_server_leaves() -> None:
    told = Told()
    told(Invite(key(1), token(0), 60))
    told(AskToJoin(token(0), knowing(1, 2)))
    told(Approve(key(1), token(0)))
    told(Renew(knowing(2, 1)))

    assert told(Remove(key(1), key(2))) is DONE
    assert told.service.level == 2


def test_a_record_and_a_roster_from_before_levels_are_of_the_first() -> None:
    fields = msgspec.msgpack.decode(msgspec.msgpack.encode(record(2)))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(fields[:-1]), type=NodeRecord).level == 1
    state = msgspec.msgpack.decode(encode_state(Told().service.state()))
    assert decode_state(msgspec.msgpack.encode(state[:-1])).level == 1


def test_a_version_that_does_not_know_the_level_refuses_and_leaves_all_as_it_is(tmp_path: Path) -> None:
    newer = msgspec.structs.replace(Told().service.state(), level=formats.LEVEL + 1)
    with pytest.raises(SnapshotError, match=f"level {formats.LEVEL + 1}"):
        decode_state(encode_state(newer))
    file = ClusterFile(tmp_path)
    file.save(RememberedCluster(encode_genesis(GENESIS), newer))
    before = (tmp_path / FILE_NAME).read_bytes()

    with pytest.raises(StartError, match="cannot go back"):
        file.load()

    assert (tmp_path / FILE_NAME).read_bytes() == before


def test_the_level_is_read_whatever_a_later_version_wrote_beside_it() -> None:
    fields = msgspec.msgpack.decode(encode_state(Told().service.state()))
    assert level_of(msgspec.msgpack.encode([*fields[:-1], 7, {"new": 1}])) == 7
    assert level_of(b"") == level_of(b"\x93\x01\x02\x03") == 0


@pytest.mark.parametrize("level", [0, -1, 1 << 20])
def test_levels_out_of_bounds_are_no_records(level: int) -> None:
    with pytest.raises(DecodeError):
        check_record(knowing(level, 1))


@pytest.mark.usefixtures("next_version")
async def test_nothing_of_a_later_level_is_proposed(tmp_path: Path) -> None:
    links = SimpleNamespace(follow=lambda _: None, tell=lambda *_: True)
    cluster = Cluster(own=lambda: record(1), links=links, file=None, entropy=bytes)
    await cluster.enter(encode_genesis(GENESIS), encode_state(Told().service.state()))

    with pytest.raises(ClusterError, match="upgrade it first"):
        await cluster.perform(NEW)
