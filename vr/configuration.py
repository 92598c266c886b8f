"""Who replicates a group, and how many of them make a quorum (VRR 3, 4, 7).

The configuration is decided at the group's birth and replaced only by a reconfiguration, which begins a new epoch
(`vr.reconfiguration`). It is encoded deterministically: the checksum of the first one's encoding is the parent of the
first operation.

Members vote. Standbys, whose indexes follow those of the members, are sent the log as members are and never vote.
"""

from __future__ import annotations

import hashlib

import msgspec

from vr import limits
from vr.errors import DecodeError
from vr.types import (
    CHECKSUM_BYTES,
    IDENTIFIER_BYTES,
    Checksum,
    GroupId,
    ReplicaId,
    ReplicaIndex,
    ViewNumber,
    make_view,
    view_in_epoch,
)


class Member(msgspec.Struct, frozen=True, array_like=True):
    """A replica. `node_key` is the identity of its node, opaque here."""

    replica_id: ReplicaId
    node_key: bytes


class Configuration(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """The members of one epoch, and the constants on which all replicas have to agree.

    `pipeline_ops_max`: a local depth would invent commits. `sessions_max` and `session_ttl_s` (seconds of logged time):
    replicas that evicted by bounds of their own would execute different requests. `lease_ms`: how long a backup promises to
    stay in a view so that its primary may read alone, 0 for no leases (vr.reads).

    `genesis`: the checksum of the first epoch's configuration, empty in that one. `first_primary`: index of who leads the
    first view of the epoch, -1 to spread them over the members.
    """

    group: GroupId
    epoch: int = 0
    members: tuple[Member, ...]
    pipeline_ops_max: int = limits.PIPELINE_OPS_MAX
    sessions_max: int = limits.SESSIONS_MAX
    session_ttl_s: int = limits.SESSION_TTL_S
    lease_ms: int = 0
    standbys: tuple[Member, ...] = ()
    genesis: bytes = b""
    first_primary: int = -1

    @property
    def size(self) -> int:
        """How many members there are: replicas that vote."""
        return len(self.members)

    @property
    def replicas(self) -> tuple[Member, ...]:
        """Members, then standbys: the index of a replica is its place here."""
        return self.members + self.standbys

    def is_member(self, index: ReplicaIndex) -> bool:
        """Does this replica vote?"""
        return index < len(self.members)

    @property
    def quorum(self) -> int:
        """A majority: any two quorums share a replica."""
        return len(self.members) // 2 + 1

    @property
    def nack_quorum(self) -> int:
        """So many replicas that never had an operation prove that it was not committed."""
        return len(self.members) - self.quorum + 1

    def primary_index(self, view: ViewNumber) -> ReplicaIndex:
        """The primary of a view: round robin (VRR 4)."""
        return ReplicaIndex(view_in_epoch(view) % len(self.members))

    def initial_view(self) -> ViewNumber:
        """The first view of the epoch. Unlike VRR 4, it depends on the group, to spread primaries over nodes."""
        if self.first_primary >= 0:
            return make_view(self.epoch, self.first_primary)
        place = int.from_bytes(hashlib.blake2b(self.group, digest_size=8).digest(), "big")
        return make_view(self.epoch, place % len(self.members))

    def index_of(self, replica_id: ReplicaId) -> ReplicaIndex | None:
        """Where a replica stands among members and standbys, or None for a stranger."""
        for index, member in enumerate(self.replicas):
            if member.replica_id == replica_id:
                return ReplicaIndex(index)
        return None

    def genesis_checksum(self) -> Checksum:
        """The checksum that stands for operation 0, the same in all epochs."""
        if self.genesis:
            return Checksum(self.genesis)
        return Checksum(hashlib.blake2b(self.to_bytes(), digest_size=CHECKSUM_BYTES, person=b"vr-genesis").digest())

    def successor(
        self, members: tuple[Member, ...], standbys: tuple[Member, ...] = (), *, first_primary: int = -1
    ) -> Configuration:
        """The configuration of the next epoch: other replicas, the same constants."""
        return msgspec.structs.replace(
            self, epoch=self.epoch + 1, members=members, standbys=standbys, genesis=bytes(self.genesis_checksum()),
            first_primary=first_primary,
        )  # fmt: skip

    def to_bytes(self) -> bytes:
        """Encode, deterministically."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> Configuration:
        """Decode and check.

        Raises:
            DecodeError: malformed, no members, too many, or repeated ones.
        """
        try:
            configuration = msgspec.msgpack.decode(data, type=cls)
        except msgspec.MsgspecError as error:
            raise DecodeError("malformed configuration") from error
        replicas = configuration.replicas
        distinct = {member.replica_id for member in replicas}
        if not 0 < configuration.size <= limits.MEMBERS_MAX or len(distinct) != len(replicas):
            raise DecodeError("members missing, repeated or too many")
        if len(configuration.standbys) > limits.STANDBYS_MAX or not 0 <= configuration.epoch < limits.EPOCHS_MAX:
            raise DecodeError("too many standbys, or an epoch out of bounds")
        if bool(configuration.epoch) != (len(configuration.genesis) == CHECKSUM_BYTES):
            raise DecodeError("the checksum of the group's birth does not fit the epoch")
        if not -1 <= configuration.first_primary < configuration.size:
            raise DecodeError("first primary out of bounds")
        if any(len(replica_id) != IDENTIFIER_BYTES for replica_id in distinct):
            raise DecodeError("replica id of a wrong size")
        if not 0 < configuration.pipeline_ops_max <= 64 or len(configuration.group) != IDENTIFIER_BYTES:
            raise DecodeError("configuration out of bounds")
        if not 0 < configuration.sessions_max <= limits.SESSIONS_MAX or configuration.session_ttl_s <= 0:
            raise DecodeError("bounds of sessions out of bounds")
        if not 0 <= configuration.lease_ms <= limits.LEASE_MS_MAX:
            raise DecodeError("lease out of bounds")
        return configuration
