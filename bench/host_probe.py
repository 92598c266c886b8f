"""How fast is the host's loop: three hosts in one process, joined in memory, each with its own log on a real disk.

    python -m bench.host_probe [--folder DIR] [--profile]

Prints a line per workload. All three replicas share one core, so a process of its own per replica does better.
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import json
import pstats
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import trio

from samtala.demo.ledger import percentile
from vr.configuration import Configuration, Member
from vr.host import Host, HostOptions, open_host
from vr.log import Request
from vr.ready import CommittedOp, EpochEnd, Rejected, Reply
from vr.types import ClientId, GroupId, OpNumber, ReplicaId, RequestNumber, SessionNumber

BODY = bytes(300)
ONE_AT_A_TIME = 2000
WINDOW = 32


class Discard:
    """A service that does nothing."""

    def apply(self, op: OpNumber, timestamp_us: int, requests: Sequence[Request]) -> list[bytes]:
        return [b""] * len(requests)

    def snapshot(self) -> bytes:
        return b""

    def restore(self, snapshot: bytes) -> None:
        pass


class Peer:
    """A host, its transport and its embedder in one."""

    def __init__(self, peers: dict[ReplicaId, Peer]) -> None:
        self._peers = peers
        self.host: Host
        self.replies: list[Reply] = []
        self.answered = trio.Event()

    def send(self, peer: ReplicaId, frame: bytes) -> None:
        if peer in self._peers:
            self._peers[peer].host.receive(self.host.replica_id, frame)

    def on_committed(self, group: GroupId, operations: Sequence[CommittedOp]) -> None:
        pass

    def on_reply(self, group: GroupId, reply: Reply) -> None:
        self.replies.append(reply)
        self.answered.set()

    def on_rejected(self, group: GroupId, rejected: Rejected) -> None:
        raise RuntimeError(f"rejected: {rejected}")

    def on_epoch_end(self, group: GroupId, end: EpochEnd) -> Sequence[tuple[int, bytes]]:
        return ()

    def on_status(self, group: GroupId) -> None:
        pass

    async def next_replies(self) -> list[Reply]:
        while not self.replies:
            self.answered = trio.Event()
            await self.answered.wait()
        replies, self.replies = self.replies, []
        return replies


async def register(peer: Peer, group: GroupId, client: ClientId) -> SessionNumber:
    """A session."""
    peer.host.submit(group, [Request(client, SessionNumber(0), RequestNumber(0), b"")])
    return (await peer.next_replies())[0].session


async def one_at_a_time(peer: Peer, group: GroupId) -> dict[str, float]:
    """Latency of a lone sender, milliseconds."""
    client = ClientId(b"lone client 0001")
    session = await register(peer, group, client)
    durations: list[float] = []
    cpu = time.process_time()
    for number in range(1, ONE_AT_A_TIME + 1):
        start = time.perf_counter()
        peer.host.submit(group, [Request(client, session, RequestNumber(number), BODY)])
        await peer.next_replies()
        durations.append((time.perf_counter() - start) * 1000)
    return {
        "p50_ms": round(percentile(durations, 0.5), 3),
        "p99_ms": round(percentile(durations, 0.99), 3),
        "cpu_us_per_append": round((time.process_time() - cpu) / ONE_AT_A_TIME * 1e6),
    }


async def many(peer: Peer, groups: Sequence[GroupId], *, sessions: int, seconds: float) -> dict[str, float]:
    """Throughput of senders that keep their windows full."""
    numbers: dict[tuple[ClientId, SessionNumber], int] = {}
    group_of: dict[ClientId, GroupId] = {}
    for index in range(sessions):
        client = ClientId(index.to_bytes(16, "big"))
        group_of[client] = groups[index % len(groups)]
        numbers[client, await register(peer, group_of[client], client)] = 0

    def submit(wanted: Sequence[tuple[ClientId, SessionNumber]]) -> None:
        batches: dict[GroupId, list[Request]] = {}
        for key in wanted:
            numbers[key] += 1
            batches.setdefault(group_of[key[0]], []).append(Request(*key, RequestNumber(numbers[key]), BODY))
        for group, requests in batches.items():
            peer.host.submit(group, requests)

    for _ in range(WINDOW):
        submit(list(numbers))
    done = 0
    writes = peer.host.statistics.writes
    start, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() - start < seconds:
        replies = await peer.next_replies()
        done += len(replies)
        submit([(reply.client, reply.session) for reply in replies])
    elapsed, done_in_time = time.perf_counter() - start, done
    cpu_us = (time.process_time() - cpu) / done * 1e6
    while numbers and done < sum(numbers.values()):
        done += len(await peer.next_replies())
    writes = peer.host.statistics.writes - writes
    return {
        "appends_per_s": round(done_in_time / elapsed),
        "writes_per_s": round(writes / elapsed),
        "cpu_us_per_append": round(cpu_us, 1),
    }


def group_id(index: int) -> GroupId:
    """The id of the index-th group."""
    return GroupId(b"probe-group-" + index.to_bytes(4, "big"))


async def probe(folder: Path, *, profile: bool) -> None:
    """Run all workloads."""
    peers: dict[ReplicaId, Peer] = {}
    async with contextlib.AsyncExitStack() as stack:
        for index in range(3):
            peer = Peer(peers)
            options = HostOptions(segment_bytes=16 * 1024 * 1024)
            peer.host = await stack.enter_async_context(
                open_host(folder / str(index), peer, lambda group, genesis: Discard(), peer, options=options)
            )
            peers[peer.host.replica_id] = peer
        everybody = list(peers.values())
        for peer in everybody:
            for other in peers:
                if other != peer.host.replica_id:
                    peer.host.peer_connected(other)
        groups = [group_id(index) for index in range(64)]
        for group in groups:
            members = tuple(Member(replica_id, b"") for replica_id in peers)
            for peer in everybody:
                await peer.host.create_group(Configuration(group=group, members=members), b"")
        group = groups[0]
        primary = everybody[everybody[0].host.replica(group).primary_index]
        backup = next(peer for peer in everybody if peer is not primary)
        workloads = {
            "one at a time, at the primary": lambda: one_at_a_time(primary, group),
            "one at a time, at a backup": lambda: one_at_a_time(backup, group),
            "1 group, window 64": lambda: many(primary, [group], sessions=2, seconds=3),
            "1 group, window 2048": lambda: many(primary, [group], sessions=64, seconds=3),
            "64 groups, window 2048": lambda: many(primary, groups, sessions=64, seconds=3),
        }
        for name, work in workloads.items():
            profiler = cProfile.Profile() if profile else contextlib.nullcontext()
            with profiler:
                figures = await work()
            print(f"{name:32}{json.dumps(figures)}", flush=True)
            if isinstance(profiler, cProfile.Profile):
                pstats.Stats(profiler).sort_stats("tottime").print_stats(18)


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where the three data folders are made; default: a temporary one")
    parser.add_argument("--profile", action="store_true", help="print where the time goes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        trio.run(lambda: probe(Path(folder), profile=arguments.profile))


if __name__ == "__main__":
    main()
