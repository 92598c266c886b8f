"""Samtala: chat rooms that belong to their community.

    import samtala, trio

    async def main():
        async with samtala.open_client() as me:
            room = await me.join("SAMTALA:…")
            await room.send("hej")
            async for message in room.messages():
                print(message.sender.name, message.text)

    trio.run(main)

Names are imported when they are first used, so that the command line starts at once.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from client.archive import FULL_HISTORY, NO_HISTORY, HistoryPolicy
    from client.client import Client, RoomSummary, open_client
    from client.connection import ConnectionState, StateChanged
    from client.errors import (
        ForkDetectedError,
        NotFoundError,
        OutcomeUnknownError,
        PreconditionError,
        RefusedError,
        SamtalaError,
        UnavailableError,
        UsageError,
    )
    from client.identity import safety_number
    from client.pending import PendingMessage, SentMessage
    from client.room import Room, RoomMember
    from client.room_state import Phase
    from client.timeline import ItemKind, Message, Notice, Sender
    from wire.identity import key_text as node_key_text

__all__ = [
    "FULL_HISTORY",
    "NO_HISTORY",
    "Client",
    "ConnectionState",
    "ForkDetectedError",
    "HistoryPolicy",
    "ItemKind",
    "Message",
    "NotFoundError",
    "Notice",
    "OutcomeUnknownError",
    "PendingMessage",
    "Phase",
    "PreconditionError",
    "RefusedError",
    "Room",
    "RoomMember",
    "RoomSummary",
    "SamtalaError",
    "Sender",
    "SentMessage",
    "StateChanged",
    "UnavailableError",
    "UsageError",
    "node_key_text",
    "open_client",
    "safety_number",
]

_HOMES = {
    "FULL_HISTORY": "client.archive",
    "HistoryPolicy": "client.archive",
    "NO_HISTORY": "client.archive",
    "Client": "client.client",
    "ConnectionState": "client.connection",
    "ForkDetectedError": "client.errors",
    "ItemKind": "client.timeline",
    "Message": "client.timeline",
    "NotFoundError": "client.errors",
    "Notice": "client.timeline",
    "OutcomeUnknownError": "client.errors",
    "PendingMessage": "client.pending",
    "Phase": "client.room_state",
    "PreconditionError": "client.errors",
    "RefusedError": "client.errors",
    "Room": "client.room",
    "RoomMember": "client.room",
    "RoomSummary": "client.client",
    "SamtalaError": "client.errors",
    "Sender": "client.timeline",
    "SentMessage": "client.pending",
    "StateChanged": "client.connection",
    "UnavailableError": "client.errors",
    "UsageError": "client.errors",
    "node_key_text": "wire.identity",
    "open_client": "client.client",
    "safety_number": "client.identity",
}
_NAMES_THERE = {"node_key_text": "key_text"}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'samtala' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(home), _NAMES_THERE.get(name, name))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
