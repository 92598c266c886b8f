"""`make bench`: W1, W2 and W6 of the performance brief against three real server processes, as a table and as JSON.

| workload | what |
|---|---|
| W1 | one sender, one 300-byte entry at a time: acknowledgement p50 and p99, milliseconds |
| W2 | one room, 8 members each keeping 64 entries in flight and receiving everything: appends/s and deliveries/s |
| W6 | the primary is killed with SIGKILL under W1: the longest time without an acknowledgement, seconds |

`--only vr` measures the replication core alone (bench/vr_core.py), in seconds instead of a minute; `--only idle`
rooms that nobody uses (bench/idle_rooms.py), in a minute or two; `--only dht` the DHT in virtual time beside its targets
(bench/dht_nodes.py), in a minute; `--only find` the way from a link to the room's servers (bench/find.py), in half a
minute.

Then MLS alone, in groups of 10 to 5,000 members (`python -m bench.mls_groups` does only this), and the DHT in virtual time.

The load generator shares this machine's cores with the servers. Entries are opaque: no MLS on either side.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import trio
from rich.console import Console
from rich.table import Table

from bench import dht_nodes, find, idle_rooms, machine, mls_groups, rooms, vr_core
from samtala.demo.cluster import open_cluster

RESULTS = Path(__file__).parent / "results"


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """One run, with the machine's own limits beside it."""

    machine: machine.MachineLimits
    one_sender: rooms.OneSender
    pipelined: rooms.Pipelined
    failover: rooms.Failover
    mls: mls_groups.MlsFigures
    dht: list[dht_nodes.DhtFigure]


async def run(folder: Path, seconds: float) -> Figures:
    """All workloads, one after the other, each in a room of its own on one cluster."""
    limits = machine.measure(folder)
    async with open_cluster(folder, has_gates=False) as cluster:
        one_sender = await rooms.one_sender(cluster, seconds)
        pipelined = await rooms.pipelined(cluster, seconds)
        failover = await rooms.failover(cluster)
    return Figures(
        machine=limits,
        one_sender=one_sender,
        pipelined=pipelined,
        failover=failover,
        mls=mls_groups.run(),
        dht=dht_nodes.run(),
    )


def show(figures: Figures) -> None:
    """The table for people, on standard error."""
    table = Table("figure", "Samtala", "this machine")
    limits, one, many = figures.machine, figures.one_sender, figures.pipelined
    table.add_row("fdatasync 4 KiB p50 / p99, ms", "", f"{limits.fdatasync_p50_ms} / {limits.fdatasync_p99_ms}")
    table.add_row("three fdatasyncs at once p50, ms", "", f"{limits.fdatasync_three_files_p50_ms}")
    table.add_row(
        "loopback round trip p50 / p99, ms",
        "",
        f"{limits.loopback_round_trip_p50_ms} / {limits.loopback_round_trip_p99_ms}",
    )
    table.add_row("W1 ack p50 / p99, ms", f"{one.ack_p50_ms} / {one.ack_p99_ms}", "")
    table.add_row("W2 appends/s", f"{many.appends_per_s:,.0f}", "")
    table.add_row("W2 deliveries/s", f"{many.deliveries_per_s:,.0f}", "")
    table.add_row("W6 longest gap without an ack, s", f"{figures.failover.longest_gap_s}", "")
    console = Console(stderr=True)
    console.print(table)
    console.print(mls_groups.table_of(figures.mls))
    console.print(dht_nodes.table_of(figures.dht))


def main() -> int:
    """Run, print, and keep the JSON in bench/results/."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="duration of W1 and of W2")
    parser.add_argument("--only", choices=["vr", "idle", "dht", "find"], help="only one part, in this process")
    options = parser.parse_args()
    if options.only == "vr":
        print(json.dumps(msgspec.to_builtins(vr_core.run())))
        print(json.dumps(msgspec.to_builtins(vr_core.run_digests())))
        return 0
    if options.only == "idle":
        print(json.dumps(msgspec.to_builtins(idle_rooms.run())))
        return 0
    if options.only == "dht":
        dht = dht_nodes.run()
        Console(stderr=True).print(dht_nodes.table_of(dht))
        print(json.dumps(msgspec.to_builtins(dht)))
        return 0
    if options.only == "find":
        print(json.dumps(msgspec.to_builtins(find.run())))
        return 0
    with tempfile.TemporaryDirectory(prefix="samtala-bench-") as folder:
        figures = trio.run(run, Path(folder), options.seconds)
    show(figures)
    text = json.dumps(msgspec.to_builtins(figures))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{int(time.time())}.json").write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
