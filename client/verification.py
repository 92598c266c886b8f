"""Do a room's servers hold what this device has read? Each is asked by itself, and compared by the hash over all history.

    each server: where does your log end, and which hash is there? ─▶ the same place in what we read ─▶ the same hash?
    deep: read all of its log, from the first entry ───────────────▶ does it lead to that hash?

Equal hashes mean equal histories, entry by entry, so one number a server is enough. A server that is behind is compared where it
stands. Reading deep shows that it still has every entry whole.
"""

from __future__ import annotations

import functools
import secrets
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import assert_never

import msgspec
import trio

from client import limits
from client.cluster import ask_all
from client.connection import (
    Deliveries,
    Event,
    Keys,
    RoomConnection,
    ServersMoved,
    StateChanged,
    open_room_connection,
)
from client.moving import ask_status
from wire.certificate import RoomServers
from wire.identity import ServerAddress
from wire.ids import CLIENT_ID_BYTES, ClientId, RoomId
from wire.ids import Sequence as EntrySequence
from wire.messages import RoomStatus
from wire.room import Delivery, chain_next, chain_start, decode_block_header


class Agreement(Enum):
    """What came of asking one server.

    SAME: its history is ours, as far as it goes. OTHER: it is not; that is a lie or a damage. UNKNOWN: it ends before what we
    remember hashes of. SILENT: it did not answer, or not to the end.
    """

    SAME = "same"
    OTHER = "other"
    UNKNOWN = "unknown"
    SILENT = "silent"


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One server. `sequence` is where its log ends, 0 if it did not say; `entries` were read from it; `text` says what is wrong."""

    server: ServerAddress
    agreement: Agreement
    sequence: int = 0
    entries: int = 0
    text: str = ""


async def ask_where(room_id: RoomId, servers: Sequence[ServerAddress]) -> list[RoomStatus | str]:
    """How far each server is, or why it does not say."""
    answers = await ask_all([functools.partial(ask_status, server, room_id) for server in servers])
    return [answer if isinstance(answer, RoomStatus) else str(answer) for answer in answers]


def judge(
    servers: Sequence[ServerAddress], answers: Sequence[RoomStatus | str], chains: Mapping[EntrySequence, bytes]
) -> list[Verdict]:
    """Compare what servers say with the hashes that we know by their places."""
    return [_judge_one(server, answer, chains) for server, answer in zip(servers, answers, strict=True)]


def _judge_one(server: ServerAddress, answer: RoomStatus | str, chains: Mapping[EntrySequence, bytes]) -> Verdict:
    if isinstance(answer, str):
        return Verdict(server=server, agreement=Agreement.SILENT, text=answer)
    last = EntrySequence(answer.next_sequence - 1)
    known = chains.get(last)
    if known is None:
        text = "its log ends before what this device remembers"
        return Verdict(server=server, agreement=Agreement.UNKNOWN, sequence=last, text=text)
    if known != answer.chain:
        return Verdict(server=server, agreement=Agreement.OTHER, sequence=last, text=f"another history up to {last}")
    return Verdict(server=server, agreement=Agreement.SAME, sequence=last)


async def read_all(
    room_id: RoomId, verdict: Verdict, keys: Keys, *, chain: bytes, known: RoomServers | None
) -> Verdict:
    """Read all of one server's log, which has to lead to `chain` at its end; the verdict on that.

    Args:
        room_id: the room.
        verdict: SAME so far.
        keys: a reader's.
        chain: the hash at `verdict.sequence`.
        known: whom to believe where the room moves.
    """
    client_id = ClientId(secrets.token_bytes(CLIENT_ID_BYTES))
    read, text = 0, f"not read to its end within {limits.VERIFY_SILENT_S:g} s"
    async with open_room_connection(
        room_id, [verdict.server], keys, client_id=client_id, is_chain_tracked=False, known=known
    ) as connection:
        reading = _Reading(room_id, verdict.sequence, chain)
        await reading.run(connection)
        read, text = reading.entries, reading.text or text
    if reading.is_whole:
        return msgspec.structs.replace(verdict, entries=read)
    agreement = Agreement.OTHER if reading.is_contradicted else Agreement.SILENT
    return msgspec.structs.replace(verdict, agreement=agreement, entries=read, text=text)


class _Reading:
    def __init__(self, room_id: RoomId, until: int, chain: bytes) -> None:
        self.entries = 0
        self.is_whole = until == 0
        self.is_contradicted = False
        self.text = ""
        self._chain = chain_start(room_id)
        self._until = until
        self._wanted = chain

    async def run(self, connection: RoomConnection) -> None:
        """Until all is read, something contradicts it, or nothing comes any more."""
        async with connection.reading() as events:
            while not self.is_whole and not self.is_contradicted:
                with trio.move_on_after(limits.VERIFY_SILENT_S) as waiting:
                    self._take(await anext(events))
                if waiting.cancelled_caught:
                    return

    def _take(self, event: Event) -> None:
        match event:
            case Deliveries():
                for delivery in event.deliveries:
                    self._follow(delivery)
            case StateChanged():
                self.is_contradicted, self.text = event.alarm is not None, event.text
            case ServersMoved():
                pass
            case _:
                assert_never(event)

    def _follow(self, delivery: Delivery) -> None:
        if self.is_whole or self.is_contradicted:
            return
        self._chain = chain_next(self._chain, delivery)
        self.entries = delivery.first_sequence + decode_block_header(delivery.block).count - 1
        if self.entries >= self._until:
            self.is_whole = (self.entries, self._chain) == (self._until, self._wanted)
            self.is_contradicted = not self.is_whole
            self.text = f"its entries do not lead to its hash at {self._until}"
