"""What a node says about its cluster to its operator: the values that cross the admin socket (as `room_server.report`)."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Role(StrEnum):
    """What a server does for the roster."""

    VOTER = "voter"
    STANDBY = "standby"
    TOLD = "told"


class VitalsReport(msgspec.Struct, frozen=True, kw_only=True):
    """How a server is, as it says itself. `margin`: as in RoomsReport, of the rooms that it leads; None: it leads none.

    `reason`: why it is not ready, or empty. `critical`: servers without which a room that it leads would stop.
    `stopped`: rooms there without a majority. `disk_free`: share, 0 to 1. `backup_age_s`: of its newest copy, None: none.
    """

    version: str
    protocol: int
    reason: str
    led: int
    hosted: int
    stopped: int
    margin: int | None
    lag_ops: int
    disk_free: float
    critical: tuple[str, ...]
    backup_age_s: int | None


class ClusterNodeReport(msgspec.Struct, frozen=True, kw_only=True):
    """A server of the roster. `up`: linked to the one that was asked. `vitals`: None while it has not told them."""

    name: str
    address: str
    version: str
    here: bool
    role: Role
    up: bool
    rtt_ms: float | None
    vitals: VitalsReport | None
    level: int = 1
    """The highest level of formats that it knows (`room_server.formats`)."""


class WaitingReport(msgspec.Struct, frozen=True, kw_only=True):
    """A server that asks to join, and the words to compare with it."""

    name: str
    address: str
    version: str
    words: str


class JoiningReport(msgspec.Struct, frozen=True, kw_only=True):
    """This server asks to join. `cluster`, `words`: empty until the cluster answers. `trouble`: empty if all is well."""

    is_under_way: bool
    cluster: str
    words: str
    trouble: str


class ClusterReport(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster seen from one of its servers. `leader`: who leads the roster's group; empty where that is not known."""

    name: str
    id: str
    revision: int
    leader: str
    nodes: tuple[ClusterNodeReport, ...]
    waiting: tuple[WaitingReport, ...]
    invitations: int
    room_makers: str
    room_replicas: int
    room_blocks_per_s: int = 0
    room_mb: int = 0
    under_way: int = 0
    """Rooms on their way to other servers."""
    level: int = 1
    """Of formats: what the servers write."""


class ClusterView(msgspec.Struct, frozen=True, kw_only=True):
    """What `GET /cluster` answers: the cluster, or how joining one goes; both None where there is neither."""

    cluster: ClusterReport | None = None
    joining: JoiningReport | None = None


class RoomChangeReport(msgspec.Struct, frozen=True, kw_only=True):
    """A room (its label) that should be elsewhere: names of its servers now, and then."""

    room: str
    now: tuple[str, ...]
    then: tuple[str, ...]


class ServerLoad(msgspec.Struct, frozen=True, kw_only=True):
    """How many rooms a server has now, and then. `why_none`: why it gets none, or empty; `then` is None with it."""

    name: str
    now: int
    then: int | None
    why_none: str


class RebalanceReport(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to do until rooms are spread evenly; rooms by label, the first thousand of each kind.

    `placed`: begun by this very command. `under_way`: on their way, these included. `held`: there is no other server for them.
    `leaderless`: nobody leads them now, so that nothing is planned for them. `pinned`: only their owners may move them off servers that shall have none.
    """

    rooms: int
    changes: tuple[RoomChangeReport, ...]
    changes_in_all: int
    placed: tuple[str, ...]
    under_way: tuple[str, ...]
    held: tuple[str, ...]
    leaderless: tuple[str, ...]
    pinned: tuple[str, ...]
    servers: tuple[ServerLoad, ...]


class Invited(msgspec.Struct, frozen=True, kw_only=True):
    """A new token. Secret: whoever has it may ask to join."""

    token: str
    valid_s: int
