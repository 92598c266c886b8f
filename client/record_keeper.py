"""Renews the owner's record of a room's servers, after these have placed the room elsewhere in their cluster. A shell.

    servers of a later epoch than we signed for, certified ─▶ a Move to where the room is already ─▶ its servers answer with the record

Nothing depends on it: whoever has an older record follows the certificates. But that takes one of the servers named there, and
they may be gone some day. Done by any of the owner's devices that is in the room, without asking anybody.
"""

from __future__ import annotations

import secrets
import time
from contextlib import suppress

from client.connection import ConnectionState, open_room_connection
from client.errors import SamtalaError
from client.founding import admin_seed_of, sign_servers
from client.moving import survey, wish
from client.rescue import AdminKeys
from client.room_driver import RoomDriver
from wire.certificate import RoomServers
from wire.ids import CLIENT_ID_BYTES, ClientId, GroupEpoch
from wire.link import Link
from wire.room import Move


class RecordKeeper:
    """See the module.

    Args:
        link: of the room.
        root_seed: the owner's; empty on devices of others, where nothing is done.
        signed: the epoch of the owner's newest record.
    """

    def __init__(self, link: Link, root_seed: bytes, signed: int) -> None:
        self._link = link
        self._root_seed = root_seed
        self._signed = GroupEpoch(signed)

    async def run(self, driver: RoomDriver) -> None:
        """Renew the record whenever it is older than the servers that the driver has come to know; until cancelled."""
        while self._root_seed:
            news = driver.state_news
            known = driver.known
            if known is not None and known.epoch > self._signed and driver.state.state is ConnectionState.LIVE:
                with suppress(SamtalaError):  # The next look tries again.
                    await self._renew(known, int(time.time()))
            await news.wait()

    async def _renew(self, known: RoomServers, now_s: int) -> None:
        room_id = self._link.room_id
        status = await survey(room_id, known.addresses)
        if status.group_epoch != known.epoch:
            return  # It moves on just now.
        record = sign_servers(self._root_seed, known.servers, known.epoch, link_secret=self._link.secret, now_s=now_s)
        failure: SamtalaError | None = None
        async with open_room_connection(
            room_id,
            known.addresses,
            AdminKeys(admin_seed_of(self._root_seed)),
            client_id=ClientId(secrets.token_bytes(CLIENT_ID_BYTES)),
            known=known,
        ) as connection:
            try:
                await wish(connection, Move(epoch=known.epoch, servers=known.servers, descriptor=record), status.epoch)
            except SamtalaError as error:
                failure = error  # Carried out by hand: the connection's nursery would wrap it into a group.
        if failure is not None:
            raise failure
        self._signed = known.epoch
