"""Three real servers and people with profiles, in one trio program."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from client.client import Client, open_client
from client.room import Room
from client.timeline import Message, Notice
from tests.room_server.cluster import Cluster, cluster_of

SECONDS_MAX = 40.0


@asynccontextmanager
async def community(folder: Path) -> AsyncIterator[Cluster]:
    """Three servers with a private DHT; everything inside must be over in time."""
    with trio.fail_after(SECONDS_MAX):
        async with cluster_of(folder / "servers", dht=True) as cluster:
            yield cluster


@asynccontextmanager
async def person(folder: Path, name: str) -> AsyncIterator[Client]:
    """The client of one person; the same name is the same profile."""
    async with open_client(folder / "people" / name, name=name) as client:
        yield client


async def lobby(cluster: Cluster, client: Client) -> Room:
    """A room made by `client`."""
    return await client.create_room("lobby", nodes=[str(cluster.nodes[0].address)])


async def read_until(room: Room, text: str, *, since: int | None = 0) -> list[Message]:
    """Messages up to and with the one that says `text`."""
    messages = []
    async for message in room.messages(since):
        messages.append(message)
        if message.text == text:
            break
    return messages


async def notices_until(room: Room, wanted: str) -> list[Notice]:
    """Notices up to the first of this kind."""
    notices = []
    async for event in room.events(0):
        if isinstance(event, Notice):
            notices.append(event)
            if event.kind.name == wanted:
                break
    return notices
