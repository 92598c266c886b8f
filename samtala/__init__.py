"""Samtala: chat rooms that belong to their community.

    async with samtala.open_client() as me:
        room = await me.join("SAMTALA:…")
        await room.send("hej")                     # returns when a majority has it on disk
        async for message in room.messages():
            print(message.sender.name, message.text)

Names are loaded when they are first used, so that importing `samtala` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from client.client import Client, open_client
    from client.room import Room

    from client.errors import OutcomeUnknownError, SamtalaError, UnavailableError

_HOMES = {
    "Client": "client.client",
    "OutcomeUnknownError": "client.errors",
    "Room": "client.room",
    "SamtalaError": "client.errors",
    "UnavailableError": "client.errors",
    "open_client": "client.client",
}

__all__ = ["Client", "OutcomeUnknownError", "Room", "SamtalaError", "UnavailableError", "open_client"]


def __getattr__(name: str) -> Any:
    """Load a public name from its home."""
    if name not in _HOMES:
        raise AttributeError(f"module 'samtala' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
