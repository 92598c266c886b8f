"""`samtala top`: the server on this machine and its busiest rooms, drawn every second, sorted by a key press.

    ┌ a · ready · up 3 h 12 min ───────────────── 42 rooms, 15 led · every room survives 1 more ┐
    │ peers   b up 0.4 ms   c DOWN                                                              │
    │ ROOM      STATE     ROLE  VIEW  OPERATIONS  ▼OPS/S    B/S   LAG  SPARE  READERS           │
    │ 74a0df41  normal    led      4       18231    12.0  34 kB     0      1        4           │
    └ r rate  b bytes  l lag  m margin · ↑↓ scroll · q quit ────────────────────────────────────┘

The node watches its rooms for a second and sends the first of them in the chosen order: however many rooms there are, a
screenful crosses the socket. A node that goes away is shown as gone until it is back.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

import click
import msgspec
import trio
import urwid

from client.errors import SamtalaError
from room_server.report import NodeReport, RoomOrder, RoomReport
from samtala.cli.node_client import ask
from samtala.cli.node_settings import socket_of, with_socket
from samtala.cli.run import explained, with_json
from samtala.cli.show import put
from samtala.cli.status import margin_text
from samtala.operate.units import counted, milliseconds, size, span, view_name
from samtala.operate.verdict import judge

ROOMS_SHOWN: Final = 200
RETRY_S: Final = 1.0
"""Before a node that does not answer is asked again."""
PALETTE: Final = [
    ("head", "bold", ""),
    ("dim", "dark gray", ""),
    ("bad", "light red,bold", ""),
    ("doubt", "yellow", ""),
    ("good", "dark green", ""),
    ("titles", "standout", ""),
    ("sorted", "standout,bold", ""),
    ("keys", "standout", ""),
]
KEYS: Final = {"r": RoomOrder.RATE, "b": RoomOrder.BYTES, "l": RoomOrder.LAG, "m": RoomOrder.MARGIN}
KEYS_LINE: Final = " r rate   b bytes   l lag   m margin     ↑ ↓ scroll     q quit "
_TITLES: Final = (
    ("ROOM", -8, None),
    ("STATE", -11, None),
    ("ROLE", -6, None),
    ("VIEW", 5, None),
    ("OPERATIONS", 10, None),
    ("OPS/S", 7, RoomOrder.RATE),
    ("B/S", 7, RoomOrder.BYTES),
    ("LAG", 6, RoomOrder.LAG),
    ("SPARE", 6, RoomOrder.MARGIN),
    ("READERS", 7, None),
)
"""Of each column: its title, its width (negative: flush left) and what sorts by it."""
Markup: TypeAlias = list[Any]
"""What urwid.Text takes: texts, and (style, text)."""


@click.command()
@with_socket
@click.option("--once", is_flag=True, help="Print the rooms once, as lines; for pipes.")
@click.option("--order", type=click.Choice([*RoomOrder]), default=RoomOrder.RATE, show_default=True,
              help="What comes first.")  # fmt: skip
@with_json
def top(*, config: Path | None, socket: Path | None, once: bool, order: str, as_json: bool) -> None:
    """The busiest rooms of the server on this machine, drawn every second.

    samtala top --order lag
    """
    path, chosen = socket_of(config, socket), RoomOrder(order)
    if once or as_json:
        with explained():
            rooms = ask(path, _target(chosen), list[RoomReport])
        _print(rooms, chosen, as_json=as_json)
        return
    with explained():
        ask(path, "/status", NodeReport)
    trio.run(_run, path, chosen)


def _target(order: RoomOrder) -> str:
    return f"/rooms?top={ROOMS_SHOWN}&order={order}"


def _print(rooms: list[RoomReport], order: RoomOrder, *, as_json: bool) -> None:
    if as_json:
        for room in rooms:
            put(msgspec.json.encode(room).decode())
        return
    for line in [titles(order), *(room_line(room) for room in rooms)]:
        put(_plain(line).rstrip())


def _plain(line: Markup) -> str:
    return "".join(part if isinstance(part, str) else part[1] for part in line)


# --- the screen ------------------------------------------------------------------------------------------------------


class Top:
    """The screen; `show` and `show_gone` are told what there is, `keypress` what is wanted."""

    def __init__(self, order: RoomOrder) -> None:
        self.order = order
        self.stopped = trio.Event()
        self.reordered = trio.Event()
        self._head = urwid.Text("")
        self._titles = urwid.Text(titles(order), wrap="clip")
        self._rows: urwid.SimpleListWalker[urwid.Text] = urwid.SimpleListWalker([])
        head = urwid.Pile([self._head, urwid.AttrMap(self._titles, "titles")])
        keys = urwid.AttrMap(urwid.Text(KEYS_LINE, wrap="clip"), "keys")
        self.widget: urwid.Frame[Any, Any, Any] = urwid.Frame(urwid.ListBox(self._rows), header=head, footer=keys)

    def keypress(self, key: str) -> bool:
        """Sort or end."""
        if key in {"q", "Q", "esc", "ctrl c"}:
            self.stopped.set()
        elif key in KEYS:
            self.order = KEYS[key]
            self._titles.set_text(titles(self.order))
            self.reordered.set()
        return True

    def show(self, report: NodeReport, rooms: list[RoomReport]) -> None:
        """Draw what a node says."""
        self._head.set_text(head_lines(report))
        self._rows[:] = [urwid.Text(room_line(room), wrap="clip") for room in rooms] or [_note("no rooms yet")]

    def show_gone(self, why: str) -> None:
        """Say that nobody answers; the last rows stay, for they are what one wants to know then."""
        self._head.set_text([("bad", why), "\n", ("dim", "what follows is the last that was known; asking again…")])


def _note(text: str) -> urwid.Text:
    return urwid.Text(("dim", f" {text}"))


def titles(order: RoomOrder) -> Markup:
    """The line of titles, the sorted column marked."""
    parts: Markup = []
    for title, width, sorts in _TITLES:
        if sorts is order:
            parts.append(("sorted", _cell(f"▼{title}", width)))
        else:
            parts.append(_cell(title, width))
        parts.append(" ")
    return parts


def _cell(text: str, width: int) -> str:
    return text[:-width].ljust(-width) if width < 0 else text.rjust(width)


def room_line(room: RoomReport) -> Markup:
    """One row."""
    state = "good" if room.state == "normal" else "bad" if room.state == "no_quorum" else "doubt"
    spare = {0: "doubt", -1: "bad"}.get(room.margin, "good")
    values: list[tuple[str | None, str]] = [
        (None, room.room),
        (state, room.state.replace("_", " ")),
        (None, "led" if room.led else "backup"),
        (None, view_name(room.view)),
        (None, str(room.op)),
        (None if room.ops_per_s else "dim", f"{room.ops_per_s:.1f}"),
        (None if room.bytes_per_s else "dim", size(room.bytes_per_s)),
        ("doubt" if room.lag_ops else "dim", str(room.lag_ops) if room.led else "-"),
        (spare, "none" if room.margin < 0 else str(room.margin)),
        (None if room.subscribers else "dim", str(room.subscribers)),
    ]
    line: Markup = []
    for (style, text), (_, width, _) in zip(values, _TITLES, strict=True):
        cell = _cell(text, width)
        line += [cell if style is None else (style, cell), " "]
    return line


def head_lines(report: NodeReport) -> Markup:
    """The node above its rooms: three lines, and one for the worst that is wrong."""
    ready = ("good", "ready") if report.not_ready_because is None else ("bad", report.not_ready_because)
    lines: Markup = [("head", report.name), " · ", ready, f" · up {span(report.uptime_s)} · samtala {report.version}\n"]
    rooms = report.rooms
    lines += [f"{counted(rooms.hosted, 'room')}, {rooms.led} led here · ", *_margin(report)]
    lines += [f" · {counted(report.clients.connections, 'connection')} · {_free(report)}\n", ("dim", "peers ")]
    for peer in report.peers:
        state = ("good", "up") if peer.up else ("bad", "DOWN")
        lag = ("doubt", f" lag {peer.lag_ops}") if peer.lag_ops else ""
        lines += [f" {peer.name} ", state, f" {milliseconds(peer.rtt_ms)}", lag, "  "]
    findings = judge(report)
    lines.append("\n")
    if findings:
        more = f" (and {len(findings) - 1} more: samtala doctor)" if len(findings) > 1 else ""
        lines.append(
            ("bad" if findings[0].severity == findings[0].severity.CRITICAL else "doubt", findings[0].why + more)
        )
    lines.append("\n")
    return [part for part in lines if part]


def _margin(report: NodeReport) -> Markup:
    style = {None: None, 0: "doubt", -1: "bad"}.get(report.rooms.margin, "good")
    text = margin_text(report.rooms)
    return [text if style is None else (style, text)]


def _free(report: NodeReport) -> str:
    disk = report.disk
    return f"disk {disk.free_bytes / disk.total_bytes:.0%} free" if disk.total_bytes else "disk ?"


async def _run(path: Path, order: RoomOrder) -> None:
    screen = Top(order)
    event_loop = urwid.TrioEventLoop()
    loop = urwid.MainLoop(screen.widget, PALETTE, event_loop=event_loop, unhandled_input=_keys(screen))
    async with trio.open_nursery() as nursery:
        with loop.start():
            nursery.start_soon(event_loop.run_async)
            nursery.start_soon(watch, path, screen, loop.draw_screen)
            await screen.stopped.wait()
            nursery.cancel_scope.cancel()


def _keys(screen: Top) -> Any:
    return lambda key: screen.keypress(key) if isinstance(key, str) else False


async def watch(path: Path, screen: Top, draw: Any) -> None:
    """Ask and draw until cancelled; a new order is asked for at once."""
    while True:
        screen.reordered = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_refresh, path, screen, nursery.cancel_scope)
            await screen.reordered.wait()
            nursery.cancel_scope.cancel()
        draw()


async def _refresh(path: Path, screen: Top, scope: trio.CancelScope) -> None:
    """Ask once; an answer, or a pause after none, ends the scope."""
    order = screen.order
    try:
        report = await _ask(path, "/status", NodeReport)
        rooms = await _ask(path, _target(order), list[RoomReport])
    except SamtalaError as error:
        screen.show_gone(str(error).partition(". ")[0])
        await trio.sleep(RETRY_S)
    else:
        screen.show(report, rooms)
    scope.cancel()


async def _ask(path: Path, target: str, kind: Any) -> Any:
    return await trio.to_thread.run_sync(partial(ask, path, target, kind), abandon_on_cancel=True)
