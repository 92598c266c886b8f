"""What people type: links, addresses and names, checked before anything is done with them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from client.archive import FULL_HISTORY, NO_HISTORY, HistoryPolicy
from client.discovery import check_link
from client.errors import UsageError
from client.identity import clean_name
from client.limits import HISTORY_DAYS_MAX
from dht.limits import PUBLIC_BOOTSTRAP
from wire.errors import AddressError, DecodeError, LocalError
from wire.identity import ServerAddress, parse_node_address
from wire.limits import NAME_CHARACTERS_MAX
from wire.link import Link, LinkError, parse_link

_DAYS: Final = re.compile("[0-9]{1,4}")
_PORT: Final = re.compile("[0-9]{1,5}")


def parse_room_link(text: str) -> Link:
    """A link to a room.

    Raises:
        UsageError: it is something else.
    """
    try:
        link = parse_link(text)
        check_link(link)
    except (LinkError, LocalError, DecodeError) as error:
        raise UsageError(f"that is no link to a room: {error}") from error
    return link


def parse_server(text: str) -> ServerAddress:
    """A server's address, HOST:PORT#KEY.

    Raises:
        UsageError: it is something else.
    """
    try:
        return parse_node_address(text)
    except AddressError as error:
        raise UsageError(f"{text!r} is no server's address: {error}") from error


def parse_public_nodes(texts: Iterable[str]) -> tuple[tuple[str, int], ...]:
    """Where to begin in the public DHT: `default` for the usual nodes, or HOST:PORT.

    Raises:
        UsageError: it is neither.
    """
    wanted = [place for text in texts for place in (PUBLIC_BOOTSTRAP if text == "default" else (text,))]
    return tuple(_parse_place(text) for text in wanted)


def _parse_place(text: str) -> tuple[str, int]:
    host, _, port = text.strip().rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not _PORT.fullmatch(port) or not 0 < int(port) < 1 << 16:
        raise UsageError(f"{text[:80]!r} is no node of the public DHT: say default, or HOST:PORT")
    return host, int(port)


def parse_history(text: str) -> HistoryPolicy:
    """What newcomers may read: none, full, or a number of days.

    Raises:
        UsageError: it is something else.
    """
    match text.strip().lower():
        case "none" | "0":
            return NO_HISTORY
        case "full":
            return FULL_HISTORY
        case digits if _DAYS.fullmatch(digits) and int(digits) <= HISTORY_DAYS_MAX:
            return HistoryPolicy(int(digits))
        case _:
            raise UsageError(
                f"{text[:80]!r} is no history: say none, full, or a number of days up to {HISTORY_DAYS_MAX:,}"
            )


def check_name(name: str, what: str) -> None:
    """Check a name; `what` it is of begins the message.

    Raises:
        UsageError: it is empty, too long, or has characters that do not print.
    """
    if not 0 < len(name) <= NAME_CHARACTERS_MAX or clean_name(name) != name:
        raise UsageError(f"{what} has 1 to {NAME_CHARACTERS_MAX} printable characters, not {name[:80]!r}")
