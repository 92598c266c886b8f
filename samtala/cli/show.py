"""How things look: JSON objects for programs, lines for people, safe to print on any terminal."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Mapping

import click

from client.connection import ConnectionState, StateChanged
from client.discovery import Attempt, version_text
from client.evidence import ForkFinding
from client.recovery import CameBack
from client.timeline import ItemKind, Message, Notice
from wire.identity import key_text
from wire.messages import RoomStatus

_NOTICES = {
    ItemKind.JOINED: "{name} joined",
    ItemKind.REMOVED: "{name} was removed",
    ItemKind.LEFT: "{name} left",
    ItemKind.REFUSED: "an entry could not be read: {text}",
    ItemKind.ALARM: "ALARM: {text}",
    ItemKind.HISTORY_READ: "{text} messages from before you came can be read: samtala tail ROOM --since 0",
    ItemKind.HISTORY_REFUSED: "an entry from before could not be read: {text}",
}


def say(text: str) -> None:
    """Talk to the person: standard error."""
    click.echo(text, err=True)


def warn(text: str | None) -> None:
    """Tell a person what they should know, if there is something."""
    if text is not None:
        say(text)


def put(text: str) -> None:
    """Give data: standard output, at once even into a pipe."""
    click.echo(text)
    sys.stdout.flush()


def put_json(value: Mapping[str, object]) -> None:
    """Give one JSON object on a line of its own."""
    put(json.dumps(value, ensure_ascii=False))


def plain(text: str) -> str:
    """A text as lines that cannot command the terminal: control characters are shown, not obeyed."""
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n  ".join("".join(_visible(character) for character in line) for line in lines)


def _visible(character: str) -> str:
    # Joiners and variation selectors make emoji; other invisible characters can only deceive.
    return character if character.isprintable() or character in "\t\u200d\u200c\ufe0f" else f"\\x{ord(character):02x}"


def event_json(event: Message | Notice) -> dict[str, object]:
    """One event for programs. Keys are hex; `time` is ISO 8601."""
    common: dict[str, object] = {
        "type": "message" if isinstance(event, Message) else event.kind.name.lower(),
        "sequence": event.sequence,
        "time": event.timestamp.isoformat(),
        "sender": {"name": event.sender.name, "key": event.sender.key.hex(), "verified": event.sender.is_verified},
        "text": event.text,
    }
    if isinstance(event, Message):
        common |= {"mine": event.mine, "message_id": event.message_id.hex(), "history": event.from_history}
    return common


def event_line(event: Message | Notice) -> str:
    """One event for people."""
    clock = event.timestamp.astimezone().strftime("%H:%M")
    doubt = "" if event.sender.is_verified or not event.sender.name else " (unverified)"
    if isinstance(event, Message):
        return f"{clock} {event.sender.name}{doubt}: {plain(event.text)}"
    text = _NOTICES[event.kind].format(name=event.sender.name or "somebody", text=plain(event.text))
    return f"{clock} -- {text}{doubt}"


def attempt_json(attempt: Attempt, now_s: float) -> dict[str, object]:
    """One source of a search for programs. `ms` runs to the first valid answer, without one to the end, or to now."""
    return {
        "source": attempt.source,
        "asked": attempt.asked,
        "began_ms": round(attempt.began_s * 1000, 3),
        "ms": round(attempt.elapsed_s(now_s) * 1000, 3),
        "outcome": attempt.outcome,
        "version": None if attempt.seq is None else version_text(attempt.seq),
        "first": attempt.has_begun,
        "wins": attempt.has_won,
    }


def fork_line(fork: ForkFinding) -> str:
    """Checked evidence for people."""
    seen = " and ".join(
        f"{person.name} ({person.fingerprint}) saw {chain.hex()[:16]}"
        for person, chain in ((fork.one, fork.one_chain), (fork.other, fork.other_chain))
    )
    return f"TWO HISTORIES of room {fork.room_id.hex()[:8]} up to {fork.sequence}, both signed: {seen}"


def fork_json(fork: ForkFinding) -> dict[str, object]:
    """Checked evidence for programs."""
    return {
        "room": fork.room_id.hex(),
        "sequence": fork.sequence,
        "seen": [
            {"name": person.name, "key": person.user_key.hex(), "chain": chain.hex(), "verified": person.is_verified}
            for person, chain in ((fork.one, fork.one_chain), (fork.other, fork.other_chain))
        ],
    }


def state_line(state: StateChanged) -> str:
    """The connection, honestly."""
    where = "" if state.server is None else f" · {state.server.host}:{state.server.port}"
    match state.state:
        case ConnectionState.LIVE:
            return f"-- live{where}"
        case ConnectionState.CONNECTING:
            return f"-- connecting{where}"
        case ConnectionState.OFFLINE:
            return f"-- offline{where}: {plain(state.text)}; trying again"
        case ConnectionState.CLOSED:
            return "-- closed"


def margin(status: RoomStatus) -> str:
    """How many more servers a room can lose, in words."""
    if status.spare_failures < 0:
        return "no majority of its servers: read-only"
    if status.spare_failures == 0:
        return "survives no more failures"
    return f"survives {status.spare_failures} more"


def status_json(status: RoomStatus) -> dict[str, object]:
    """A room's servers for programs."""
    return {
        "view": status.view,
        "status": status.status,
        "primary": key_text(status.primary),
        "epoch": status.epoch,
        "next_sequence": status.next_sequence,
        "spare_failures": status.spare_failures,
        "replicas": [
            {"name": replica.name, "key": key_text(replica.node_key), "up": replica.up, "lag_ops": replica.lag_ops}
            for replica in status.replicas
        ],
    }


def drawn(text: str) -> str:
    """A QR code of a text, drawn with characters."""
    import segno  # it brings http, email and xml along, and few commands draw anything

    drawing = io.StringIO()
    segno.make(text, error="m").terminal(out=drawing, compact=True)
    return drawing.getvalue()


def show_return(room: CameBack, *, as_json: bool) -> None:
    """Tell of a room that a device came back to, or why not."""
    if as_json:
        put_json({"room": room.name, "joined": not room.failure, "failure": room.failure, "said": room.said})
    elif room.failure:
        say(f"not joined: {room.failure}")
    else:
        put(room.name)
