"""What a room keeps in memory: while it is used, and when it has grown cold (`vr.host.cooling`).

python -m bench.cold_rooms        JSON: kilobytes a room as tracemalloc sees them, in one host of 100 rooms of one member
"""

from __future__ import annotations

import gc
import json
import secrets
import tempfile
import tracemalloc
from pathlib import Path

import trio

from bench.host_probe import Discard, Peer
from vr.configuration import Configuration, Member
from vr.host import HostOptions, limits, open_host
from vr.log import Request
from vr.types import ClientId, GroupId, ReplicaId, RequestNumber, SessionNumber

ROOMS = 100
OPERATIONS = 200
AT_ONCE = 20
BODY = bytes(300)
COLD_S = 1.0
"""Seconds after which rooms grow cold in the end, so that nobody waits for minutes."""
_CLIENT = ClientId(b"a client's name.")


async def measure(folder: Path) -> dict[str, float]:
    """Make rooms, use each of them, let them grow cold; kilobytes a room after each of these."""
    peers: dict[ReplicaId, Peer] = {}
    peer = Peer(peers)
    service = Discard()
    async with open_host(folder, peer, lambda group, genesis: service, peer, options=HostOptions()) as host:
        peer.host = host
        tracemalloc.start()
        member = Member(host.replica_id, b"")
        groups = [GroupId(secrets.token_bytes(16)) for _ in range(ROOMS)]
        for group in groups:
            await host.create_group(Configuration(group=group, members=(member,)), b"")
        fresh = _kilobytes_a_room()
        sessions: list[SessionNumber] = []
        for group in groups:
            host.submit(group, [Request(_CLIENT, SessionNumber(0), RequestNumber(0), b"")])
            session = (await peer.next_replies())[0].session
            for first in range(1, OPERATIONS + 1, AT_ONCE):
                await _append(peer, group, session, range(first, first + AT_ONCE))
            sessions.append(session)
        used = _kilobytes_a_room()
        limits.COLD_S = COLD_S
        for group, session in zip(groups, sessions, strict=True):
            await _append(peer, group, session, range(OPERATIONS + 1, OPERATIONS + 2))
        while host.warm_groups or host.statistics.checkpoints < ROOMS:  # noqa: ASYNC110 - the host's own time
            await trio.sleep(0.1)
        cold = _kilobytes_a_room()
    return {"rooms": ROOMS, "fresh_kb": fresh, "used_kb": used, "cold_kb": cold}


async def _append(peer: Peer, group: GroupId, session: SessionNumber, numbers: range) -> None:
    peer.host.submit(group, [Request(_CLIENT, session, RequestNumber(number), BODY) for number in numbers])
    answered = 0
    while answered < len(numbers):
        answered += len(await peer.next_replies())


def _kilobytes_a_room() -> float:
    gc.collect()
    return round(tracemalloc.get_traced_memory()[0] / ROOMS / 1024, 1)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="samtala-cold-") as path:
        print(json.dumps(trio.run(measure, Path(path))))
