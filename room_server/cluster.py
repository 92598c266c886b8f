"""This server's part in its cluster: keeps the roster with others or is told it, and acts on what it says.

    admin socket, joiners ─▶ perform ─▶ the cluster's group ─▶ RosterService, the same on up to five servers
                                                                  │ roster
         ┌──────────────┬──────────────────┬──────────────────────┴──┐
         ▼              ▼                  ▼                         ▼
    links to all   cluster.bin   the group's next servers   the other servers are told (PeerCluster)
    its servers                  (who leads it)              what the roster is, and to stand by

The group's id is the cluster's: the hash of its genesis. It begins with one server; who leads it brings in the others
(`room_server.cluster_plan`). A server that joined is told to stand by over its link, fetches the log, and votes when it has
it. Servers trust each other with the roster: who is on it could also propose any change of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Protocol

import structlog
import trio

from room_server import limits
from room_server.cluster_file import ClusterFile, RememberedCluster
from room_server.cluster_plan import next_configuration, voters_of
from room_server.errands import Errands
from room_server.errors import ClusterError, ConnectionCutError, SnapshotError
from room_server.group_client import GroupClient
from room_server.margin import standing_of
from room_server.roster import (
    ClusterGenesis,
    Operation,
    Policy,
    Renew,
    RosterCode,
    RosterService,
    RosterState,
    cluster_id,
    decode_genesis,
    decode_state,
    encode_genesis,
    encode_operation,
    encode_state,
    needed_level,
)
from vr.configuration import Configuration, Member
from vr.errors import DecodeError as VrDecodeError
from vr.errors import UnknownGroup
from vr.host import Host, HostError
from vr.log import Request
from vr.ready import Rejected, Reply
from vr.replica import Replica, Status
from vr.types import ClientId, GroupId, ReplicaId
from wire.cluster import ClusterId, NodeRecord
from wire.ids import NodeKey
from wire.messages import Message
from wire.peer_messages import PeerCluster, PeerErrand

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

_NO_CLUSTER: Final = "this server belongs to no cluster: `samtala cluster create NAME`, or `samtala cluster join TOKEN`"
_NONCE_BYTES: Final = 16
_RENEW_RETRY_S: Final = 30.0


class ClusterLinks(Protocol):
    """The links to other servers, as a cluster uses them."""

    def follow(self, nodes: Iterable[NodeRecord]) -> None:
        """Keep links to these servers from now on, and to those that are configured or share a room."""

    def tell(self, node_key: NodeKey, message: Message) -> bool:
        """Queue a message for a server; False while there is no link to it."""


class Cluster:
    """See the module. Made before the host; `attach` gives it the opened host.

    Args:
        own: what this server says of itself; its replica id is known once the host is open.
        links: to the other servers.
        file: where the cluster is remembered; None for nowhere.
        entropy: so many random bytes.
    """

    def __init__(
        self,
        *,
        own: Callable[[], NodeRecord],
        links: ClusterLinks,
        file: ClusterFile | None,
        entropy: Callable[[int], bytes],
    ) -> None:
        self._own = own
        self._links = links
        self._file = file
        self._entropy = entropy
        self._host: Host | None = None
        self.genesis = b""
        """What the cluster began with, encoded; empty while this server belongs to none."""
        self._told: RosterState | None = None
        """The roster as it was told or remembered; that of the group counts, where it is kept here."""
        self._kept: RosterState | None = None
        self._summons: Configuration | None = None
        """Who keeps the roster, as others said last."""
        self._ended: Configuration | None = None
        """What followed the last epoch that ended here."""
        self._services: dict[GroupId, RosterService] = {}
        self._told_to: dict[NodeKey, tuple[int, int]] = {}
        self._client = self._new_client()
        self.errands = Errands(tell=links.tell, perform=self._perform_for_another)
        self._woken = trio.Event()
        self._changed = trio.Event()
        self._keeping = trio.Lock()
        self._entering = trio.Lock()

    def remember(self) -> None:
        """Take back what is remembered, before links are made.

        Raises:
            StartError: it is damaged.
        """
        remembered = None if self._file is None else self._file.load()
        if remembered is not None:
            self.genesis, self._told, self._kept = remembered.genesis, remembered.roster, remembered.roster
            self._links.follow(remembered.roster.nodes)

    def attach(self, host: Host) -> None:
        """The host is open."""
        self._host = host

    def service_of(self, group: GroupId, genesis: bytes) -> RosterService:
        """The service of a cluster's group (`vr.host` service factory).

        Raises:
            DecodeError: the stored genesis has rotted.
        """
        return self._services.setdefault(group, RosterService(decode_genesis(genesis)))

    # --- looking -----------------------------------------------------------------------------------------------------

    @property
    def id(self) -> ClusterId:
        """What the cluster is known by."""
        return cluster_id(self.genesis)

    @property
    def group(self) -> GroupId:
        """The replication group that keeps the roster."""
        return GroupId(self.id)

    @property
    def replica(self) -> Replica | None:
        """The replica that keeps the roster here, voting or standing by; None where it is only told."""
        replica = self._replica_of_any_epoch()
        return None if replica is None or replica.status is Status.RETIRED else replica

    def _replica_of_any_epoch(self) -> Replica | None:
        if self._host is None or not self.genesis:
            return None
        try:
            return self._host.replica(self.group)
        except UnknownGroup:
            return None

    @property
    def roster(self) -> RosterState | None:
        """The roster as far as it is known here; None while this server belongs to no cluster."""
        if not self.genesis:
            return None
        service = self._services.get(self.group)
        if service is None or (self._told is not None and self._told.revision > service.revision):
            return self._told  # One that begins to stand by knows nothing yet.
        return service.state()

    @property
    def needed_roster(self) -> RosterState:
        """The roster.

        Raises:
            ClusterError: this server belongs to no cluster; says how to get one.
        """
        roster = self.roster
        if roster is None:
            raise ClusterError(_NO_CLUSTER)
        return roster

    @property
    def policy(self) -> Policy | None:
        """What holds for the cluster's rooms, as far as it is known here; asked often."""
        service = self._services.get(self.group) if self.genesis else None
        if service is None or (self._told is not None and self._told.revision > service.revision):
            return None if self._told is None else self._told.policy
        return service.policy

    # --- what operators and joiners want -----------------------------------------------------------------------------

    async def create(self, name: str) -> None:
        """Begin a cluster with this server.

        Raises:
            ClusterError: it belongs to one already, or the disk refuses.
            DecodeError: the name is out of bounds.
        """
        genesis = encode_genesis(ClusterGenesis(name, self._own(), self._entropy(_NONCE_BYTES)))
        decode_genesis(genesis)
        group = GroupId(cluster_id(genesis))
        own = self._own()
        first = Configuration(group=group, members=(Member(ReplicaId(own.replica_id), own.node_key),))
        async with self._entering:
            self._check_free()
            try:
                await self._open_host.create_group(first, genesis)
            except HostError as error:
                raise ClusterError(f"the cluster cannot be made: {error}") from error
            await self._enter(genesis, self._services[group].state())
        log.info("cluster_created", cluster=self.id.hex())

    async def enter(self, genesis: bytes, roster: bytes) -> None:
        """This server was let into a cluster.

        Raises:
            ClusterError: it belongs to one already, or the disk refuses.
            DecodeError, SnapshotError: what came is no cluster, or one without this server.
        """
        decode_genesis(genesis)
        state = decode_state(roster)
        if self._own().node_key not in {node.node_key for node in state.nodes}:
            raise SnapshotError("the roster does not name this server")
        async with self._entering:
            self._check_free()
            await self._enter(genesis, state)
        log.info("cluster_joined", cluster=self.id.hex(), nodes=len(state.nodes))

    async def forget(self) -> None:
        """Belong to no cluster any more, whatever the others say: its roster lost its majority, or they are all gone.

        Raises:
            ClusterError: it belongs to none, or the disk refuses.
        """
        async with self._entering:
            if not self.genesis:
                raise ClusterError("this server belongs to no cluster")
            group = self.group
            try:
                await self._leave()
                if self._host is not None and self._hosts(group):
                    await self._host.forget_group(group)
            except (HostError, OSError) as error:
                raise ClusterError(f"the cluster cannot be forgotten: {error}") from error
            self._services.pop(group, None)
        self.wake()

    def _hosts(self, group: GroupId) -> bool:
        try:
            self._open_host.replica(group)
        except UnknownGroup:
            return False
        return True

    def _check_free(self) -> None:
        if self.genesis:
            raise ClusterError("this server belongs to a cluster already; `samtala cluster status` shows it")

    async def _enter(self, genesis: bytes, state: RosterState) -> None:
        self.genesis, self._told = genesis, state
        self._client = self._new_client()
        try:
            await self._keep()
        except ClusterError:
            self.genesis, self._told = b"", None
            raise
        for node in state.nodes:  # Who was linked before has told us while we could not make anything of it.
            self._links.tell(node.node_key, PeerCluster(genesis, b"", b""))
        self.wake()

    async def perform(self, operation: Operation) -> RosterCode:
        """Have an operation of the roster executed.

        Raises:
            ClusterError: no majority of those that keep the roster answers; it may still be executed.
        """
        if needed_level(operation) > self.needed_roster.level:
            raise ClusterError(
                "a server of the cluster is of an older version that does not know that: upgrade it first"
            )
        with trio.move_on_after(limits.BETWEEN_EPOCHS_S_MAX):
            while self.replica is None and self._replica_of_any_epoch() is not None:
                await self._changed.wait()
        if self.replica is None:
            return await self.errands.ask(self._keepers(), operation)
        return await self._execute(operation)

    async def _perform_for_another(self, operation: Operation) -> RosterCode:
        if self.replica is None:
            raise ClusterError("this server is only told the roster, too")
        return await self._execute(operation)

    async def _execute(self, operation: Operation) -> RosterCode:
        return RosterCode((await self._client.call(encode_operation(operation)))[0])

    def _keepers(self) -> list[NodeKey]:
        configuration = self.configuration
        return [] if configuration is None else [NodeKey(member.node_key) for member in configuration.replicas]

    @property
    def configuration(self) -> Configuration | None:
        """Who keeps the roster, as far as it is known here."""
        replica = self._replica_of_any_epoch()
        if replica is None or (replica.status is Status.RETIRED and not self._is_summoned):
            return self._summons
        return replica.configuration

    @property
    def _is_summoned(self) -> bool:
        """The group counts on this server, as it was last told."""
        return self._summons is not None and self._summons.index_of(self._open_host.replica_id) is not None

    # --- what the host reports (vr.host Embedder) ----------------------------------------------------------------------

    async def news(self) -> None:
        """Wait until something is different."""
        await self._changed.wait()

    def wake(self) -> None:
        """Something is different: look what there is to do."""
        self._woken.set()
        self._changed.set()
        self._changed = trio.Event()

    def on_answer(self, answer: Reply | Rejected) -> None:
        """A request of this server was executed, or not taken up."""
        self._client.on_answer(answer)

    def on_epoch_end(self, configuration: Configuration) -> None:
        """An epoch of the group ended here, and this one follows."""
        if configuration.group == self.group:
            self._ended = configuration
        self.wake()

    # --- what other servers say -----------------------------------------------------------------------------------------

    def on_link(self, node_key: NodeKey) -> None:
        """A link to a server stands."""
        self._told_to.pop(node_key, None)
        self.wake()

    def on_errand(self, node_key: NodeKey, errand: PeerErrand) -> None:
        """A server of the cluster that does not keep the roster wants an operation executed.

        Raises:
            ConnectionCutError: it is malformed.
        """
        roster = self.roster
        if roster is not None and node_key in {node.node_key for node in roster.nodes}:
            self.errands.on_errand(node_key, errand)

    def on_told(self, node_key: NodeKey, message: PeerCluster) -> None:
        """A server of the cluster says what the roster is, and who keeps it.

        Raises:
            ConnectionCutError: it is malformed.
        """
        roster = self.roster
        if roster is None or message.genesis != self.genesis or node_key not in {one.node_key for one in roster.nodes}:
            return
        if not message.roster:
            self.on_link(node_key)
            return
        try:
            state = decode_state(message.roster)
            configuration = Configuration.from_bytes(message.configuration)
        except (SnapshotError, VrDecodeError) as error:
            raise ConnectionCutError("decode", f"a peer tells of a cluster: {error}") from error
        if configuration.group != self.group:
            raise ConnectionCutError("protocol", "a peer tells of another group")
        if state.revision > roster.revision:
            self._told = state
        if self._summons is None or configuration.epoch > self._summons.epoch:
            self._summons = configuration
        self.wake()

    # --- acting on it -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Act on the roster until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._renew)
            nursery.start_soon(self.errands.run)
            while True:
                self._woken = trio.Event()
                await self._act()
                with trio.move_on_after(limits.CLUSTER_LOOK_S if self._is_under_way() else float("inf")):
                    await self._woken.wait()

    async def _act(self) -> None:
        roster = self.roster
        if roster is None:
            return
        self._tell(roster)
        is_leader = self.replica is not None and self.replica.is_primary  # Who leads brings itself out first.
        if not is_leader and self._own().node_key not in {node.node_key for node in roster.nodes}:
            await self._leave()
            return
        self._links.follow(roster.nodes)
        try:
            await self._keep()
        except ClusterError as error:
            log.warning("cluster_not_remembered", reason=str(error))
        await self._stand_by()
        self._reconfigure(roster)

    async def _keep(self) -> None:
        """Write what is new into the file; one after the other, because who joins writes, too.

        Raises:
            ClusterError: the disk refuses.
        """
        async with self._keeping:
            roster = self.roster
            if self._file is None or roster is None or roster == self._kept:
                return
            await trio.to_thread.run_sync(self._file.save, RememberedCluster(self.genesis, roster))
            self._kept = roster

    def _tell(self, roster: RosterState) -> None:
        """Each server once, and again when something is new; also those that were on the roster until now."""
        replica = self.replica
        if replica is None:
            return
        news = (roster.revision, replica.configuration.epoch)
        message = PeerCluster(self.genesis, replica.configuration.to_bytes(), encode_state(roster))
        for node_key in {*self._told_to, *(node.node_key for node in roster.nodes)}:
            if self._told_to.get(node_key) != news and self._links.tell(node_key, message):
                self._told_to[node_key] = news
        for node_key in self._told_to.keys() - {node.node_key for node in roster.nodes}:
            del self._told_to[node_key]

    async def _leave(self) -> None:
        log.warning("cluster_left", cluster=self.id.hex())
        async with self._keeping:
            if self._file is not None:
                await trio.to_thread.run_sync(self._file.remove)
            self.genesis, self._told, self._kept, self._summons = b"", None, None, None
        self._told_to.clear()
        self._links.follow(())

    async def _stand_by(self) -> None:
        """Host the group, once its servers count on us."""
        configuration, host = self._summons, self._open_host
        if configuration is None or not self._may_begin(configuration):
            return
        index = configuration.index_of(host.replica_id)
        if index is None or configuration.is_member(index):
            return
        try:
            if self._replica_of_any_epoch() is not None:
                await host.forget_group(self.group)
            self._services.pop(self.group, None)
            await host.create_group(configuration, self.genesis)
        except HostError as error:
            log.warning("cluster_group_refused", reason=str(error))

    def _may_begin(self, configuration: Configuration) -> bool:
        """There is nothing here that anybody may need: no replica, or one that left in an epoch whose successors are at work.

        A replica between two epochs that are both ours is retired for a moment, too, and has made promises.
        """
        replica, ended = self._replica_of_any_epoch(), self._ended
        if replica is None:
            return True
        if replica.status is not Status.RETIRED or ended is None:
            return False
        has_left = ended.index_of(self._open_host.replica_id) is None
        return has_left and ended.epoch == replica.configuration.epoch + 1 and configuration.epoch > ended.epoch

    def _reconfigure(self, roster: RosterState) -> None:
        replica = self.replica
        if replica is None or not replica.is_primary:
            return
        configuration = next_configuration(
            replica.configuration, roster.nodes, standing_of(replica), own=self._open_host.replica_id
        )
        if configuration is not None:
            refusal = self._open_host.reconfigure(self.group, configuration)
            log.info(
                "cluster_group_changes",
                epoch=configuration.epoch,
                voters=configuration.size,
                refusal=None if refusal is None else refusal.name.lower(),
            )

    def _is_under_way(self) -> bool:
        """Something will be different that nobody tells of: a newcomer catches up."""
        roster, replica = self.roster, self.replica
        if roster is None or replica is None:
            return False
        listed = {node.replica_id for node in roster.nodes}
        strangers = any(member.replica_id not in listed for member in replica.configuration.replicas)
        wanted = min(len(listed), limits.CLUSTER_VOTERS_MAX)
        is_short = len(replica.configuration.replicas) < wanted or replica.configuration.size != voters_of(len(listed))
        return replica.is_primary and (strangers or is_short)

    async def _renew(self) -> None:
        """Say what has changed about this server, until the roster has it."""
        while True:
            roster, own = self.roster, self._own()
            known = (
                None if roster is None else next((one for one in roster.nodes if one.node_key == own.node_key), None)
            )
            if known is not None and known != own:
                try:
                    code = await self.perform(Renew(own))
                    log.info("cluster_record_renewed", result=code.name.lower())
                except ClusterError as error:
                    log.warning("cluster_record_not_renewed", reason=str(error))
            await trio.sleep(_RENEW_RETRY_S)

    def _new_client(self) -> GroupClient:
        return GroupClient(
            ClientId(self._entropy(16)),
            submit=self._submit,
            forget=lambda client, session: self._open_host.forget(self.group, client, session),
            silence="a majority of the servers that keep the roster does not answer; look with `samtala cluster status`",
        )

    def _submit(self, request: Request) -> None:
        self._open_host.submit(self.group, [request])

    @property
    def _open_host(self) -> Host:
        assert self._host is not None, "attach comes before use"
        return self._host
