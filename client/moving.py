"""Moving a room to other servers: what has to be done, and doing it step by step.

    survey ─▶ plan: newcomers │ nothing new
                 ├─▶ 1. newcomers stand by: they get everything, and have no vote
                 ├─▶ 2. wait until they have everything
                 └─▶ 3. the wanted servers, and only they, have the vote ─▶ wait until they say so

The owner's wish is a block of the room's own log (`wire.room.Move`), and the servers carry it out; whatever is cut off here
goes on from where the room then is. Each step comes with the owner's signed record of where the room is after it.
"""

from __future__ import annotations

import functools
import secrets
from collections.abc import Callable, Sequence

import msgspec
import trio

from client import limits
from client.cluster import ask_all, ask_roster
from client.connection import RoomConnection, ServerAddress, open_room_connection
from client.errors import RefusedError, SamtalaError, UnavailableError, UsageError
from client.founding import admin_seed_of, sign_servers
from client.rescue import AdminKeys
from wire.certificate import RoomServers, Server
from wire.channel import open_channel
from wire.errors import AddressError
from wire.identity import key_text, parse_node_address
from wire.ids import CLIENT_ID_BYTES, ClientId, GroupEpoch, NodeKey, RoomEpoch, RoomId
from wire.link import Link
from wire.messages import GetRoomStatus, Message, NodeAddress, ReplicaStatus, RoomStatus
from wire.room import Move, ResultKind, encode_control_block

SignServers = Callable[[Sequence[Server], GroupEpoch], bytes]
"""The owner's signed record of a room's servers in an epoch, encoded."""


class MovePlan(msgspec.Struct, frozen=True, kw_only=True):
    """How to get from where a room is to where it is wanted."""

    epoch: GroupEpoch
    names: dict[NodeKey, str]
    """What servers are called, for people."""
    now: tuple[Server, ...]
    wanted: tuple[Server, ...]
    newcomers: tuple[Server, ...]
    """Those of the wanted servers that do not stand by yet."""

    @property
    def is_done(self) -> bool:
        """Nothing is left to do."""
        return {server.node_key for server in self.now} == {server.node_key for server in self.wanted}

    def name_of(self, server: Server) -> str:
        """What people call it."""
        return self.names.get(server.node_key) or key_text(server.node_key)

    @property
    def margin_before(self) -> int:
        """Servers that the room can lose now, if all are up."""
        return (len(self.now) - 1) // 2

    @property
    def margin_after(self) -> int:
        """The same afterwards."""
        return (len(self.wanted) - 1) // 2


def plan_move(status: RoomStatus, wanted: Sequence[NodeAddress], known: Sequence[NodeAddress | Server]) -> MovePlan:
    """What has to be done.

    Args:
        status: the room's, from whoever leads it.
        wanted: the servers that it shall have.
        known: where servers of the room are.

    Raises:
        RefusedError: servers without a data folder, twice the same, none, or too many.
    """
    if not 0 < len(wanted) <= limits.MOVE_SERVERS_MAX or len({node.node_key for node in wanted}) != len(wanted):
        raise RefusedError(f"a room has 1 to {limits.MOVE_SERVERS_MAX} servers, each once")
    unmet = [node.name for node in wanted if not node.replica_id]
    if unmet:
        raise RefusedError(f"never met, so start them first: {', '.join(unmet)}")
    places = {node.node_key: (node.host, node.port) for node in known}
    served = {replica.node_key for replica in (*status.replicas, *status.standbys)}
    targets = tuple(Server(node.replica_id, node.node_key, node.host, node.port) for node in wanted)
    return MovePlan(
        epoch=status.group_epoch,
        names={replica.node_key: replica.name for replica in (*status.replicas, *status.standbys)}
        | {node.node_key: node.name for node in wanted},
        now=tuple(_server(replica, places) for replica in status.replicas),
        wanted=targets,
        newcomers=tuple(server for server in targets if server.node_key not in served),
    )


def _server(replica: ReplicaStatus, places: dict[NodeKey, tuple[str, int]]) -> Server:
    host, port = places.get(replica.node_key, ("", 1))
    return Server(replica.replica_id, replica.node_key, host, port)


async def survey(room_id: RoomId, places: Sequence[ServerAddress]) -> RoomStatus:
    """How a room is, from whoever leads it; from whoever knows most if nobody says that it does.

    Raises:
        UnavailableError: none of these servers knows the room.
    """
    answers = await ask_all([functools.partial(ask_status, place, room_id) for place in places])
    found = [
        (answer.group_epoch, answer.primary == place.node_key, answer.view, number)
        for number, (answer, place) in enumerate(zip(answers, places, strict=True))
        if isinstance(answer, RoomStatus)
    ]
    if not found:
        raise UnavailableError("none of the room's servers answers:", tuple(str(answer) for answer in answers))
    best = answers[max(found)[-1]]
    assert isinstance(best, RoomStatus)
    return best


async def ask_status(address: ServerAddress, room_id: RoomId) -> Message:
    """What one server says of a room; or that it says nothing (`Refused`)."""
    async with open_channel(address, agent="samtala-client") as channel:
        return await channel.call(GetRoomStatus(1, room_id))


async def find_servers(
    room_id: RoomId, known: RoomServers, wanted: Sequence[str]
) -> tuple[RoomStatus, list[NodeAddress], list[NodeAddress]]:
    """How the room is, which servers its owner means, and which there are.

    Args:
        room_id: the room.
        known: its servers, as far as this device knows.
        wanted: names by which the room's servers know others, or HOST:PORT#KEY.

    Raises:
        AddressError: neither a known name nor an address.
        UnavailableError: nobody answers.
    """
    roster = list((await ask_roster(known.addresses)).nodes)
    everywhere = [*known.addresses, *(ServerAddress(node.host, node.port, node.node_key) for node in roster)]
    # Servers that the room has left answer too: who knows the newest epoch is right.
    status = await survey(room_id, list(dict.fromkeys(everywhere)))
    named = {node.name: node for node in roster}
    nodes = []
    for text in wanted:
        node = named.get(text)
        if node is None:
            address = parse_node_address(text)
            met = (await ask_roster([address])).nodes
            node = next((other for other in met if other.node_key == address.node_key), None)
        if node is None:
            raise UnavailableError(f"{text} does not answer")
        nodes.append(node)
    return status, nodes, roster


class Mover:
    """Carries a plan out.

    Args:
        room_id: the room.
        plan: what is to be done.
        known: the room's servers as this device knows them.
        admin_seed: of the room's owner.
        sign: the owner's record of servers.
        report: told each step, in words.
    """

    def __init__(
        self,
        room_id: RoomId,
        plan: MovePlan,
        *,
        known: RoomServers,
        admin_seed: bytes,
        sign: SignServers,
        report: Callable[[str], None],
    ) -> None:
        self._room_id = room_id
        self._plan = plan
        self._known = known
        self._admin_seed = admin_seed
        self._sign = sign
        self._report = report
        places = [*plan.now, *plan.wanted]
        self._hosts = {server.node_key: (server.host, server.port) for server in (*known.servers, *places)}
        self._places = list(
            {server.node_key: ServerAddress(server.host, server.port, server.node_key) for server in places}.values()
        )

    async def run(self) -> RoomStatus:
        """Do it; returns how the room is then. Time limits are the caller's affair: doing it again goes on.

        Raises:
            RefusedError: the room's servers refuse it.
            UnavailableError: they do not answer.
        """
        outcome: RoomStatus | SamtalaError
        here = [
            place for place in self._places if place.host and place.node_key in {s.node_key for s in self._plan.now}
        ]
        async with open_room_connection(
            self._room_id,
            here,
            AdminKeys(self._admin_seed),
            client_id=ClientId(secrets.token_bytes(CLIENT_ID_BYTES)),
            known=self._known,
        ) as connection:
            try:
                outcome = await self._steps(connection)
            except SamtalaError as error:
                outcome = error  # Carried out by hand: the connection's nursery would wrap it into a group.
        if isinstance(outcome, SamtalaError):
            raise outcome
        return outcome

    async def _steps(self, connection: RoomConnection) -> RoomStatus:
        plan = self._plan
        status = await self._survey()
        served = {replica.node_key for replica in (*status.replicas, *status.standbys)}
        if any(server.node_key not in served for server in plan.wanted):
            voters = {replica.node_key for replica in status.replicas}
            standbys = tuple(server for server in plan.wanted if server.node_key not in voters)
            self._report(f"{len(standbys)} servers begin to stand by")
            now = tuple(_server(replica, self._hosts) for replica in status.replicas)
            status = await self._change(connection, status, now, standbys)
        wanted = {server.node_key for server in plan.wanted}
        if {replica.node_key for replica in status.replicas} != wanted:
            self._report("waiting until they have everything")
            status = await self._until(lambda now: _are_ready(now, wanted))
            self._report(f"the vote goes to {len(plan.wanted)} servers")
            status = await self._change(connection, status, plan.wanted, ())
        return status

    async def _change(
        self, connection: RoomConnection, status: RoomStatus, voters: Sequence[Server], standbys: Sequence[Server]
    ) -> RoomStatus:
        epoch = GroupEpoch(status.group_epoch + 1)
        move = Move(epoch=epoch, servers=tuple(voters), standbys=tuple(standbys), descriptor=self._sign(voters, epoch))
        await wish(connection, move, status.epoch)
        keys = {server.node_key for server in (*voters, *standbys)}
        return await self._until(
            lambda now: (
                now.group_epoch >= epoch
                and {replica.node_key for replica in (*now.replicas, *now.standbys)} == keys
                and now.status == "normal"
            )
        )

    async def _until(self, condition: Callable[[RoomStatus], bool]) -> RoomStatus:
        while True:
            status = await self._survey()
            if condition(status):
                return status
            await trio.sleep(limits.MOVE_LOOK_S)

    async def _survey(self) -> RoomStatus:
        while True:
            try:
                return await survey(self._room_id, [place for place in self._places if place.host])
            except UnavailableError:
                await trio.sleep(limits.MOVE_LOOK_S)


def _are_ready(status: RoomStatus, wanted: set[NodeKey]) -> bool:
    """All wanted servers are up and have almost everything."""
    replicas = [replica for replica in (*status.replicas, *status.standbys) if replica.node_key in wanted]
    is_close = [replica.up and 0 <= replica.lag_ops <= limits.MOVE_LAG_OPS_MAX for replica in replicas]
    return len(replicas) == len(wanted) and all(is_close)


async def wish(connection: RoomConnection, move: Move, epoch: RoomEpoch) -> None:
    """Have the owner's wish taken into the room's log; `epoch` is the room's, as far as we know.

    Raises:
        RefusedError: the room does not take it now.
    """
    for _ in range(limits.MOVE_TRIES_MAX):
        result = await connection.append(encode_control_block(epoch, move)).result()
        if result.kind is ResultKind.ACCEPTED:
            return
        if result.kind is not ResultKind.STALE:
            raise RefusedError("the room's servers are about to change already; look again in a moment")
        epoch = result.epoch
    raise RefusedError("the room's members change too fast; try again")


def vouched(root_seed: bytes, server: ServerAddress, epoch: int, *, link_secret: bytes, now_s: int) -> bytes:
    """The owner's record that a room was recovered by force on one server that was left (`wire.certificate`)."""
    servers = [Server(b"", server.node_key, server.host, server.port)]
    return sign_servers(root_seed, servers, GroupEpoch(epoch), link_secret=link_secret, now_s=now_s)


async def prepare_move(
    link: Link, known: RoomServers, nodes: Sequence[str], *, root_seed: bytes, now_s: int, report: Callable[[str], None]
) -> tuple[MovePlan, Mover]:
    """What a move takes, and who does it.

    Raises:
        UsageError: `nodes` are neither names that the room's servers know nor addresses.
        RefusedError, UnavailableError: see `plan_move`, `find_servers`.
    """
    try:
        status, wanted, roster = await find_servers(link.room_id, known, nodes)
    except AddressError as error:
        raise UsageError(str(error)) from error
    plan = plan_move(status, wanted, [*known.servers, *roster])
    sign = functools.partial(sign_servers, root_seed, link_secret=link.secret, now_s=now_s)
    return plan, Mover(link.room_id, plan, known=known, admin_seed=admin_seed_of(root_seed), sign=sign, report=report)


async def prepare_replacement(
    link: Link, known: RoomServers, old: str, new: str, *, root_seed: bytes, now_s: int, report: Callable[[str], None]
) -> tuple[MovePlan, Mover] | None:
    """What it takes to put one server in another's place, which may be dead; None if the room is not on that one.

    Args:
        link: of the room.
        known: its servers, as far as this device knows.
        old: the one that goes: a name that the room's servers know, or its key.
        new: the one that comes: such a name, or HOST:PORT#KEY.
        root_seed: the owner's.
        now_s: unix seconds.
        report: told each step.

    Raises:
        UsageError: `new` is neither a known name nor an address.
        RefusedError: the new one serves the room already, so it would have fewer.
        UnavailableError: see `find_servers`.
    """
    try:
        status, [comes], roster = await find_servers(link.room_id, known, [new])
    except AddressError as error:
        raise UsageError(str(error)) from error
    if not any(old in {replica.name, key_text(replica.node_key)} for replica in status.replicas):
        return None
    stay = [replica for replica in status.replicas if old not in {replica.name, key_text(replica.node_key)}]
    if any(replica.node_key == comes.node_key for replica in stay):
        raise RefusedError(f"{comes.name} serves the room already: without {old} it would survive less")
    everywhere: list[NodeAddress | Server] = [*known.servers, *roster]
    places = {node.node_key: (node.host, node.port) for node in everywhere}
    plan = plan_move(status, [*(_node(replica, places) for replica in stay), comes], everywhere)
    sign = functools.partial(sign_servers, root_seed, link_secret=link.secret, now_s=now_s)
    mover = Mover(link.room_id, plan, known=known, admin_seed=admin_seed_of(root_seed), sign=sign, report=report)
    return plan, mover


def _node(replica: ReplicaStatus, places: dict[NodeKey, tuple[str, int]]) -> NodeAddress:
    host, port = places.get(replica.node_key, ("", 1))
    return NodeAddress(replica.name, replica.node_key, replica.replica_id, host, port, replica.up)
