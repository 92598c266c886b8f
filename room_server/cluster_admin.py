"""What an operator can ask of a cluster at one of its servers, and do (the admin socket's part about clusters).

    create(name), invite ─▶ a token        approve, deny, remove(name), policy ─▶ an operation of the roster
    join(token) ─▶ `Joining`               view ─▶ ClusterView

Whoever may open the admin socket is the operator; what other servers may say is in `room_server.roster`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import structlog

from room_server import limits
from room_server.cluster import Cluster
from room_server.cluster_report import (
    ClusterNodeReport,
    ClusterReport,
    ClusterView,
    Invited,
    JoiningReport,
    Role,
    VitalsReport,
    WaitingReport,
)
from room_server.errors import ClusterError
from room_server.joining import Joining
from room_server.peers import PeerLinks
from room_server.roster import (
    Approve,
    Deny,
    Invite,
    Operation,
    Policy,
    Remove,
    RoomMakers,
    RosterCode,
    RosterState,
    SetPolicy,
)
from vr.types import ReplicaId
from wire import limits as wire_limits
from wire.cluster import SECRET_BYTES, JoinToken, NodeRecord, TokenHash, comparison_words, parse_token, token_hash
from wire.errors import AddressError, DecodeError
from wire.ids import NodeKey
from wire.peer_messages import NO_ROOM, PeerVitals

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

INVITE_S: Final = 24 * 3600
"""Seconds that an invitation holds unless said otherwise."""
REFUSALS: Final = {
    RosterCode.MALFORMED: "the servers of this cluster do not know that: are they of another version?",
    RosterCode.NOT_A_NODE: "that server is not on the cluster's roster",
    RosterCode.UNKNOWN_TOKEN: "that invitation is not there any more",
    RosterCode.TOKEN_EXPIRED: "that invitation has expired: make a new one with `samtala cluster invite`",
    RosterCode.TOKEN_USED: "that invitation is there already",
    RosterCode.DENIED: "it was turned away already: make a new invitation with `samtala cluster invite`",
    RosterCode.NAME_TAKEN: "a server of that name is there already",
    RosterCode.KEY_TAKEN: "a server with that key or data folder is there already",
    RosterCode.FULL: f"a cluster has {limits.CLUSTER_NODES_MAX} servers and as many open invitations at most, and {limits.PLACEMENTS_MAX} rooms on their way",
    RosterCode.NOBODY_ASKED: "nobody has asked with that invitation",
    RosterCode.LAST_NODE: "it is the last server of the cluster",
    RosterCode.NOT_PLACED: "no such room is on its way",
    RosterCode.TOO_OLD: "that server's version does not know what the cluster's servers write: upgrade it first",
}


class ClusterAdmin:
    """See the module.

    Args:
        cluster: this server's.
        joining: its way into one.
        own: what this server says of itself.
        links: to the other servers.
        vitals: how each server is, as far as it told.
        entropy: so many random bytes.
    """

    def __init__(
        self,
        cluster: Cluster,
        joining: Joining,
        *,
        own: Callable[[], NodeRecord],
        links: PeerLinks,
        vitals: Callable[[], Mapping[NodeKey, PeerVitals]],
        entropy: Callable[[int], bytes],
    ) -> None:
        self._cluster = cluster
        self._joining = joining
        self._own = own
        self._links = links
        self._vitals = vitals
        self._entropy = entropy

    # --- doing ---------------------------------------------------------------------------------------------------------

    async def create(self, name: str) -> Invited:
        """Begin a cluster here; returns the first token.

        Raises:
            ClusterError: refused; the text says why.
        """
        try:
            await self._cluster.create(name)
        except DecodeError as error:
            raise ClusterError(str(error)) from error
        return await self.invite(INVITE_S)

    async def invite(self, valid_s: int) -> Invited:
        """Make a token for one server.

        Raises:
            ClusterError: refused; the text says why.
        """
        if not 0 < valid_s <= limits.INVITE_S_MAX:
            raise ClusterError(f"an invitation holds for at most {limits.INVITE_S_MAX // 3600} hours")
        secret = self._entropy(SECRET_BYTES)
        await self._do(Invite(self._by, token_hash(secret), valid_s))
        return Invited(token=str(JoinToken(self._own().address, secret)), valid_s=valid_s)

    async def join(self, token: str) -> None:
        """Ask the cluster of a token to let this server in.

        Raises:
            ClusterError: it is no token, or this server belongs to a cluster.
        """
        try:
            self._joining.begin(parse_token(token))
        except AddressError as error:
            raise ClusterError(str(error)) from error

    async def approve(self, name: str) -> None:
        """Let in the server of this name that asks.

        Raises:
            ClusterError: refused; the text says why.
        """
        token, record = self._asking(name)
        await self._do(Approve(self._by, token))
        log.info("cluster_approved", name=record.name)

    async def deny(self, name: str) -> None:
        """Turn away the server of this name that asks.

        Raises:
            ClusterError: refused; the text says why.
        """
        token, record = self._asking(name)
        await self._do(Deny(self._by, token))
        log.info("cluster_denied", name=record.name)

    async def remove(self, name: str) -> None:
        """Take a server off the roster.

        Raises:
            ClusterError: refused; the text says why.
        """
        for node in self._roster.nodes:
            if node.name == name:
                await self._do(Remove(self._by, node.node_key))
                log.warning("cluster_removed", name=name)
                return
        raise ClusterError(f"no server {name!r} in the cluster; there are {_names(self._roster.nodes)}")

    async def forget(self) -> None:
        """Belong to no cluster any more; the others are not asked.

        Raises:
            ClusterError: refused; the text says why.
        """
        await self._cluster.forget()
        log.warning("cluster_forgotten")

    async def set_policy(self, said: Mapping[str, str]) -> None:
        """Change what holds for the cluster's rooms: `makers`, `replicas`, `blocks_per_s`, `mb`; the others stay.

        Raises:
            ClusterError: refused; the text says why.
            ValueError: a number is none.
        """
        now, makers, replicas = self._roster.policy, said.get("makers"), int(said.get("replicas", 0))
        rate, size = int(said.get("blocks_per_s", now.room_blocks_per_s)), int(said.get("mb", now.room_mb))
        known = {one.name.lower(): one for one in RoomMakers}
        if makers is not None and makers not in known:
            raise ClusterError(f"rooms may be made by {' or '.join(known)}")
        if replicas and not 0 < replicas <= wire_limits.SERVERS_PER_ROOM_MAX:
            raise ClusterError(f"a room has 1 to {wire_limits.SERVERS_PER_ROOM_MAX} servers")
        if not 0 <= rate <= limits.QUOTA_MAX or not 0 <= size <= limits.QUOTA_MAX:
            raise ClusterError(f"a quota is between 1 and {limits.QUOTA_MAX}, or 0 for none")
        policy = Policy(now.makers if makers is None else known[makers], replicas or now.replicas, rate, size)
        await self._do(SetPolicy(self._by, policy))

    async def _do(self, operation: Operation) -> None:
        code = await self._cluster.perform(operation)
        if code is not RosterCode.DONE:
            raise ClusterError(REFUSALS[code])

    @property
    def _by(self) -> NodeKey:
        return self._own().node_key

    @property
    def _roster(self) -> RosterState:
        return self._cluster.needed_roster

    def _asking(self, name: str) -> tuple[TokenHash, NodeRecord]:
        waiting = self._waiting()
        for token, record in waiting.items():
            if record.name == name:
                return token, record
        there = f"there are {_names(waiting.values())}" if waiting else "nobody asks"
        raise ClusterError(f"no server {name!r} asks to join; {there}")

    def _waiting(self) -> dict[TokenHash, NodeRecord]:
        return {
            token: invitation.asked
            for token, invitation in self._roster.invitations
            if invitation.asked is not None and not invitation.is_denied
        }

    # --- looking ---------------------------------------------------------------------------------------------------------

    def view(self) -> ClusterView:
        """The cluster, or how joining one goes."""
        roster, joining = self._cluster.roster, self._joining
        if roster is not None:
            return ClusterView(cluster=self._report(roster))
        if not joining.is_under_way and not joining.trouble:
            return ClusterView()
        return ClusterView(
            joining=JoiningReport(
                is_under_way=joining.is_under_way, cluster=joining.name, words=joining.words, trouble=joining.trouble
            )
        )

    def _report(self, roster: RosterState) -> ClusterReport:
        names = {node.node_key: node.name for node in roster.nodes}
        return ClusterReport(
            name=roster.name,
            id=self._cluster.id.hex(),
            revision=roster.revision,
            leader=self._leader(names),
            nodes=tuple(self._node(node, names) for node in roster.nodes),
            waiting=tuple(
                WaitingReport(
                    name=record.name,
                    address=f"{record.host}:{record.port}",
                    version=record.version,
                    words=comparison_words(self._cluster.id, record.node_key, token),
                )
                for token, record in self._waiting().items()
            ),
            invitations=sum(invitation.asked is None for _, invitation in roster.invitations),
            room_makers=roster.policy.makers.name.lower(),
            room_replicas=roster.policy.replicas,
            room_blocks_per_s=roster.policy.room_blocks_per_s,
            room_mb=roster.policy.room_mb,
            under_way=len(roster.placements),
            level=roster.level,
        )

    def _leader(self, names: Mapping[NodeKey, str]) -> str:
        replica = self._cluster.replica
        if replica is None:
            return ""
        return names.get(NodeKey(replica.configuration.members[replica.primary_index].node_key), "")

    def _node(self, node: NodeRecord, names: Mapping[NodeKey, str]) -> ClusterNodeReport:
        here = node.node_key == self._by
        round_trip_s = self._links.round_trip_s(node.node_key)
        vitals = self._vitals().get(node.node_key)
        return ClusterNodeReport(
            name=node.name,
            address=f"{node.host}:{node.port}",
            version=node.version,
            here=here,
            role=self._role(node),
            up=here or self._links.is_up(node.node_key),
            rtt_ms=None if round_trip_s is None else round(round_trip_s * 1e3, 3),
            vitals=None if vitals is None else _vitals_report(vitals, names),
            level=node.level,
        )

    def _role(self, node: NodeRecord) -> Role:
        configuration = self._cluster.configuration
        index = None if configuration is None else configuration.index_of(ReplicaId(node.replica_id))
        if configuration is None or index is None:
            return Role.TOLD
        return Role.VOTER if configuration.is_member(index) else Role.STANDBY


def _vitals_report(vitals: PeerVitals, names: Mapping[NodeKey, str]) -> VitalsReport:
    return VitalsReport(
        version=vitals.version,
        protocol=vitals.protocol,
        reason=vitals.reason,
        led=vitals.led,
        hosted=vitals.hosted,
        stopped=vitals.stopped,
        margin=None if vitals.margin == NO_ROOM else vitals.margin,
        lag_ops=vitals.lag_ops,
        disk_free=vitals.disk_free / 1000,
        backup_age_s=None if vitals.backup_age_s < 0 else vitals.backup_age_s,
        critical=tuple(sorted(names.get(key, key.hex()[:8]) for key in vitals.critical)),
    )


def _names(nodes: Iterable[NodeRecord]) -> str:
    return ", ".join(node.name for node in nodes)
