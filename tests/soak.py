"""A big room that never rests: `make soak MINUTES=10`, or `python -m tests.soak --minutes 10 --members 200 --seed 7`.

Three real server processes, of which one is killed (SIGKILL) every half minute and started again; all members in this process,
each with its own profile, keys, store and connection. Several things happen at once: members join in storms, speak, leave, are
removed, change keys; and whatever they are just doing, some are dropped in the middle of it and come back. At the end everybody
catches up, and what each of them has is compared with what the founder has, place by place.

One JSON object is printed; the exit code is 0 only if nothing was lost, doubled, reordered, undecryptable or alarming for anybody,
who left included, everybody who should be there is, and all agree on the room's code.
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

from client.client import Client, open_client
from client.errors import OutcomeUnknownError, RefusedError, SamtalaError, UnavailableError
from client.room import Room
from tests.samtala.cli.servers import Community, open_community

JOINS_AT_ONCE = 24
"""People who come in together: a storm, let in by few commits."""
HANDS = 6
"""Things that happen at once."""
CRASH_EVERY_S = (2.0, 8.0)
KILL_EVERY_S = 30.0
DOWN_S = 4.0
HEAR_S_MAX = 10.0
SETTLE_S_MAX = 180.0
COUNTED = (
    "joined", "left", "removed", "crashed", "crashed_busy", "cut_off", "links_replaced", "servers_killed", "renewed", "sent",
)  # fmt: skip
ACTS = ("speak", "leave", "renew", "remove")
WEIGHTS = (93, 3, 2, 2)


class Member:
    """One person with one device; may crash and come back, with the same profile."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder / "people" / name
        self.room: Room | None = None
        self.is_in = False
        self.is_busy = False
        self.scope = trio.CancelScope()
        self.ready = trio.Event()
        self.ended = trio.Event()
        self.ended.set()

    async def live(self, soak: Soak, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Be online until `crash`; a join that was cut off is gone on with."""
        self.scope, self.ready, self.ended = trio.CancelScope(), trio.Event(), trio.Event()
        task_status.started()
        try:
            with self.scope:
                async with open_client(self.folder, name=self.name) as client:
                    self.room = await (client.room("soak") if self.is_in else soak.let_in(client))
                    self.is_in = True
                    self.ready.set()
                    await trio.sleep_forever()
        finally:
            self.room = None
            self.ended.set()
            self.ready.set()

    async def crash(self) -> None:
        """Go without a word, whatever is under way."""
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
        self.unknown: set[str] = set()
        """Texts whose sender crashed before it heard of them: there once, or not at all."""
        self.founder: Room | None = None
        self.filled_s: float | None = None
        """Seconds until everybody was in; None if they never were."""
        self._names = 0

    @property
    def link(self) -> str:
        """The room's link now."""
        assert self.founder is not None
        return self.founder.link

    async def let_in(self, client: Client) -> Room:
        """Join by the link; whoever has an old one by then asks for the new one, as people do."""
        while True:
            link, failure = self.link, None
            try:
                return await client.join(link)
            except (RefusedError, UnavailableError) as error:
                failure = error
            with trio.move_on_after(HEAR_S_MAX):  # The servers may know of the new one before its owner does.
                while link == self.link:  # noqa: ASYNC110 - nobody tells of it
                    await trio.sleep(0.05)
            if link == self.link:
                raise failure
            self.counts["links_replaced"] += 1

    async def run(self, minutes: float) -> dict[str, object]:
        """Everything; returns what is printed."""
        began = time.monotonic()
        async with open_client(self.community.folder / "people" / "founder", name="founder") as client:
            self.founder = await client.create_room("soak", nodes=self.community.addresses[:1])
            async with trio.open_nursery() as nursery:
                with trio.move_on_after(minutes * 60):
                    await self._fill(nursery)
                    self.filled_s = round(time.monotonic() - began, 1)
                    await self._shake(nursery)
                await self._bring_back(nursery)
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

    async def _shake(self, nursery: trio.Nursery) -> None:
        async with trio.open_nursery() as shaking:
            shaking.start_soon(self._kill_servers)
            shaking.start_soon(self._crash_members, nursery)
            for _ in range(HANDS):
                shaking.start_soon(self._act_again_and_again, nursery)

    async def _kill_servers(self) -> None:
        while True:
            await trio.sleep(KILL_EVERY_S)
            place = self.random.randrange(3)
            with trio.CancelScope(shield=True):  # A server that was killed is always started again.
                await trio.to_thread.run_sync(self.community.kill, place)
                self.counts["servers_killed"] += 1
                await trio.sleep(DOWN_S)
                await trio.to_thread.run_sync(self.community.restart, place)

    async def _crash_members(self, nursery: trio.Nursery) -> None:
        while True:
            await trio.sleep(self.random.uniform(*CRASH_EVERY_S))
            busy = [member for member in self.members if member.is_busy]
            member = self.random.choice(busy or self.members)
            self.counts["crashed"] += 1
            self.counts["crashed_busy"] += member.is_busy
            await member.crash()
            await self._return(member, nursery)

    async def _return(self, member: Member, nursery: trio.Nursery) -> None:
        if member in self.members:
            await nursery.start(member.live, self)
            await member.ready.wait()

    async def _join(self, nursery: trio.Nursery) -> None:
        self._names += 1
        member = Member(f"member-{self._names}", self.community.folder)
        self.members.append(member)
        self.counts["joined"] += 1
        await nursery.start(member.live, self)
        await member.ready.wait()

    async def _act_again_and_again(self, nursery: trio.Nursery) -> None:
        while True:
            idle = [member for member in self.members if member.room is not None and not member.is_busy]
            if not idle:
                await trio.sleep(0.1)
                continue
            member = self.random.choice(idle)
            member.is_busy = True
            try:
                await self._act(member, nursery)
            except (OutcomeUnknownError, UnavailableError):
                self.counts["cut_off"] += 1  # It crashed meanwhile.
            finally:
                member.is_busy = False

    async def _act(self, member: Member, nursery: trio.Nursery) -> None:
        (act,) = self.random.choices(ACTS, WEIGHTS)
        match act:
            case "speak":
                await self._speak(member)
            case "leave" | "remove":
                await self._part_with(member, act)
                await self._join(nursery)
            case _:
                assert member.room is not None
                self.counts["renewed"] += 1
                await member.room.update_keys()

    async def _speak(self, member: Member) -> None:
        assert member.room is not None
        self.counts["sent"] += 1
        text = f"{member.name} says {self.counts['sent']}"
        self.unknown.add(text)
        await member.room.send(text)
        self.unknown.discard(text)
        self.acknowledged.add(text)

    async def _part_with(self, member: Member, how: str) -> None:
        assert self.founder is not None
        room = member.room
        assert room is not None
        self.members.remove(member)
        if how == "leave":
            await room.say_goodbye()
        self.counts["left" if how == "leave" else "removed"] += 1
        self._count_wrongs(room)
        await member.crash()
        await self.founder.caught_up()
        for candidate in await self.founder.members():
            if candidate.name == member.name:
                await self.founder.remove(candidate)

    def _count_wrongs(self, room: Room) -> None:
        self.counts["undecryptable"] += room.undecryptable
        self.counts["alarms"] += room.alarms

    async def _bring_back(self, nursery: trio.Nursery) -> None:
        """Time is up in the middle of something: whoever is down or half in comes back."""
        with trio.move_on_after(SETTLE_S_MAX):
            async with trio.open_nursery() as returning:
                for member in self.members:
                    if member.room is None:
                        await member.crash()
                        returning.start_soon(self._return, member, nursery)

    @property
    def _rooms(self) -> list[Room]:
        assert self.founder is not None
        return [self.founder, *(member.room for member in self.members if member.room is not None)]

    async def _settle(self) -> None:
        assert self.founder is not None
        sent = await self.founder.send("the end")
        for room in self._rooms:
            async for message in room.messages(sent.sequence - 1):
                assert message.text == "the end", message
                break

    async def _judge(self) -> dict[str, object]:
        assert self.founder is not None
        rooms = self._rooms
        truth, _ = await _all_of(self.founder)
        texts = Counter(truth.values())
        for room in rooms:
            self._count_wrongs(room)
            await self._compare(room, truth)
        return {
            "members": len(rooms),
            "filled_s": self.filled_s,
            **{name: self.counts[name] for name in COUNTED},
            "acked": len(self.acknowledged),
            "unknown": len(self.unknown),
            "unknown_but_there": sum(text in texts for text in self.unknown),
            "lost": sum(text not in texts for text in self.acknowledged),
            "duplicated": sum(count > 1 for count in texts.values()),
            **{
                name: self.counts[name]
                for name in ("compared", "missing", "strange", "reordered", "undecryptable", "alarms")
            },
            "over": sum(room.is_over for room in rooms),
            "absent": len(self.members) + 1 - len(rooms),
            "epochs": self.founder.epoch,
            "codes": len({room.code for room in rooms}),
        }

    async def _compare(self, room: Room, truth: dict[int, str]) -> None:
        """What one member has with what the founder has: all since it came, in the same places."""
        mine, since = await _all_of(room)
        self.counts["compared"] += len(mine)
        self.counts["reordered"] += list(mine) != sorted(mine)
        self.counts["strange"] += sum(truth.get(sequence) != text for sequence, text in mine.items())
        self.counts["missing"] += sum(sequence not in mine for sequence in truth if sequence > since)


async def _all_of(room: Room) -> tuple[dict[int, str], int]:
    """Messages by their places, in the order in which they are shown; and the place where this device came in."""
    found: dict[int, str] = {}
    quest = room._driver._core.past.quest
    async for message in room.messages(0):
        assert message.sequence not in found, f"shown twice: {message}"
        found[message.sequence] = message.text
        if message.text == "the end":
            break
    return found, 0 if quest is None else quest.cursor.sequence


def is_clean(result: dict[str, object]) -> bool:
    """Whether nothing went wrong."""
    wrong = ("lost", "duplicated", "missing", "strange", "reordered", "undecryptable", "alarms", "over", "absent")
    is_whole = bool(result["settled"]) and result["filled_s"] is not None
    return is_whole and result["codes"] == 1 and not any(result[name] for name in wrong)


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
