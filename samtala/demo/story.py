"""What happens in the demo: two people talk, the primary dies, they go on talking, it comes back; then the account.

The story runs on a real cluster with two real clients. `Story` is also what the panes look at: it holds the last lines
that each person was shown, the room's state as the servers tell it, and a log of what was done to them.
"""

from __future__ import annotations

import itertools
import re
import secrets
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import trio

import samtala
from samtala.demo.canary import hits_in, hits_in_folder, needles
from samtala.demo.cluster import Cluster, open_cluster
from samtala.demo.ledger import Ledger
from wire.identity import key_text
from wire.messages import RoomStatus

PEOPLE = ("alice", "bob")
LINES_SHOWN = 200
SEND_PAUSE_S = 0.05
SETTLE_S_MAX = 20.0
STATUS_PAUSE_S = 0.25
WORDS = ("hej", "did you see that?", "still here", "nothing lost", "who was primary?", "tea?", "yes", "on my way")


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The demo's figures, all counted from what clients really sent and really decrypted. Names are fixed."""

    replicas: int
    clients: int
    sent: int
    acked: int
    delivered: int
    lost: int
    duplicated: int
    reordered: int
    undecryptable: int
    kills: int
    view_changes: int
    longest_gap_s: float
    ack_p50_ms: float
    ack_p99_ms: float
    plaintext_hits: int
    metrics_url: str

    @property
    def is_clean(self) -> bool:
        """Was every promise kept?"""
        broken = (self.lost, self.duplicated, self.reordered, self.undecryptable, self.plaintext_hits)
        return not any(broken)


class Story:
    """A running demo: the cluster, the people, their room, and what became of every message."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.canary = f"canary-{secrets.token_hex(8)}"
        self.ledger = Ledger(list(PEOPLE))
        self.rooms: dict[str, samtala.Room] = {}
        self.lines: dict[str, deque[str]] = {name: deque(maxlen=LINES_SHOWN) for name in PEOPLE}
        self.events: deque[str] = deque(maxlen=LINES_SHOWN)
        self.status: RoomStatus | None = None
        self.kills = 0
        self._views: set[int] = set()
        self._counter = itertools.count(1)
        self._talking = True
        self._busy_senders = 0

    @property
    def metrics_url(self) -> str:
        """Where the first server tells Prometheus about itself."""
        return f"http://127.0.0.1:{self.cluster.servers[0].place.metrics_port}/metrics"

    def hush(self) -> None:
        """Nobody starts another message."""
        self._talking = False

    async def listen(self, name: str) -> None:
        """Show `name` everything that their client decrypts, until cancelled."""
        async for message in self.rooms[name].messages(since=0):
            text, _, unique = message.text.partition(" | ")
            self.ledger.shown(name, message.sequence, message.text)
            self.lines[name].append(f"{message.sender.name}: {text}" if unique else message.text)

    async def talk(self, name: str) -> None:
        """Say something about twenty times a second, one message after the other, until hushed."""
        while self._talking:
            self._busy_senders += 1
            await self.say(name, secrets.choice(WORDS))
            self._busy_senders -= 1
            await trio.sleep(SEND_PAUSE_S)

    async def say(self, name: str, words: str) -> None:
        """One message, kept in the ledger; returns when it is acknowledged."""
        text = f"{words} | {name} {next(self._counter)} {self.canary}"
        self.ledger.sent(text, trio.current_time())
        sent = await self.rooms[name].send(text)
        self.ledger.acknowledged(text, sent.sequence, trio.current_time())

    async def watch(self) -> None:
        """Keep `status` fresh, until cancelled."""
        while True:
            await self.look()
            await trio.sleep(STATUS_PAUSE_S)

    async def look(self) -> None:
        """Ask for the room's status once."""
        with trio.move_on_after(1):
            try:
                self.status = await self.rooms["alice"].status()
                self._views.add(self.status.view)
            except samtala.SamtalaError:
                self.status = None

    def primary(self) -> int | None:
        """Which server leads the room, as last heard."""
        if self.status is None:
            return None
        keys = [server.place.address.rpartition("#")[2] for server in self.cluster.servers]
        leader = key_text(self.status.primary)
        return keys.index(leader) if leader in keys else None

    def kill(self, index: int) -> None:
        """SIGKILL a server."""
        self.cluster.servers[index].kill()
        self.kills += 1
        self.tell(f"killed server {self.cluster.servers[index].place.name} (SIGKILL)")

    async def restart(self, index: int) -> None:
        """Start a dead server again on the same disk."""
        server = self.cluster.servers[index]
        if not server.is_running:
            server.start()
            await server.ready()
            self.tell(f"server {server.place.name} is back, with the disk it died with")

    def tell(self, event: str) -> None:
        """Note something that was done, for whoever watches."""
        self.events.append(event)

    async def settle(self) -> None:
        """Wait until everything acknowledged has been shown to everybody, or SETTLE_S_MAX seconds are over."""
        with trio.move_on_after(SETTLE_S_MAX):
            while self._busy_senders or self.ledger.missing():  # noqa: ASYNC110  # two clients have to get there
                await trio.sleep(STATUS_PAUSE_S / 10)

    async def report(self) -> Report:
        """The account of everything until now. Call it with all servers running."""
        forms = needles(self.canary)
        metrics = await self.cluster.metrics()
        hits = sum(hits_in(text.encode(), forms) for text in metrics)
        for server in self.cluster.servers:
            hits += await trio.to_thread.run_sync(hits_in_folder, server.place.folder, forms)
        account = self.ledger.account()
        return Report(
            replicas=len(self.cluster.servers),
            **msgspec.structs.asdict(account),
            undecryptable=sum(room.undecryptable for room in self.rooms.values()),
            kills=self.kills,
            view_changes=_view_changes(metrics, self._views),
            plaintext_hits=hits,
            metrics_url=self.metrics_url,
        )


def _view_changes(metrics: list[str], views: set[int]) -> int:
    """View changes as the servers count them, or as the clients saw views rise, whichever is more."""
    counted = 0.0
    for text in metrics:
        pattern = r"^samtala_view_changes_total(?:\{[^}]*\})? ([0-9.e+]+)$"
        counted = max(counted, sum(float(value) for value in re.findall(pattern, text, re.MULTILINE)))
    return max(int(counted), len(views) - 1)


@asynccontextmanager
async def open_story(folder: Path) -> AsyncIterator[Story]:
    """Three servers, one room, two people in it.

    Raises:
        ServerFailedError: a server does not come up.
        SamtalaError: the room cannot be made or joined.
    """
    async with open_cluster(folder / "servers") as cluster, story_on(cluster, folder / "people") as story:
        yield story


@asynccontextmanager
async def story_on(cluster: Cluster, profiles: Path) -> AsyncIterator[Story]:
    """One room on running servers, and two people in it, whose clients keep what they know below `profiles`.

    Raises:
        SamtalaError: the room cannot be made or joined.
    """
    story = Story(cluster)
    async with (
        samtala.open_client(profile=profiles / "alice", name="alice") as alice,
        samtala.open_client(profile=profiles / "bob", name="bob") as bob,
    ):
        story.rooms["alice"] = await alice.create_room("lobby", nodes=[cluster.servers[0].place.address])
        story.rooms["bob"] = await bob.join(story.rooms["alice"].link)
        await story.look()
        yield story


async def run_headless(folder: Path, seconds: float) -> Report:
    """The whole story without a terminal: kill the primary once at 40 % of the time, restart it at 60 %."""
    async with open_story(folder) as story, trio.open_nursery() as listeners:
        for name in PEOPLE:
            listeners.start_soon(story.listen, name)
        listeners.start_soon(story.watch)
        async with trio.open_nursery() as senders:
            for name in PEOPLE:
                senders.start_soon(story.talk, name)
            await trio.sleep(seconds * 0.4)
            await story.look()
            victim = story.primary() or 0
            story.kill(victim)
            await trio.sleep(seconds * 0.2)
            await story.restart(victim)
            await trio.sleep(seconds * 0.4)
            story.hush()
        await story.settle()
        report = await story.report()
        listeners.cancel_scope.cancel()
    return report
