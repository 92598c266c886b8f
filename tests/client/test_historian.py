"""People who come later read what was said before, on real servers, as far as the room's owner lets them."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from client.archive import FULL_HISTORY, NO_HISTORY, HistoryPolicy
from client.client import Client
from client.errors import RefusedError, UsageError
from client.room import Room
from client.timeline import ItemKind, Message
from tests.client.communities import community, notices_until, person, read_until
from tests.room_server.cluster import Cluster


async def told(cluster: Cluster, client: Client, policy: HistoryPolicy = FULL_HISTORY) -> Room:
    """A room in which something was said already."""
    room = await client.create_room("lobby", nodes=[str(cluster.nodes[0].address)], history=policy)
    for number in range(5):
        await room.send(f"early {number}")
    return room


async def texts_of(room: Room, last: str) -> list[tuple[str, bool]]:
    return [(message.text, message.from_history) for message in await read_until(room, last)]


EARLY = [(f"early {number}", True) for number in range(5)]


async def test_a_newcomer_reads_what_was_said_before_and_goes_on(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster, person(tmp_path, "alice") as alice, person(tmp_path, "bob") as bob:
        room = await told(cluster, alice)
        theirs = await bob.join(room.link)
        await theirs.history_read()
        await room.send("now")

        assert await texts_of(theirs, "now") == [*EARLY, ("now", False)]
        (notice,) = [note for note in await notices_until(theirs, "HISTORY_READ") if note.kind is ItemKind.HISTORY_READ]
        assert notice.text == "5"
        assert theirs.undecryptable == theirs.alarms == room.undecryptable == room.alarms == 0


async def test_whoever_comes_when_nobody_is_there_reads_it_when_somebody_is(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster:
        async with person(tmp_path, "alice") as alice:
            link = (await told(cluster, alice)).link
        async with person(tmp_path, "bob") as bob:
            theirs = await bob.join(link)
            assert theirs.is_history_coming
            with trio.move_on_after(1):
                await theirs.history_read()
            assert theirs.is_history_coming
        async with person(tmp_path, "alice") as alice, person(tmp_path, "bob") as bob:
            await alice.room("lobby")
            theirs = await bob.room("lobby")
            await theirs.history_read()
            await theirs.send("thanks")

            assert await texts_of(theirs, "thanks") == [*EARLY, ("thanks", False)]


async def test_without_history_a_newcomer_reads_nothing_from_before(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster, person(tmp_path, "alice") as alice, person(tmp_path, "bob") as bob:
        room = await told(cluster, alice, NO_HISTORY)
        theirs = await bob.join(room.link)
        assert not theirs.is_history_coming
        await room.send("now")

        assert await texts_of(theirs, "now") == [("now", False)]


async def test_the_owner_alone_changes_what_newcomers_may_read(tmp_path: Path) -> None:
    async with (
        community(tmp_path) as cluster,
        person(tmp_path, "alice") as alice,
        person(tmp_path, "bob") as bob,
        person(tmp_path, "carol") as carol,
    ):
        room = await told(cluster, alice, NO_HISTORY)
        theirs = await bob.join(room.link)
        with pytest.raises(RefusedError):
            await theirs.set_history(FULL_HISTORY)
        with pytest.raises(UsageError):
            await room.set_history(HistoryPolicy(100_000))
        await room.set_history(HistoryPolicy(30))
        assert room.history == HistoryPolicy(30)
        await room.send("kept")
        hers = await carol.join(room.link)
        await hers.history_read()

        assert await texts_of(hers, "kept") == [("kept", True)]
        assert theirs.undecryptable == 0


async def test_a_reader_in_the_middle_of_the_past_goes_on_there(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster, person(tmp_path, "alice") as alice, person(tmp_path, "bob") as bob:
        room = await told(cluster, alice)
        theirs = await bob.join(room.link)
        await theirs.history_read()
        seen = await read_until(theirs, "early 2")
        await room.send("now")

        rest: list[Message] = await read_until(theirs, "now", since=seen[-1].sequence)

        assert [message.text for message in rest] == ["early 3", "early 4", "now"]
