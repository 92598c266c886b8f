"""What a node says about itself to its operator: the values that cross the admin socket.

`room_server.reporter` makes them; `samtala status`, `top`, `check` and `doctor` read them, which is why nothing heavy is imported
here. Rooms are shown by `logs.room_label`, a short hash: a report may be pasted into an issue.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class PeerReport(msgspec.Struct, frozen=True, kw_only=True):
    """A peer, configured or of the same cluster. `lag_ops`: what it has not acknowledged in the worst room led here. `rtt_ms`: None if unknown."""

    name: str
    address: str
    up: bool
    lag_ops: int
    rtt_ms: float | None
    clock_offset_s: float | None = None
    """How far its clock is ahead of ours; None if unknown."""
    node: str = ""
    """Its address with the key, `HOST:PORT#KEY`; empty from a server older than this field."""


class RoomsReport(msgspec.Struct, frozen=True, kw_only=True):
    """All rooms hosted here. `margin`: failures that the worst of them survives, -1 none and it has stopped; None: no room."""

    hosted: int
    led: int
    states: dict[str, int]
    margin: int | None
    at_margin: int
    """Rooms that survive no more than `margin`."""
    diverged: int
    undecidable: int
    cold: int = 0
    """Rooms that were silent for long and keep nothing in memory (docs/adr/0015)."""
    damaged: int = 0
    """Rooms that do not run here, because this disk lost what was promised in them."""


class DiskReport(msgspec.Struct, frozen=True, kw_only=True):
    """Where the data folder is. `full`: new requests are refused for want of space."""

    data: str
    free_bytes: int
    total_bytes: int
    log_bytes: int
    history_bytes: int
    full: bool


class BackupReport(msgspec.Struct, frozen=True, kw_only=True):
    """Copies of the rooms, as the data folder remembers them. Ages in seconds, of the newest and of the newest found whole.

    None: there never was one; `node_age_s` says for how long.
    """

    age_s: float | None
    verified_age_s: float | None
    node_age_s: float


class DhtReport(msgspec.Struct, frozen=True, kw_only=True):
    """The discovery network as seen from here."""

    nodes: int
    oldest_record_age_s: float


class ClientsReport(msgspec.Struct, frozen=True, kw_only=True):
    """Connections of people's programs and what waits for them."""

    connections: int
    waiting_bytes: int


class RouterReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the home router forwards to us, as `TCP 7610`, and its outer address if it says so. `trouble`: empty if all is well."""

    ports: tuple[str, ...]
    host: str
    trouble: str


class Reachability(StrEnum):
    """Whether other servers reach a node where it says it is."""

    UNKNOWN = "unknown"
    YES = "yes"
    NO = "no"


class ReachReport(msgspec.Struct, frozen=True, kw_only=True):
    """What fellow servers say when they dial a node. `why`: one line; `age_s`: since they were asked, None: not yet."""

    state: Reachability
    why: str
    age_s: float | None


class NodeReport(msgspec.Struct, frozen=True, kw_only=True):
    """One screen about a node. `not_ready_because`: None when it is ready. `pid`: of its process."""

    name: str
    version: str
    protocol: int
    pid: int
    address: str
    replica_id: str
    uptime_s: float
    not_ready_because: str | None
    rooms: RoomsReport
    peers: tuple[PeerReport, ...]
    disk: DiskReport
    clients: ClientsReport
    dht: DhtReport | None
    router: RouterReport | None = None
    backup: BackupReport | None = None
    """None from a server older than this field."""
    reach: ReachReport | None = None
    """None from an older server, and from one that a relay carries for: nobody is expected to dial it."""


class RoomReport(msgspec.Struct, frozen=True, kw_only=True):
    """One room hosted here. `lag_ops`: the farthest that a living member is behind, if led here. `op`: grows with each write."""

    room: str
    state: str
    led: bool
    view: int
    op: int
    commit: int
    margin: int
    lag_ops: int
    subscribers: int
    ops_per_s: float
    bytes_per_s: float


class MemberReport(msgspec.Struct, frozen=True, kw_only=True):
    """A server of a room, seen from this one. `lag_ops`: what it has not acknowledged, None where only the primary knows."""

    name: str
    here: bool
    leads: bool
    up: bool
    lag_ops: int | None


class RoomDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One room in full. `why_not_progressing`: None if all is well; `view_changes`: since this node started."""

    room: RoomReport
    why_not_progressing: str | None
    applied: int
    view_changes: int
    members: tuple[MemberReport, ...]
    cold: bool = False
    stored_bytes: int = 0
    quota_bytes: int | None = None
    """What the room may store here; None: as long as there is disk."""


class RoomOrder(StrEnum):
    """What puts a room first: operations per second, bytes per second, the lag of its members, or a small margin."""

    RATE = "rate"
    BYTES = "bytes"
    LAG = "lag"
    MARGIN = "margin"
