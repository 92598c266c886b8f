"""The gate of every release: what people say and who they are is nowhere on the servers (e2ee.md 5, curious replica).

Three real server processes; random canaries in messages, the room's name and people's names; user keys and the keys of
devices' leaves. Then memory, disks, logs and metrics of the servers are searched for all of them, raw, in hexadecimal and
in base64 at all three alignments. That the search would find them is shown by planting one.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator

import pytest
import trio

from client.client import Client, open_client
from client.room import Room
from samtala.demo.canary import hits_in, hits_in_folder, hits_in_memory, needles
from tests.samtala.cli.servers import Community, open_community
from wire.room import ResultKind, encode_app_block

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory of other processes is read through /proc")

SECONDS_MAX = 60.0
SPOKEN = 40


@pytest.fixture(scope="module")
def community(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Community]:
    with open_community(tmp_path_factory.mktemp("canaries")) as running:
        yield running


def canary(what: str) -> str:
    return f"{what}-{secrets.token_hex(10)}"


class Secrets:
    """Everything that servers must not learn."""

    def __init__(self) -> None:
        self.room_name = canary("room")
        self.names = [canary("alice"), canary("bob")]
        self.word = canary("text")
        self.texts = [f"{index} {self.word} " + "x" * (index * 37) for index in range(SPOKEN)]
        self.keys: list[bytes] = []

    @property
    def forms(self) -> dict[str, list[bytes]]:
        """What to search for, by what it would mean to find it."""
        return {
            "message": needles(self.word),
            "room name": needles(self.room_name),
            "name": [form for name in self.names for form in needles(name)],
            "key": [form for key in self.keys for form in needles(key)],
        }


async def live(community: Community, told: Secrets) -> None:
    """A room with a life: talk both ways, a change of keys, another link, somebody removed."""
    with trio.fail_after(SECONDS_MAX):
        async with (
            open_client(community.folder / "people" / "a", name=told.names[0]) as alice,
            open_client(community.folder / "people" / "b", name=told.names[1]) as bob,
        ):
            ours = await alice.create_room(told.room_name, nodes=community.addresses[:1])
            theirs = await bob.join(ours.link)
            for index, text in enumerate(told.texts):
                await (ours if index % 2 else theirs).send(text)
            await ours.update_keys()
            await ours.rotate_link()
            await remember_keys(told, ours, alice, bob)
            told.keys += [ours._link.secret, ours._link.join_secret, ours._driver.view.secrets.env_key]
            [member] = [member for member in await ours.members() if not member.is_me]
            await ours.remove(member)


async def remember_keys(told: Secrets, room: Room, *people: Client) -> None:
    told.keys += [person.identity.user_key for person in people]
    told.keys += [member.device_key for member in await room.members()]


def hits(community: Community, forms: list[bytes]) -> dict[str, int]:
    """Where the forms lie, counted."""
    found: dict[str, int] = {}
    for place, name in enumerate("abc"):
        found[f"memory of {name}"] = hits_in_memory(community.pids[place], forms)
        found[f"disk of {name}"] = hits_in_folder(community.folder / name, forms)
        found[f"log of {name}"] = hits_in((community.folder / f"{name}.log").read_bytes(), forms)
        found[f"metrics of {name}"] = hits_in(community.metrics(place), forms)
    return {where: count for where, count in found.items() if count}


def test_nothing_that_people_say_or_are_is_on_the_servers(community: Community) -> None:
    told = Secrets()

    trio.run(live, community, told)

    assert len(told.keys) >= 7
    assert {what: hits(community, forms) for what, forms in told.forms.items()} == {what: {} for what in told.forms}


async def plant(community: Community, word: bytes) -> None:
    """A client that forgets to encrypt one entry."""
    with trio.fail_after(SECONDS_MAX):
        async with open_client(community.folder / "people" / "careless", name="careless") as client:
            room = await client.create_room("careless", nodes=community.addresses[:1])
            await room.caught_up()
            connection = room._driver.connection
            assert connection is not None
            result = await connection.append(encode_app_block(room.epoch, [b"not encrypted: " + word])).result()
            assert result.kind is ResultKind.ACCEPTED


@pytest.mark.parametrize("encode", [bytes, lambda word: word.hex().encode()])
def test_one_planted_canary_is_found_in_memory_and_on_disk_of_all(community: Community, encode: object) -> None:
    word = canary("planted")

    trio.run(plant, community, encode(word.encode()))  # type: ignore[operator]  # one of two functions

    found = hits(community, needles(word))
    for name in "abc":
        assert found[f"disk of {name}"] > 0
    assert sum(count for where, count in found.items() if where.startswith("memory")) > 0
