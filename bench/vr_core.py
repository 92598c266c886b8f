"""What the replication core alone costs: three replicas in memory, no encoding of messages, no disk, no event loop.

    python -m bench --only vr          a line of JSON each: microseconds of CPU per request, by role and size of batch;
                                       what the digest of the state costs that replicas compare every 1,024 operations

Each replica's calls are timed by themselves, so that the figures are those of one process per replica.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec

from vr import limits
from vr.configuration import Configuration, Member
from vr.log import Request
from vr.ready import Reply
from vr.replica import Replica, ReplicaOptions, Restored
from vr.sessions import SessionTable
from vr.snapshot import checkpoint_digest, take_checkpoint
from vr.state import ReplicaState
from vr.types import ClientId, GroupId, OpNumber, ReplicaId, ReplicaIndex, RequestNumber, SessionNumber

BODY = bytes(300)
SIZE = 3
RESULT = bytes(12)  # as long as what a room answers to an append


class CoreCost(msgspec.Struct, frozen=True, kw_only=True):
    """Microseconds per request. `window`: requests in flight; batches are as large as the core makes them of it."""

    window: int
    requests: int
    primary_us: float
    backup_us: float


class DigestCost(msgspec.Struct, frozen=True, kw_only=True):
    """One digest of a group's state: `digest_ms` during which its host does nothing else, and its share of an operation."""

    sessions: int
    snapshot_bytes: int
    digest_ms: float
    operation_us: float


class _Discard:
    """A service that does nothing."""

    def apply(self, op: OpNumber, timestamp_us: int, requests: Sequence[Request]) -> list[bytes]:
        return [b""] * len(requests)

    def snapshot(self) -> bytes:
        return b""

    def restore(self, snapshot: bytes) -> None:
        pass


class _Trio:
    """Three replicas that hear each other at once; time stands still."""

    def __init__(self) -> None:
        members = tuple(Member(ReplicaId(bytes([place]) * 16), b"") for place in range(SIZE))
        configuration = Configuration(group=GroupId(b"group to measure"), members=members)
        options = ReplicaOptions(log_margin_ops=8)
        self.replicas = [
            Replica(configuration, ReplicaIndex(place), _Discard(), Restored.fresh(), now=0.0, seed=place, options=options)
            for place in range(SIZE)
        ]  # fmt: skip
        self.spent_s = [0.0] * SIZE
        self.settle()
        self.primary = self.replicas[0].primary_index

    def submit(self, requests: Sequence[Request]) -> None:
        start = time.thread_time()
        self.replicas[self.primary].submit(requests, 0.0)
        self.spent_s[self.primary] += time.thread_time() - start

    def settle(self) -> list[Reply]:
        """Until nothing moves; the primary's replies."""
        replies: list[Reply] = []
        is_moving = True
        while is_moving:
            is_moving = False
            for place, replica in enumerate(self.replicas):
                start = time.thread_time()
                ready = replica.ready(0.0)
                if ready is not None and ready.token is not None:
                    replica.storage_done(ready.token, 0.0)
                self.spent_s[place] += time.thread_time() - start
                if ready is None:
                    continue
                is_moving = True
                replies += ready.replies
                for to, message in ready.send_now:
                    start = time.thread_time()
                    self.replicas[to].step(message, 0.0)
                    self.spent_s[to] += time.thread_time() - start
        return replies

    def trim(self) -> None:
        for replica in self.replicas:
            replica.checkpoint_done(replica.applied_op, 0.0)


def measure(*, window: int, requests: int) -> CoreCost:
    """Keep `window` requests in flight, over sessions of 32 each, until `requests` were answered."""
    group = _Trio()
    clients = [ClientId(place.to_bytes(16, "big")) for place in range(max(window // 32, 1))]
    group.submit([Request(client, SessionNumber(0), RequestNumber(0), b"") for client in clients])
    sessions = {reply.client: reply.session for reply in group.settle()}
    share = window // len(clients)
    group.spent_s = [0.0] * SIZE
    answered = number = 0
    while answered < requests:
        wanted = [
            Request(client, sessions[client], RequestNumber(number + place), BODY)
            for place in range(1, share + 1)
            for client in clients
        ]
        number += share
        group.submit(wanted)
        answered += len(group.settle())
        group.trim()
    backups = [spent for place, spent in enumerate(group.spent_s) if place != group.primary]
    return CoreCost(
        window=window, requests=answered,
        primary_us=round(group.spent_s[group.primary] / answered * 1e6, 2),
        backup_us=round(sum(backups) / len(backups) / answered * 1e6, 2),
    )  # fmt: skip


def measure_digest(sessions: int, *, repeats: int = 20) -> DigestCost:
    """Of a group whose sessions have all the results that are kept of each."""
    table = SessionTable(max(sessions, 1))
    for place in range(sessions):
        client = ClientId(place.to_bytes(16, "big"))
        session = table.register(Request(client, SessionNumber(0), RequestNumber(0), b""), OpNumber(place + 1), 0)
        for number in range(1, limits.SESSION_RESULTS_KEPT + 1):
            table.record([Request(client, session, RequestNumber(number), b"")], [RESULT], OpNumber(number), 0)
    member = Member(ReplicaId(bytes(16)), b"")
    configuration = Configuration(group=GroupId(b"group to measure"), members=(member,), sessions_max=max(sessions, 1))
    state = ReplicaState(configuration, ReplicaIndex(0), _Discard(), options=ReplicaOptions(), seed=0)
    state.sessions = table
    start = time.thread_time()
    for _ in range(repeats):
        checkpoint = take_checkpoint(state)
        checkpoint_digest(configuration, checkpoint)
    digest_s = (time.thread_time() - start) / repeats
    return DigestCost(
        sessions=sessions,
        snapshot_bytes=len(checkpoint.sessions),
        digest_ms=round(digest_s * 1e3, 3),
        operation_us=round(digest_s * 1e6 / limits.DIGEST_OPS, 2),
    )


def run_digests() -> list[DigestCost]:
    """Nobody, a room, a large one, and every session that a group may have."""
    return [measure_digest(sessions) for sessions in (0, 10, 500, 4096)]


def run() -> list[CoreCost]:
    """A lone sender, a few, and full batches."""
    return [measure(window=window, requests=requests) for window, requests in ((1, 3000), (32, 30_000), (512, 60_000))]
