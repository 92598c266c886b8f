"""A big room that never rests: `make soak MINUTES=10`, or `python -m tests.soak --minutes 10 --members 200 --seed 7`.

Three real server processes; all members in this process, each with its own profile, keys, store and connection. They
join, speak, leave, crash (dropped in the middle of whatever they do) and come back, change keys and are removed; at the end
everybody catches up. One JSON object is printed; the exit code is 0 only if nothing was lost, doubled, undecryptable or
alarming, and all members agree on the room's code.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import trio

from client.client import open_client
from client.errors import SamtalaError
from client.room import Room
from tests.samtala.cli.servers import Community, open_community

JOINS_AT_ONCE = 4
"""People who come in together: each join is a commit that everybody follows."""
SETTLE_S_MAX = 120.0
ACTS = ("speak", "leave", "crash", "renew", "remove")
WEIGHTS = (90, 3, 4, 2, 1)


class Member:
    """One person with one device; may crash and come back, with the same profile."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder / "people" / name
        self.room: Room | None = None
        self.is_in = False
        self.scope = trio.CancelScope()
        self.ended = trio.Event()

    async def live(self, soak: Soak, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Be online until `crash`."""
        self.scope, self.ended = trio.CancelScope(), trio.Event()
        try:
            with self.scope:
                async with open_client(self.folder, name=self.name) as client:
                    self.room = await (client.room("soak") if self.is_in else client.join(soak.link))
                    self.is_in = True
                    task_status.started()
                    await trio.sleep_forever()
        finally:
            self.room = None
            self.ended.set()

    async def crash(self) -> None:
        """Go without a word."""
        self.scope.cancel()
        await self.ended.wait()


class Soak:
    """The room, who is in it, and what is counted."""

    def __init__(self, community: Community, *, members_max: int, seed: int) -> None:
        self.community = community
        self.members_max = members_max
        self.random = random.Random(seed)
        self.members: list[Member] = []
        self.counts: Counter[str] = Counter()
        self.acknowledged: set[str] = set()
        self.founder: Room | None = None
        self.filled_s: float | None = None
        """Seconds until everybody was in; None if they never were."""
        self._names = 0

    @property
    def link(self) -> str:
        """The room's link now."""
        assert self.founder is not None
        return self.founder.link

    async def run(self, minutes: float) -> dict[str, object]:
        """Everything; returns what is printed."""
        began = time.monotonic()
        async with open_client(self.community.folder / "people" / "founder", name="founder") as client:
            self.founder = await client.create_room("soak", nodes=self.community.addresses[:1])
            async with trio.open_nursery() as nursery:
                with trio.move_on_after(minutes * 60):
                    await self._fill(nursery)
                    self.filled_s = round(time.monotonic() - began, 1)
                    while True:
                        await self._act(nursery)
                with trio.move_on_after(SETTLE_S_MAX) as settling:
                    await self._settle()
                result = await self._judge()
                nursery.cancel_scope.cancel()
        result["settled"] = not settling.cancelled_caught
        return result | {"seconds": round(time.monotonic() - began, 1)}

    async def _fill(self, nursery: trio.Nursery) -> None:
        while len(self.members) < self.members_max:
            async with trio.open_nursery() as joining:
                for _ in range(min(JOINS_AT_ONCE, self.members_max - len(self.members))):
                    joining.start_soon(self._join, nursery)
            await self._speak(self.random.choice(self.members))

    async def _join(self, nursery: trio.Nursery) -> None:
        self._names += 1
        member = Member(f"member-{self._names}", self.community.folder)
        self.members.append(member)
        self.counts["joined"] += 1
        await nursery.start(member.live, self)

    async def _act(self, nursery: trio.Nursery) -> None:
        (act,) = self.random.choices(ACTS, WEIGHTS)
        member = self.random.choice(self.members)
        match act:
            case "speak":
                await self._speak(member)
            case "leave" | "remove":
                await self._part_with(member, act)
                await self._join(nursery)
            case "crash":
                await member.crash()
                self.counts["crashed"] += 1
                await nursery.start(member.live, self)
            case _:
                assert member.room is not None
                self.counts["renewed"] += 1
                await member.room.update_keys()

    async def _speak(self, member: Member) -> None:
        assert member.room is not None
        self.counts["sent"] += 1
        text = f"{member.name} says {self.counts['sent']}"
        await member.room.send(text)
        self.acknowledged.add(text)

    async def _part_with(self, member: Member, how: str) -> None:
        assert self.founder is not None
        self.members.remove(member)
        if how == "leave":
            assert member.room is not None
            await member.room.say_goodbye()
        self.counts["left" if how == "leave" else "removed"] += 1
        await member.crash()
        await self.founder.caught_up()
        for candidate in await self.founder.members():
            if candidate.name == member.name:
                await self.founder.remove(candidate)

    @property
    def _rooms(self) -> list[Room]:
        assert self.founder is not None
        return [self.founder, *(member.room for member in self.members if member.room is not None)]

    async def _settle(self) -> None:
        assert self.founder is not None
        sent = await self.founder.send("the end")
        for room in self._rooms:
            async for _ in room.messages(sent.sequence - 1):
                break

    async def _judge(self) -> dict[str, object]:
        assert self.founder is not None
        seen: Counter[str] = Counter()
        with trio.move_on_after(SETTLE_S_MAX):
            async for message in self.founder.messages(0):
                seen[message.text] += 1
                if message.text == "the end":
                    break
        rooms = self._rooms
        return {
            "members": len(rooms),
            "filled_s": self.filled_s,
            **{name: self.counts[name] for name in ("joined", "left", "removed", "crashed", "renewed", "sent")},
            "acked": len(self.acknowledged),
            "lost": sum(text not in seen for text in self.acknowledged),
            "duplicated": sum(count > 1 for count in seen.values()),
            "undecryptable": sum(room.undecryptable for room in rooms),
            "alarms": sum(room.alarms for room in rooms),
            "over": sum(room.is_over for room in rooms),
            "epochs": self.founder.epoch,
            "codes": len({room.code for room in rooms}),
        }


def is_clean(result: dict[str, object]) -> bool:
    """Whether nothing went wrong."""
    wrong = ("lost", "duplicated", "undecryptable", "alarms", "over")
    return bool(result["settled"]) and result["codes"] == 1 and not any(result[name] for name in wrong)


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seconds", type=float, help="instead of minutes")
    parser.add_argument("--members", type=int, default=200)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()

    minutes = options.minutes if options.seconds is None else options.seconds / 60

    async def soak() -> dict[str, object]:
        return await Soak(community, members_max=options.members, seed=options.seed).run(minutes)

    with tempfile.TemporaryDirectory() as folder, open_community(Path(folder)) as community:
        try:
            result = trio.run(soak)
        except SamtalaError as error:
            result = {"error": str(error)}
    is_good = "error" not in result and is_clean(result)
    sys.stdout.write(json.dumps({"seed": options.seed, "ok": is_good, **result}) + "\n")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
