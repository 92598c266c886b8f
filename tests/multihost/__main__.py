"""`python -m tests.multihost --rounds 200 --seed 7`: faults under load on hosts of their own; a table, and JSON on stdout.

    --people                              two people with full clients (MLS) instead of opaque entries
    --kinds kill_primary,silent_primary   only these faults
    --hold 2                              every fault lasts two seconds
    --keep DIR                            data folders and logs stay there

Needs root and `ip`. The seed is printed; with it the same faults are drawn again.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from tests.multihost.faults import Kind
from tests.multihost.network import why_not
from tests.multihost.people import talk
from tests.multihost.rounds import Plan, Report, Round, play

CONSOLE = Console(stderr=True, highlight=False, soft_wrap=True)
NOT_PERMITTED = 3
INTERRUPTED = 130


def tell(played: Round) -> None:
    """A line for each round, as it ends."""
    victims = ",".join(f"n{index + 1}" for index in played.victims)
    CONSOLE.print(
        f"{played.number:4} {played.kind.value:15} {victims:9} hold {played.hold_s:4.1f} s  acked {played.acked:5}"
        f"  gap {played.gap_s:6.3f} s  member {played.member_gap_s:6.3f} s  recovered {played.recovered_s:6.3f} s"
        f" {played.failure}"
    )


def gaps(report: Report) -> dict[str, dict[str, float]]:
    """Median and maximum by kind of fault, seconds."""
    figures = {}
    for kind in Kind:
        rounds = [played for played in report.rounds if played.kind is kind]
        if rounds:
            figures[kind.value] = {
                "rounds": len(rounds),
                "gap_median_s": round(statistics.median(played.gap_s for played in rounds), 3),
                "gap_max_s": max(played.gap_s for played in rounds),
                "member_gap_median_s": round(statistics.median(played.member_gap_s for played in rounds), 3),
                "member_gap_max_s": max(played.member_gap_s for played in rounds),
                "recovered_max_s": max(played.recovered_s for played in rounds),
            }
    return figures


def show(report: Report) -> None:
    """The tables for people."""
    table = Table("fault", "rounds", "gap median", "max", "member's", "max", "recovered max", title="seconds")
    for kind, figures in gaps(report).items():
        table.add_row(kind, *(f"{value:g}" for value in figures.values()))
    CONSOLE.print(table)
    for name, value in msgspec.structs.asdict(report.account).items():
        CONSOLE.print(f"{name:18} {value}")
    for text in (*report.failures, *report.examples):
        CONSOLE.print(text)


def parse() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.multihost", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--servers", type=int, default=5)
    parser.add_argument("--members", type=int, default=6)
    parser.add_argument("--kinds", default="", help="comma-separated; all by default")
    parser.add_argument("--hold", type=float, default=None, help="seconds that every fault lasts")
    parser.add_argument("--clocks", action="store_true", help="under libfaketime, so that clocks can jump")
    parser.add_argument("--people", action="store_true", help="two people with full clients")
    parser.add_argument("--disk-mib", type=int, default=0, help="a disk of that size for each, so that it can be full")
    parser.add_argument("--keep", type=Path, default=None, help="where data folders and logs stay")
    options = parser.parse_args()
    unknown = sorted(set(options.kinds.split(",")) - {"", *(kind.value for kind in Kind)})
    if unknown:
        parser.error(f"no such fault: {', '.join(unknown)}; there are {', '.join(kind.value for kind in Kind)}")
    return options


def main() -> int:
    """Run, print, and say by the exit code whether it was clean."""
    options = parse()
    reason = why_not()
    if reason:
        CONSOLE.print(reason)
        return NOT_PERMITTED
    seed = random.SystemRandom().getrandbits(32) if options.seed is None else options.seed
    CONSOLE.print(f"seed {seed}")
    plan = Plan(
        seed=seed, rounds=options.rounds, servers=options.servers, members=options.members, hold_s=options.hold,
        kinds=tuple(Kind(name) for name in options.kinds.split(",")) if options.kinds else tuple(Kind),
        has_clocks=options.clocks, disk_mib=options.disk_mib,
    )  # fmt: skip
    with ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="samtala-multihost-")))
        if options.people:
            people = talk(plan, folder)
            print(msgspec.json.encode(people).decode())
            return 0 if people.is_clean else 1
        report = play(plan, folder, tell)
    show(report)
    summary = {
        "seed": seed, "seconds": report.seconds, "rounds": len(report.rounds), "gaps": gaps(report),
        "account": msgspec.to_builtins(report.account), "failures": report.failures, "examples": report.examples,
    }  # fmt: skip
    print(json.dumps(summary))
    return 0 if report.is_clean else 1


if __name__ == "__main__":
    code = INTERRUPTED
    try:
        code = main()
    except* KeyboardInterrupt:
        CONSOLE.print("interrupted; what was made for it is gone")
    sys.exit(code)
