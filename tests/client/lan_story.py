"""A link without any address opens on a network that has no internet: run by test_lan.py in a network of its own.

python -m tests.client.lan_story FOLDER HOST        HOST is this machine's address there
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import trio

from client.client import Client, open_client
from client.discovery import OtherSources
from client.errors import UnavailableError
from client.room import Room
from tests.client.communities import lobby, person
from tests.room_server.cluster import cluster_of
from wire.link import parse_link


async def story(folder: Path, host: str) -> None:
    """Three servers announce a room; a newcomer with nothing but root key and secret reads it."""
    async with (
        cluster_of(folder / "servers", dht=True, host=host, lan=True) as cluster,
        person(folder, "alice") as alice,
    ):
        room = await lobby(cluster, alice)
        await room.send("hello")
        bare = msgspec.structs.replace(parse_link(room.link), hints=()).to_text()
        async with open_client(folder / "deaf", name="deaf") as deaf:
            try:
                await deaf.join(bare)
            except UnavailableError as error:
                assert not error.tried, error  # noqa: PT017 - no test of its own
            else:
                raise AssertionError("found without listening")
        others = OtherSources(has_lan=True)
        async with open_client(folder / "bob", name="bob", others=others) as bob:
            joined = await _join_in_time(bob, bare)
            await joined.caught_up()
            assert len(await joined.members()) == 2


async def _join_in_time(client: Client, link: str) -> Room:
    """Join as soon as the servers have announced the new room, which takes them some seconds."""
    while True:
        try:
            return await client.join(link)
        except UnavailableError as error:
            assert "no server there has it" in str(error), error  # noqa: PT017 - no test of its own


async def _main(folder: Path, host: str) -> None:
    with trio.fail_after(30):
        await story(folder, host)


if __name__ == "__main__":
    trio.run(_main, Path(sys.argv[1]), sys.argv[2])
