"""Every server of a room is asked by itself whether it holds what this device has read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from client.room import Room
from client.verification import Agreement, Verdict, judge
from tests.client.communities import community, lobby, person
from tests.client.test_moving import status
from wire.identity import ServerAddress
from wire.ids import NodeKey
from wire.ids import Sequence as EntrySequence

SERVERS = [ServerAddress("127.0.0.1", port, NodeKey(bytes([port]) * 32)) for port in (1, 2, 3, 4)]


def agreements(verdicts: Sequence[Verdict]) -> list[str]:
    return [verdict.agreement.value for verdict in verdicts]


def test_servers_are_compared_where_they_stand() -> None:
    at = status((1,))
    answers = [
        msgspec.structs.replace(at, next_sequence=EntrySequence(9), chain=b"eight"),
        msgspec.structs.replace(at, next_sequence=EntrySequence(6), chain=b"five"),
        msgspec.structs.replace(at, next_sequence=EntrySequence(9), chain=b"another"),
        "nobody there",
    ]

    verdicts = judge(SERVERS, answers, {EntrySequence(8): b"eight", EntrySequence(5): b"five"})

    assert agreements(verdicts) == ["same", "same", "other", "silent"]
    assert [verdict.sequence for verdict in verdicts] == [8, 5, 8, 0]
    assert agreements(judge(SERVERS[:1], answers[:1], {})) == ["unknown"]


async def told(room: Room) -> None:
    for number in range(5):
        await room.send(f"line {number}")


@pytest.mark.parametrize("deep", [False, True])
async def test_honest_servers_hold_what_we_read_and_a_dead_one_says_nothing(tmp_path: Path, deep: bool) -> None:
    async with community(tmp_path) as cluster, person(tmp_path, "alice") as alice:
        room = await lobby(cluster, alice)
        await told(room)
        await cluster.kill(cluster.nodes[2])

        verdicts = await room.verify(deep=deep)

        by_port = {verdict.server.port: verdict for verdict in verdicts}
        honest = [by_port[node.address.port] for node in cluster.nodes[:2]]
        assert agreements(honest) == ["same", "same"]
        assert by_port[cluster.nodes[2].address.port].agreement is Agreement.SILENT
        assert all(verdict.sequence == room.sequence for verdict in honest)
        assert all(verdict.entries == (room.sequence if deep else 0) for verdict in honest)


async def test_a_server_whose_entries_do_not_lead_to_its_hash_is_found_out_by_reading_all(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster, person(tmp_path, "alice") as alice:
        room = await lobby(cluster, alice)
        await told(room)
        [honest, *_] = await room.verify()

        verdict = await room._driver.read_all(honest, bytes(32))

        assert verdict.agreement is Agreement.OTHER
        assert "do not lead to its hash" in verdict.text
