"""Bricking a room of real servers, by a member who can do everything that members can (e2ee.md 3.1, R3 and R4)."""

from __future__ import annotations

from pathlib import Path

import pytest

from client import limits
from client.client import Client
from client.errors import RefusedError
from client.room import Room
from room_server import limits as server_limits
from tests.client.communities import community, lobby, notices_until, person, read_until
from tests.room_server.cluster import eventually
from wire.room import Ack, CommitBody, ResultKind, encode_commit_block, encode_control_block


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_limits, "STALL_US_MAX", 400_000)
    monkeypatch.setattr(limits, "REOPEN_S", (0.5, 0.9))


async def brick(mallory: Room, *, acknowledges: bool) -> None:
    """A commit that nobody can apply, with keys that mallory knows; she may say that it works."""
    connection = mallory._driver.connection
    assert connection is not None
    secrets, epoch = mallory._driver.view.secrets, mallory.epoch
    body = CommitBody(
        commit=b"garbage" * 30, group_info=b"garbage", next_write_key=secrets.write_key, next_read_key=secrets.read_key
    )
    result = await connection.append(encode_commit_block(epoch, body)).result()
    assert result.kind is ResultKind.ACCEPTED
    if acknowledges:
        keys = _GarbageKeys(mallory)
        mallory._driver.connection._protocol._keys = keys  # type: ignore[union-attr]  # mallory does as she likes
        connection.keys_changed()
        result = await connection.append(encode_control_block(keys.epoch, Ack())).result()
        assert result.kind is ResultKind.ACCEPTED


class _GarbageKeys:
    """What opens the epoch that mallory invented."""

    def __init__(self, room: Room) -> None:
        self._secrets = room._driver.view.secrets
        self.epoch = type(room.epoch)(room.epoch + 1)

    def read_seed(self) -> bytes:
        return self._secrets.read_seed

    def write_seed(self) -> bytes:
        return self._secrets.write_seed

    def join_seed(self) -> None:
        return None

    def admin_seed(self) -> None:
        return None


async def members_of_a_room(cluster: object, alice: Client, bob: Client, mallory: Client) -> tuple[Room, Room, Room]:
    ours = await lobby(cluster, alice)  # type: ignore[arg-type]  # a Cluster
    theirs, hers = await bob.join(ours.link), await mallory.join(ours.link)
    await hers.send("hello")
    for room in (ours, theirs, hers):
        await read_until(room, "hello")
    return ours, theirs, hers


async def test_garbage_commit_holds_a_room_up_only_for_a_while(tmp_path: Path) -> None:
    async with (
        community(tmp_path) as cluster,
        person(tmp_path, "alice") as alice,
        person(tmp_path, "bob") as bob,
        person(tmp_path, "mallory") as mallory,
    ):
        ours, theirs, hers = await members_of_a_room(cluster, alice, bob, mallory)
        await brick(hers, acknowledges=False)

        await ours.send("still here")
        await theirs.send("me too")

        await read_until(ours, "me too")
        await read_until(theirs, "me too")
        assert ours.code == theirs.code
        assert ours.undecryptable == theirs.undecryptable == 0
        alarm = (await notices_until(ours, "ALARM"))[-1]
        assert "does not hold" in alarm.text


async def test_owner_rescues_a_room_whose_garbage_was_acknowledged(tmp_path: Path) -> None:
    async with (
        community(tmp_path) as cluster,
        person(tmp_path, "alice") as alice,
        person(tmp_path, "bob") as bob,
        person(tmp_path, "mallory") as mallory,
    ):
        ours, theirs, hers = await members_of_a_room(cluster, alice, bob, mallory)
        await brick(hers, acknowledges=True)
        await eventually(lambda: ours.alarms == theirs.alarms == 1)
        with pytest.raises(RefusedError, match="only the device that made"):
            await bob.rescue("lobby")

        await alice.rescue("lobby")

        await theirs.send("we are back")
        await read_until(ours, "we are back")
        assert ours.code == theirs.code
        assert ours.undecryptable == theirs.undecryptable == 0
