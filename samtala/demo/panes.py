"""The demo on a terminal: what two people see, what the room does, and keys that hurt it.

    ┌ alice ─────────────┬ bob ───────────────┬ room ────────────────────┐
    │ bob: hej           │ bob: hej           │ a* ███ up       lag 0    │
    │ alice: tea?        │ alice: tea?        │ b  ███ up       lag 0    │
    │ > _                │                    │ c  ░░░ DOWN     -        │
    └ [k]ill primary  [r]estart  [p]artition  [h]eal  [q]uit ────────────┘

Text typed into alice's line is sent by alice; the keys work whenever that line is empty, and with a leading slash
always. Nothing here knows the protocols: it draws a `Story` and calls its methods.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trio
import urwid

from samtala.demo.story import PEOPLE, Report, Story, open_story
from samtala.operate.units import view_name

REDRAW_S = 0.1
PALETTE = [
    ("head", "bold", ""),
    ("up", "dark green", ""),
    ("down", "light red", ""),
    ("parted", "yellow", ""),
    ("keys", "standout", ""),
    ("event", "brown", ""),
]
KEYS_LINE = (
    " k kill primary   r restart   p part primary   h heal   q quit   or type a message for alice and press enter "
)


class SpeechLine(urwid.Edit):
    """Alice's input line: enter speaks; single keys act while the line is empty."""

    def __init__(self, panes: Panes) -> None:
        super().__init__("alice> ")
        self._panes = panes

    def keypress(self, size: tuple[int], key: str) -> str | None:  # type: ignore[override]  # as urwid.Edit itself
        """Enter sends; k, r, p, h and q act on an empty line; everything else edits."""
        text = self.edit_text
        if key == "enter" and text:
            self.set_edit_text("")
            self._panes.speak(text)
            return None
        if not text and key in self._panes.actions:
            self._panes.act(key)
            return None
        return super().keypress(size, key)


class Panes:
    """The screen: three columns, an input line and a line of keys."""

    def __init__(self, story: Story, nursery: trio.Nursery) -> None:
        self._story = story
        self._nursery = nursery
        self._stopped = trio.Event()
        self._down: set[int] = set()
        self.actions = {"k": self._kill, "r": self._restart, "p": self._part, "h": self._heal, "q": self._quit}
        self._texts = {name: urwid.Text("") for name in PEOPLE}
        self._room = urwid.Text("")
        columns = [urwid.LineBox(urwid.Filler(self._texts[name], "bottom"), name) for name in PEOPLE]
        columns.append(urwid.LineBox(urwid.Filler(self._room, "top"), "room"))
        footer = urwid.Pile([SpeechLine(self), urwid.AttrMap(urwid.Text(KEYS_LINE, wrap="clip"), "keys")])
        self.widget: urwid.Frame[Any, Any, Any] = urwid.Frame(
            urwid.Columns(columns), footer=footer, focus_part="footer"
        )

    def speak(self, text: str) -> None:
        """Send what was typed."""
        self._nursery.start_soon(self._story.say, "alice", text)

    def act(self, key: str) -> None:
        """Do what a key stands for."""
        self.actions[key]()

    async def run(self, loop: urwid.MainLoop) -> None:
        """Redraw until the person quits."""
        while not self._stopped.is_set():
            self.draw()
            loop.draw_screen()
            with trio.move_on_after(REDRAW_S):
                await self._stopped.wait()

    def draw(self) -> None:
        """Show the story as it is now."""
        for name in PEOPLE:
            self._texts[name].set_text("\n".join(list(self._story.lines[name])[-40:]))
        self._room.set_text(self.room_lines())

    def room_lines(self) -> list[Any]:
        """The right-hand column: replicas, progress, margin, figures, and what was done."""
        story = self._story
        lines: list[Any] = []
        for index, server in enumerate(story.cluster.servers):
            leads = "*" if story.primary() == index else " "
            word, style = ("up  ", "up") if server.is_running else ("DOWN", "down")
            if server.is_running and story.cluster.is_parted(index):
                word, style = "cut ", "parted"
            lines.append((style, f" {server.place.name}{leads} {'███' if server.is_running else '░░░'} {word}\n"))
        if story.status is not None:
            lines.append(f"\n view {view_name(story.status.view)}   op {story.status.op_number}\n")
            spare = story.status.spare_failures
            lines.append(f" survives {spare} more\n" if spare >= 0 else ("down", " no majority: read-only\n"))
        account = story.ledger.account()
        lines.append(f"\n sent {account.sent}   acknowledged {account.acked}\n shown {account.delivered}\n")
        lines.append(f" doubled {account.duplicated}   reordered {account.reordered}\n")
        lines.append(f" ack p50 {account.ack_p50_ms} ms   p99 {account.ack_p99_ms} ms\n")
        lines.append(f" longest gap {account.longest_gap_s} s\n\n")
        lines.extend(("event", f" {event}\n") for event in list(story.events)[-8:])
        return lines

    def _kill(self) -> None:
        victim = self._story.primary()
        if victim is not None and self._story.cluster.servers[victim].is_running:
            self._story.kill(victim)
            self._down.add(victim)

    def _restart(self) -> None:
        for index in sorted(self._down):
            self._nursery.start_soon(self._story.restart, index)
        self._down.clear()

    def _part(self) -> None:
        victim = self._story.primary()
        if victim is not None:
            self._story.cluster.part(victim)
            self._story.tell(f"parted {self._story.cluster.servers[victim].place.name} from its peers")

    def _heal(self) -> None:
        self._story.cluster.heal()
        self._story.tell("healed the network")

    def _quit(self) -> None:
        self._stopped.set()


async def run_panes(folder: Path) -> Report:
    """The demo with a person at the keyboard; gives the account when they quit."""
    async with open_story(folder) as story, trio.open_nursery() as nursery:
        for name in PEOPLE:
            nursery.start_soon(story.listen, name)
            nursery.start_soon(story.talk, name)
        nursery.start_soon(story.watch)
        panes = Panes(story, nursery)
        event_loop = urwid.TrioEventLoop()
        loop = urwid.MainLoop(panes.widget, PALETTE, event_loop=event_loop)
        async with trio.open_nursery() as screen:
            with loop.start():
                screen.start_soon(event_loop.run_async)
                await panes.run(loop)
                screen.cancel_scope.cancel()
        story.cluster.heal()
        for index in range(len(story.cluster.servers)):
            await story.restart(index)
        story.hush()
        await story.settle()
        report = await story.report()
        nursery.cancel_scope.cancel()
    return report
