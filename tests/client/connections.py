"""Members with a `RoomConnection` to servers that a test controls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import trio
import trio.testing

from client.connection import (
    Deliveries,
    RoomConnection,
    ServersMoved,
    SessionState,
    StateChanged,
    open_room_connection,
)
from tests.client.room_server_double import ROOM_ID, Faults, OwnKeys, ServerDouble, SharedLog, no_faults
from wire.certificate import RoomServers
from wire.identity import NodeIdentity, ServerAddress
from wire.ids import ClientId, RoomEpoch, Sequence
from wire.room import (
    CommitBody,
    Delivery,
    decode_entries,
    encode_commit_block,
)

EPOCH = RoomEpoch(0)
CLIENT = ClientId(b"c" * 16)
NOBODY = ServerAddress("127.0.0.1", 1, NodeIdentity(b"n" * 32).public)


@asynccontextmanager
async def doubles(*faults: Faults, log: SharedLog | None = None) -> AsyncIterator[list[ServerDouble]]:
    """One server for each kind of faults."""
    log = log or SharedLog()
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(ServerDouble(log, index + 1, faults=kind).serving())
            for index, kind in enumerate(faults or (no_faults,))
        ]


class Member:
    """A connection and what it was given."""

    def __init__(self, connection: RoomConnection) -> None:
        self.connection = connection
        self.deliveries: list[Delivery] = []
        self.states: list[StateChanged] = []
        self.moves: list[RoomServers] = []
        self.grew = trio.Event()

    async def listen(self) -> None:
        async for event in self.connection.events():
            if isinstance(event, Deliveries):
                self.deliveries += event.deliveries
            elif isinstance(event, ServersMoved):
                self.moves.append(event.known)
            else:
                self.states.append(event)
            self.grew.set()
            self.grew = trio.Event()

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            await self.grew.wait()

    @property
    def entries(self) -> list[bytes]:
        return [entry for delivery in self.deliveries for entry in decode_entries(delivery.block)]


@asynccontextmanager
async def member_of(
    servers: list[ServerDouble],
    *,
    keys: OwnKeys | None = None,
    after: int = 0,
    session: SessionState | None = None,
    known: RoomServers | None = None,
) -> AsyncIterator[Member]:
    """A member that listens."""
    addresses = [server.address for server in servers]
    with trio.fail_after(20):
        async with (
            open_room_connection(
                ROOM_ID,
                addresses,
                keys or OwnKeys(),
                client_id=CLIENT,
                after=Sequence(after),
                session=session,
                known=known,
            ) as connection,
            trio.open_nursery() as nursery,
        ):
            member = Member(connection)
            nursery.start_soon(member.listen)
            yield member
            nursery.cancel_scope.cancel()


def commit_block(epoch: int) -> bytes:
    body = CommitBody(commit=b"c", group_info=b"g", next_write_key=b"w" * 32, next_read_key=b"r" * 32)
    return encode_commit_block(RoomEpoch(epoch), body)
