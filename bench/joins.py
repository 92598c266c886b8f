"""A link goes around: so many people join one room within seconds, on three real server processes.

    python -m bench.joins [--people N] [--within SECONDS] [--alone]

Prints JSON: who got in, after how many seconds, with how many commits and entries in the log. `--alone`: nobody knocks, each
makes an external commit, as it was before knocks. All newcomers are in this process and share its processor with the servers.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import msgspec
import trio

from client import limits
from client.client import open_client
from client.errors import SamtalaError
from samtala.demo.cluster import open_cluster

S_MAX = 90.0
"""Seconds after which those who are not in yet count as left out."""

SETTLE_S = 2.0
"""Seconds for the first member to read what the last newcomer caused."""


class Storm(msgspec.Struct, frozen=True, kw_only=True):
    """What one crowd costs."""

    people: int
    joined: int
    took_s: float
    commits: int
    entries: int


async def storm(folder: Path, people: int, within_s: float) -> Storm:
    """Let a crowd in."""
    joined: list[float] = []

    async def guest(link: str, number: int) -> None:
        await trio.sleep(number / people * within_s)
        async with open_client(folder / f"guest-{number}", name=f"guest {number}") as client:
            try:
                await client.join(link)
            except SamtalaError:
                return
            joined.append(time.monotonic())

    async with open_cluster(folder / "servers", has_gates=False) as cluster, open_client(folder / "host") as host:
        room = await host.create_room("storm", nodes=cluster.addresses)
        begun = time.monotonic()
        with trio.move_on_after(S_MAX):
            async with trio.open_nursery() as nursery:
                for number in range(people):
                    nursery.start_soon(guest, room.link, number)
        took_s = max(joined, default=begun) - begun
        await trio.sleep(SETTLE_S)
        return Storm(
            people=people, joined=len(joined), took_s=round(took_s, 1), commits=room.epoch, entries=room.sequence
        )


def main() -> None:
    """Measure one crowd."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=100)
    parser.add_argument("--within", type=float, default=3.0, help="seconds over which they come")
    parser.add_argument("--alone", action="store_true", help="without knocks")
    arguments = parser.parse_args()
    if arguments.alone:
        limits.KNOCK_AFTER = limits.JOIN_ATTEMPTS_MAX + 1  # type: ignore[misc]  # to compare with
    with tempfile.TemporaryDirectory(prefix="samtala-bench-") as folder:
        figures = trio.run(storm, Path(folder), arguments.people, arguments.within)
    print(msgspec.json.encode(figures).decode())


if __name__ == "__main__":
    main()
