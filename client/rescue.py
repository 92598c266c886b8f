"""The owner's way in when nobody can write any more: the admin key sends the room back (e2ee.md §3.1, R4).

    our stored group ─▶ override: its epoch, its keys, a fresh join bundle ─▶ appended on a connection of its own

A connection of its own, because an owner who was shut out can prove nothing but the admin key. Afterwards members who
stayed in that epoch write again; everybody else, alarmed, joins again by the link.
"""

from __future__ import annotations

import secrets

import mls
from client.commits import override_block
from client.connection import RoomConnection, ServerAddress, open_room_connection
from client.errors import RefusedError, SamtalaError
from client.room_state import RoomKeys
from wire.certificate import RoomServers
from wire.ids import CLIENT_ID_BYTES, ClientId, RoomEpoch, Sequence
from wire.room import ResultKind


class AdminKeys:
    """All that is proven: that the room is ours."""

    def __init__(self, seed: bytes) -> None:
        self._seed = seed

    @property
    def epoch(self) -> RoomEpoch | None:
        return None

    def read_seed(self) -> bytes | None:
        return None

    def write_seed(self) -> bytes | None:
        return None

    def join_seed(self) -> bytes | None:
        return None

    def admin_seed(self) -> bytes | None:
        return self._seed


async def override_room(
    group: mls.Group,
    keys: RoomKeys,
    servers: list[ServerAddress],
    *,
    admin_seed: bytes,
    known: RoomServers | None = None,
) -> Sequence:
    """Send the room back to the epoch of `group`; returns the place in the log. Time limits are the caller's affair.

    Raises:
        RefusedError: the servers know no such epoch, or another owner.
        OutcomeUnknownError: the servers forgot the session meanwhile; doing it again is harmless.
    """
    block = override_block(group, keys, secrets.token_bytes)
    outcome: Sequence | SamtalaError
    client_id = ClientId(secrets.token_bytes(CLIENT_ID_BYTES))
    async with open_room_connection(
        keys.room_id, servers, AdminKeys(admin_seed), client_id=client_id, known=known
    ) as connection:
        try:
            outcome = await _append(connection, block.data)
        except SamtalaError as error:
            # Carried out by hand: the connection's nursery would wrap it into a group.
            outcome = error
    if isinstance(outcome, SamtalaError):
        raise outcome
    return outcome


async def _append(connection: RoomConnection, block: bytes) -> Sequence:
    result = await connection.append(block).result()
    if result.kind is not ResultKind.ACCEPTED:
        raise RefusedError(f"the servers are in epoch {result.epoch} and cannot go back to ours")
    return result.sequence
