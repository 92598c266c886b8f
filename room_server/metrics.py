"""What operators watch (users-and-operators.md §5): families, their buckets, their children. No I/O.

No label ever holds a room, a person, a client address or a key; peers are labelled by the names in the configuration.
Children of labelled families are looked up once, here, because `labels()` costs as much as three increments. Durations
are observed once per batch or frame, not per message. Gauges are set when somebody scrapes (`room_server.node`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final, assert_never

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from room_server.dht_metrics import PUBLIC_PREFIX, DhtMetrics
from room_server.report import Reachability
from wire.errors import RefusalCode
from wire.versions import PROTOCOL_VERSION

_SECONDS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_OPS: Final = (1, 2, 4, 8, 16, 32, 64, 128)
ROOM_STATES: Final = ("normal", "view_change", "recovering", "catching_up", "no_quorum", "moving")
SPARE_LABELS: Final = ("0", "1", "2+")
STORAGE_KINDS: Final = ("log", "history", "other")
DISCONNECT_REASONS: Final = (
    "closed", "idle", "slow_reader", "drained", "frame", "decode", "handshake", "version", "out_of_order",
    "bad_proof", "limit", "address_limit", "history_gap", "protocol",
)  # fmt: skip


RELAY_REFUSALS: Final = ("stranger", "limit", "away", "token")


class NodeMetrics:
    """All families of one node in one registry. Counters and histograms are for their owners to use directly."""

    def __init__(
        self,
        *,
        version: str,
        peers: Iterable[str],
        registry: CollectorRegistry | None = None,
        has_public_dht: bool = False,
    ) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # untyped there; halves the text
        self.registry = registry if registry is not None else CollectorRegistry()
        prometheus_client.ProcessCollector(registry=self.registry)
        prometheus_client.GCCollector(registry=self.registry)
        info = self._gauge("build_info", "Version and protocol of this node", ("version", "protocol"))
        info.labels(version, str(PROTOCOL_VERSION)).set(1)
        self._user_level()
        self._groups()
        self._replication()
        for name in peers:
            self.add_peer(name)
        self._machine()
        self.dht = DhtMetrics(self.registry)
        self.public_dht = DhtMetrics(self.registry, PUBLIC_PREFIX) if has_public_dht else None

    def _user_level(self) -> None:
        self.ack_duration = self._histogram("ack_duration_seconds", "Append received until durable at a majority")
        self.delivery_duration = self._histogram("delivery_duration_seconds", "Ordered until handed to subscribers")
        sessions = self._gauge("client_sessions", "Client connections", ("transport",))
        self.client_sessions = sessions.labels("tls")
        ended = self._counter("client_disconnects", "Client connections that ended", ("reason",))
        self._disconnects = {reason: ended.labels(reason) for reason in DISCONNECT_REASONS}
        refused = self._counter("requests_rejected", "Calls and appends refused", ("reason",))
        self.rejected = {code: refused.labels(code.name.lower()) for code in RefusalCode}

    def _groups(self) -> None:
        rooms = self._gauge("rooms", "Rooms hosted here by state", ("state",))
        self.rooms = {state: rooms.labels(state) for state in ROOM_STATES}
        spare = self._gauge("rooms_by_spare_failures", "Rooms led here by replicas that may still fail", ("spare",))
        self.rooms_by_spare = {label: spare.labels(label) for label in SPARE_LABELS}
        self.rooms_led = self._gauge("rooms_led", "Rooms whose primary is here")
        self.rooms_cold = self._gauge("rooms_cold", "Rooms that were silent for long and keep nothing in memory")
        self.damaged_rooms = self._gauge(
            "damaged_rooms", "Rooms that do not run here: this server's disk lost what it had promised in them"
        )

    def _replication(self) -> None:
        self._repair()
        committed = self._counter("ops_committed", "Operations committed here", ("kind",))
        self.batches_committed = committed.labels("batch")
        self.batch_ops = self._histogram("batch_ops", "Blocks per committed operation", buckets=_OPS)
        self.commit_duration = self._histogram(
            "commit_duration_seconds", "Operation made until committed, at its primary"
        )
        self.view_change_duration = self._histogram(
            "view_change_duration_seconds", "Left a view until at work in the next"
        )
        self.view_changes = self._counter("view_changes", "Views begun here after the first")
        self.diverged_rooms = self._gauge(
            "diverged_rooms", "Rooms whose state was seen to differ from another server's: one of them is wrong"
        )
        self.storage_full = self._gauge("storage_full", "1 while new requests are refused for want of disk space")
        self.undecidable_rooms = self._gauge(
            "undecidable_rooms", "Rooms that stand still: disks lost an operation that may be committed"
        )
        self.uncommitted_ops = self._gauge("uncommitted_ops", "Operations logged here and not known committed")
        self._peer_up = self._gauge("peer_up", "1 while the link to this peer stands", ("peer",))
        self._peer_lag = self._gauge(
            "peer_lag_ops_max", "Operations that this peer has not acknowledged, in the worst room", ("peer",)
        )
        self._peer_rtt = self._gauge(
            "peer_rtt_seconds", "To this peer and back, as the operating system sees it; 0 while unknown", ("peer",)
        )
        self.peer_up: dict[str, Gauge] = {}
        self.peer_lag_ops_max: dict[str, Gauge] = {}
        self.peer_rtt: dict[str, Gauge] = {}
        self._peer_clock_offset = self._gauge(
            "peer_clock_offset_seconds", "How far the clock of this peer is ahead of ours; 0 while unknown", ("peer",)
        )
        self.peer_clock_offset: dict[str, Gauge] = {}
        handshakes = self._counter("handshakes", "TLS and hello exchanges", ("result",))
        self.handshakes_ok = handshakes.labels("ok")
        self.handshakes_failed = handshakes.labels("failed")
        self.relay_connections = self._gauge("relay_connections", "Connections carried for servers nobody can dial")
        self.relay_bytes = self._counter("relay_bytes", "Bytes carried for them, both ways")
        unrelayed = self._counter("relays_refused", "Connections that were not carried", ("reason",))
        self.relays_refused = {reason: unrelayed.labels(reason) for reason in RELAY_REFUSALS}
        self.peer_frames_dropped = self._counter("peer_frames_dropped", "Frames for peers dropped: down or queue full")

    def _repair(self) -> None:
        snapshots = self._counter("snapshots", "States handed to servers that were far behind", ("direction",))
        epochs = self._counter("reconfigurations", "Rooms here that began an epoch with other servers")
        sent = self._counter("peer_bytes_sent", "Bytes of replication handed to the links")
        self.host_totals: dict[str, Counter] = {
            "snapshots_offered": snapshots.labels("sent"),
            "snapshots_installed": snapshots.labels("received"),
            "epochs_begun": epochs,
            "bytes_sent": sent,
            "checkpoints": self._counter("checkpoints", "Checkpoints made durable"),
            "groups_cooled": self._counter("rooms_cooled", "Rooms that gave up their memory"),
            "submits_refused": self._counter("submits_refused", "Requests refused for want of space or of queue"),
            "frames_dropped_inbox_full": self._counter("peer_frames_refused", "Frames of peers dropped: too many wait"),
        }
        """Totals since start that `vr.host.HostStatistics` keeps under these names."""

    def _machine(self) -> None:
        self.config_reload_success = self._gauge("config_reload_success", "0 while the configuration file is refused")
        self.config_reload_success.set(1)
        self.reachable = self._gauge(
            "reachable",
            "1 if other servers get through to where this one says it is, 0 if not, NaN while nobody can tell",
        )
        self.set_reachable(Reachability.UNKNOWN)
        self.wal_fsync_duration = self._histogram("wal_fsync_duration_seconds", "One sync of the write-ahead log")
        self.wal_writes = self._counter("wal_writes", "Synced writes of the write-ahead log")
        self.wal_bytes = self._counter("wal_bytes", "Bytes written to the write-ahead log")
        stored = self._gauge("storage_bytes", "Bytes on disk", ("kind",))
        self.storage_bytes = {kind: stored.labels(kind) for kind in STORAGE_KINDS}
        self.storage_free_bytes = self._gauge("storage_free_bytes", "Free space where the data folder is")
        self.backup_made = self._gauge(
            "backup_last_success_timestamp_seconds", "When the newest copy of the rooms was made; 0: never"
        )
        self.backup_verified = self._gauge(
            "backup_verified_timestamp_seconds", "When the newest copy that was found whole was made; 0: never"
        )
        self.scrub_findings = self._gauge("scrub_findings", "What the last scrub of the data folder found damaged")
        self.scrub_completed = self._gauge(
            "scrub_last_completed_timestamp_seconds", "When the data folder was last read as a whole; 0: never"
        )
        damage = self._counter("checksum_errors", "Damage that was met in reading", ("where",))
        self.checksum_errors = {where: damage.labels(where) for where in ("log", "history")}
        self.loop_lag = self._histogram("loop_lag_seconds", "How late the event loop is")
        self.trio_tasks = self._gauge("trio_tasks", "Living trio tasks")
        self.send_queue_bytes = self._gauge("send_queue_bytes", "Bytes waiting for all clients")

    def add_peer(self, name: str) -> None:
        """A server is a peer from now on."""
        self.peer_up[name] = self._peer_up.labels(name)
        self.peer_lag_ops_max[name] = self._peer_lag.labels(name)
        self.peer_rtt[name] = self._peer_rtt.labels(name)
        self.peer_clock_offset[name] = self._peer_clock_offset.labels(name)

    def remove_peer(self, name: str) -> None:
        """It is none any more: nothing is told of it."""
        for children, family in (
            (self.peer_up, self._peer_up),
            (self.peer_lag_ops_max, self._peer_lag),
            (self.peer_rtt, self._peer_rtt),
            (self.peer_clock_offset, self._peer_clock_offset),
        ):
            del children[name]
            family.remove(name)

    def set_reachable(self, state: Reachability) -> None:
        """Whether others reach this node. NaN is neither 0 nor 1 to any comparison, and the series is never missing."""
        match state:
            case Reachability.YES:
                self.reachable.set(1)
            case Reachability.NO:
                self.reachable.set(0)
            case Reachability.UNKNOWN:
                self.reachable.set(math.nan)
            case _:
                assert_never(state)

    def disconnected(self, cause: str) -> None:
        """Count the end of a client connection; a cause without a child of its own counts as protocol."""
        self._disconnects.get(cause, self._disconnects["protocol"]).inc()

    def render(self) -> bytes:
        """The exposition text. Milliseconds of CPU: call it in a worker thread."""
        return prometheus_client.generate_latest(self.registry)

    def _counter(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
        return Counter(f"samtala_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
        return Gauge(f"samtala_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, *, buckets: tuple[float, ...] = _SECONDS) -> Histogram:
        return Histogram(f"samtala_{name}", text, registry=self.registry, buckets=buckets)
