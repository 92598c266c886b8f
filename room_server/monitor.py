"""What scrapers and probes are told: gauges gathered when somebody asks, readiness, and the lateness of the loop.

Gauges over rooms are gathered on the loop, some hundred rooms at a time, because only the loop may look at replicas;
the text is rendered in a worker thread. Nothing is kept per room.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Final, assert_never

import trio

from room_server.backup_state import read_backup_state
from room_server.margin import member_lags, members_up
from room_server.metrics import SPARE_LABELS, STORAGE_KINDS, NodeMetrics
from room_server.status import spare_failures
from vr.errors import UnknownGroup
from vr.host import Host
from vr.replica import Replica, Status
from vr.storage.folder import HISTORY_NAME, LOG_NAME
from vr.types import GroupId
from wire.ids import NodeKey

_ROOMS_AT_ONCE: Final = 500
_LAG_S: Final = 0.5
_US: Final = 1_000_000
_BLOCK_BYTES: Final = 512
"""What st_blocks counts, whatever the file system's own block is (POSIX stat)."""

_GRACE_S: Final = 3.0
"""Seconds after which a node that misses peers is ready all the same: they may be down for long. Until then, who restarts
one node after another must not go on: the next one down would leave two that have not met."""


def living_replicas(host: Host) -> Iterator[tuple[GroupId, Replica]]:
    """Every replica that is here when its turn comes; rooms that are forgotten meanwhile are left out."""
    for group in tuple(host.groups()):
        with contextlib.suppress(UnknownGroup):
            yield group, host.replica(group)


def room_state(replica: Replica) -> str:
    """One of `metrics.ROOM_STATES`."""
    if replica.status is Status.RECOVERING_HEAD:
        return "recovering"
    if members_up(replica) < replica.configuration.quorum:
        return "no_quorum"
    match replica.status:
        case Status.RETIRED:
            return "moving"
        case Status.VIEW_CHANGE:
            return "view_change"
        case Status.NORMAL:
            return "catching_up" if is_catching_up(replica) else "normal"
        case _:
            assert_never(replica.status)


def is_catching_up(replica: Replica) -> bool:
    """Whether operations are known to be committed that are not applied here."""
    return replica.commit_number > replica.applied_op


class Monitor:
    """Implements `health.HealthSource`.

    Args:
        metrics: the families to fill.
        host: whose replicas and counters are told.
        set_gauges: sets those that come from elsewhere (connections, links, DHT).
        has_all_peers: links to all peers stand.
        peer_names: how each peer is called, now.
        is_room: whether a group is a room; the cluster's own is none.
        data: the data folder.
    """

    def __init__(
        self,
        metrics: NodeMetrics,
        *,
        host: Host,
        set_gauges: Callable[[], None],
        has_all_peers: Callable[[], bool],
        peer_names: Callable[[], Mapping[NodeKey, str]],
        is_room: Callable[[GroupId], bool],
        data: str,
    ) -> None:
        self._metrics = metrics
        self._host = host
        self._writes_seen = self._bytes_seen = 0
        self._totals_seen = dict.fromkeys(metrics.host_totals, 0)
        self._peer_names = peer_names
        self._is_room = is_room
        self._view_changes_seen = 0
        self._set_gauges = set_gauges
        self._has_all_peers = has_all_peers
        self._data = data
        self._started_at = trio.current_time()
        self.is_listening = False
        self._is_draining = False

    def _replicas(self) -> Iterator[tuple[GroupId, Replica]]:
        return ((group, replica) for group, replica in living_replicas(self._host) if self._is_room(group))

    def drain(self, is_draining: bool) -> None:
        """This node is about to stop; or not, after all."""
        self._is_draining = is_draining

    def not_ready_because(self) -> str | None:
        """Why this node is not ready; None when it is."""
        if self._is_draining:
            return "draining"
        if not self.is_listening:
            return "not listening yet"
        if self._host.is_disk_full:
            return "the disk is nearly full"
        if not self._has_all_peers() and trio.current_time() < self._started_at + _GRACE_S:
            return "not all peers joined yet"
        behind = sum(
            replica.status is Status.RECOVERING_HEAD or is_catching_up(replica)
            for _, replica in living_replicas(self._host)  # That of the cluster, too: its vote counts as theirs do.
        )
        return f"catching up: {behind} rooms" if behind else None

    async def render_metrics(self) -> bytes:
        """Gather and render."""
        await self._gather_rooms()
        self._set_gauges()
        self._metrics.trio_tasks.set(trio.lowlevel.current_statistics().tasks_living)
        return await trio.to_thread.run_sync(self._render)

    def _render(self) -> bytes:
        for kind, size in stored_bytes(self._data).items():
            self._metrics.storage_bytes[kind].set(size)
        free = os.statvfs(self._data)
        self._metrics.storage_free_bytes.set(free.f_bavail * free.f_frsize)
        backup = read_backup_state(self._data)
        self._metrics.backup_made.set(backup.made_us / _US)
        self._metrics.backup_verified.set(backup.verified_us / _US)
        return self._metrics.render()

    async def _gather_rooms(self) -> None:
        states: Counter[str] = Counter()
        spares: Counter[str] = Counter()
        names = self._peer_names()
        lags = dict.fromkeys(names.values(), 0)
        uncommitted = view_changes = undecidable = diverged = cold = 0
        for number, (group, replica) in enumerate(self._replicas()):
            cold += self._host.is_cold(group)
            states[room_state(replica)] += 1
            view_changes += replica.view_changes
            undecidable += replica.undecided is not None and replica.undecided.is_final
            diverged += replica.divergence is not None
            uncommitted += max(replica.head_op - replica.commit_number, 0)
            if replica.is_primary:
                note_lags(replica, names, lags)
                spare = max(spare_failures(members_up(replica), replica.configuration.quorum), 0)
                spares[SPARE_LABELS[min(spare, len(SPARE_LABELS) - 1)]] += 1
            if number % _ROOMS_AT_ONCE == _ROOMS_AT_ONCE - 1:
                await trio.lowlevel.checkpoint()
        for name, lag_ops in lags.items():
            if name in self._metrics.peer_lag_ops_max:  # Still a peer.
                self._metrics.peer_lag_ops_max[name].set(lag_ops)
        for state, gauge in self._metrics.rooms.items():
            gauge.set(states[state])
        for label, gauge in self._metrics.rooms_by_spare.items():
            gauge.set(spares[label])
        self._metrics.rooms_led.set(sum(spares.values()))
        self._metrics.rooms_cold.set(cold)
        self._metrics.damaged_rooms.set(len(self._host.damaged))
        self._metrics.uncommitted_ops.set(uncommitted)
        self._metrics.undecidable_rooms.set(undecidable)
        self._metrics.diverged_rooms.set(diverged)
        self._metrics.storage_full.set(self._host.is_disk_full)
        # A room that was forgotten takes its count along, and counters never go back.
        self._metrics.view_changes.inc(max(view_changes - self._view_changes_seen, 0))
        self._view_changes_seen = view_changes

    async def watch_loop(self) -> None:
        """Measure how late the loop is, until cancelled."""
        while True:
            due = trio.current_time() + _LAG_S
            await trio.sleep_until(due)
            self._metrics.loop_lag.observe(trio.current_time() - due)
            self._draw_durations()

    def _draw_durations(self) -> None:
        """The host keeps numbers, not histograms."""
        statistics, metrics = self._host.statistics, self._metrics
        metrics.wal_writes.inc(statistics.writes - self._writes_seen)
        metrics.wal_bytes.inc(statistics.bytes_written - self._bytes_seen)
        self._writes_seen, self._bytes_seen = statistics.writes, statistics.bytes_written
        for name, counter in metrics.host_totals.items():
            total: int = getattr(statistics, name)
            counter.inc(total - self._totals_seen[name])
            self._totals_seen[name] = total
        for durations_s, histogram in (
            (statistics.writes_s, metrics.wal_fsync_duration),
            (statistics.view_changes_s, metrics.view_change_duration),
        ):
            while durations_s:
                histogram.observe(durations_s.popleft())


def note_lags(replica: Replica, names: Mapping[NodeKey, str], lags: dict[str, int]) -> None:
    """Raise each peer's lag to what it is in a room led here."""
    for key, lag_ops in member_lags(replica).items():
        name = names.get(key)
        if name is not None:
            lags[name] = max(lags[name], lag_ops)


def stored_bytes(data: str) -> dict[str, int]:
    """Bytes on disk of a data folder, by `metrics.STORAGE_KINDS`. Files that go away meanwhile count nothing."""
    sizes = dict.fromkeys(STORAGE_KINDS, 0)
    for folder, _, names in os.walk(data):
        for name in names:
            kind = "log" if os.path.basename(folder) == LOG_NAME else "other"
            kind = "history" if name.startswith(HISTORY_NAME) else kind
            with contextlib.suppress(FileNotFoundError):
                sizes[kind] += os.stat(os.path.join(folder, name)).st_blocks * _BLOCK_BYTES
    return sizes
