"""Asking servers before a room exists: who is in this cluster, and will you host this room?

Every server is asked itself, because it knows best where it is reached and what its data folder's id is; what the first
one says of the others is only where to ask.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Awaitable, Callable, Sequence

import msgspec
import trio

from client.errors import RefusedError, UnavailableError
from wire.channel import open_channel
from wire.errors import PeerError
from wire.identity import ServerAddress
from wire.messages import CreateRoom, GetNodeInfo, Message, NodeAddress, NodeInfo, Refused, RoomCreated

SERVER_S_MAX = 5.0
"""Seconds that one server is given for one question."""
REPLICAS_MAX = 7
"""Servers of one room (`wire.room`)."""


class Roster(msgspec.Struct, frozen=True, kw_only=True):
    """The servers that there are, and why others are not among them. `room_servers`: so many a new room should have, 0: all."""

    nodes: tuple[NodeAddress, ...]
    left_out: tuple[str, ...]
    room_servers: int = 0

    def for_new_room(self) -> Roster:
        """Those that a new room gets: as many as the cluster says, the first that was asked at the front."""
        return msgspec.structs.replace(self, nodes=self.nodes[: self.room_servers or None])


async def ask_roster(addresses: Sequence[ServerAddress]) -> Roster:
    """Find out which servers there are, beginning with `addresses`.

    Raises:
        UnavailableError: none of the addresses answers.
    """
    answers = await ask_all([functools.partial(_node_info, address) for address in addresses])
    known: dict[bytes, NodeAddress] = {}
    for answer in answers:
        if isinstance(answer, NodeInfo):
            for node in answer.nodes:
                known.setdefault(node.node_key, node)
    if not known:
        raise UnavailableError("no server answers; tried:", tuple(str(answer) for answer in answers))
    places = [ServerAddress(node.host, node.port, node.node_key) for node in list(known.values())[:REPLICAS_MAX]]
    selves = await ask_all([functools.partial(_node_info, place) for place in places])
    nodes: list[NodeAddress] = []
    silent: list[NodeAddress] = []
    left_out: list[str] = []
    for place, answer in zip(places, selves, strict=True):
        node = _itself(answer, place) if isinstance(answer, NodeInfo) else known[place.node_key]
        if isinstance(answer, NodeInfo) and node.replica_id:
            nodes.append(node)
        elif node.replica_id:
            silent.append(node)
        else:
            left_out.append(f"{node.name} at {place.host}:{place.port}: {answer}")
    nodes += silent
    if 2 * len(nodes) <= len(places):
        raise UnavailableError("most servers of this cluster have never been met; start them first:", tuple(left_out))
    wanted = max(answer.room_servers for answer in answers if isinstance(answer, NodeInfo))
    return Roster(nodes=tuple(nodes), left_out=tuple(left_out), room_servers=max(wanted, 0))


async def host_room(nodes: Sequence[NodeAddress], genesis: bytes) -> tuple[str, ...]:
    """Have a room hosted: returns which servers do not have it yet, and why. They learn of it from the others.

    Raises:
        UnavailableError: fewer than a majority say that they have it on disk.
        RefusedError: a server refuses it.
    """
    places = [ServerAddress(node.host, node.port, node.node_key) for node in nodes]
    answers = await ask_all([functools.partial(_create, place, genesis) for place in places])
    failures = tuple(
        f"{node.name} at {node.host}:{node.port}: {answer.text if isinstance(answer, Refused) else answer}"
        for node, answer in zip(nodes, answers, strict=True)
        if not isinstance(answer, RoomCreated)
    )
    if 2 * (len(nodes) - len(failures)) > len(nodes):
        return failures
    if any(isinstance(answer, Refused) for answer in answers):
        raise RefusedError("\n  ".join(("the servers refuse to host the room:", *failures)))
    raise UnavailableError("a room needs a majority of its servers to begin; these do not answer:", failures)


def _itself(answer: NodeInfo, asked: ServerAddress) -> NodeAddress:
    """What a server says of itself; a wildcard address is no address, so there the one that worked stands."""
    node = answer.nodes[0]
    try:
        is_wildcard = ipaddress.ip_address(node.host).is_unspecified
    except ValueError:
        is_wildcard = not node.host
    if is_wildcard:
        return msgspec.structs.replace(node, host=asked.host, port=asked.port)
    return node


async def _node_info(address: ServerAddress) -> Message:
    async with open_channel(address, agent="samtala-client") as channel:
        answer = await channel.call(GetNodeInfo(1))
    if isinstance(answer, NodeInfo) and (not answer.nodes or answer.nodes[0].node_key != address.node_key):
        raise PeerError("the server does not know itself")
    return answer


async def _create(address: ServerAddress, genesis: bytes) -> Message:
    async with open_channel(address, agent="samtala-client") as channel:
        return await channel.call(CreateRoom(1, genesis))


async def ask_all(questions: Sequence[Callable[[], Awaitable[Message]]]) -> list[Message | str]:
    """Ask all at once; a text instead of an answer says why there is none."""
    answers: list[Message | str] = ["no answer in time"] * len(questions)

    async def ask(place: int) -> None:
        with trio.move_on_after(SERVER_S_MAX):
            try:
                answers[place] = await questions[place]()
            except PeerError as error:
                answers[place] = str(error)

    async with trio.open_nursery() as nursery:
        for place in range(len(questions)):
            nursery.start_soon(ask, place)
    return answers
