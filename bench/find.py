"""From a link to a room's servers on the command line: interpreter, profile, one round trip to a hint, and the answer.

    python -m bench --only find        JSON: milliseconds of the whole process, and of the search within it

Every run is a process of its own with a new profile, and a DHT node in this one pins the record. Modules are compiled
beforehand, as an installer does it, whatever the environment says. Target: 400 ms (dht.md §4).
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import msgspec
import trio

from dht.node import open_node
from wire.descriptor import Descriptor, Replica, RoomRoot, descriptor_seq
from wire.link import Hint, Link

RUNS = 9


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds: of the process from start to exit, with a new profile and with a known one; of the processor for it; and
    of the search to its first answer. On a busy machine only the processor's time says anything.
    """

    new_profile_p50_ms: float
    known_profile_p50_ms: float
    known_profile_cpu_p50_ms: float
    first_answer_p50_ms: float


class _Run(NamedTuple):
    """One process."""

    took_ms: float
    cpu_ms: float
    answered_ms: float


def run() -> Finding:
    """Measure."""
    return trio.run(_measure)


async def _measure() -> Finding:
    root, secret = RoomRoot(b"r" * 32), b"s" * 16
    replicas = (Replica(node_key=b"n" * 32, port=7610, ipv4="192.0.2.1"),)
    descriptor = Descriptor(issued_hours=1, valid_hours=1, replicas=replicas)
    async with open_node() as node:
        node.pin(root.sign_descriptor(descriptor, link_secret=secret, seq=descriptor_seq(0, 1)))
        host, port = node.address
        link = Link(root_public=root.public, secret=secret, hints=(Hint(host=host, port=port),)).to_text()
        with tempfile.TemporaryDirectory(prefix="samtala-bench-") as folder:
            await _command(Path(folder) / "first", link)
            new = [await _command(Path(folder) / str(number), link) for number in range(RUNS)]
            known = [await _command(Path(folder) / "0", link) for _ in range(RUNS)]
    return Finding(
        new_profile_p50_ms=round(statistics.median(run.took_ms for run in new), 1),
        known_profile_p50_ms=round(statistics.median(run.took_ms for run in known), 1),
        known_profile_cpu_p50_ms=round(statistics.median(run.cpu_ms for run in known), 1),
        first_answer_p50_ms=round(statistics.median(run.answered_ms for run in new), 2),
    )


async def _command(profile: Path, link: str) -> _Run:
    command = [sys.executable, "-m", "samtala", "--profile", str(profile), "room", "info", link, "--trace", "--json"]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    env["PYTHONPYCACHEPREFIX"] = str(profile.parent / "compiled")
    cpu_before = _children_s()
    began = time.perf_counter()
    done = await trio.run_process(command, capture_stdout=True, env=env)
    took_ms = (time.perf_counter() - began) * 1000
    trace = json.loads(done.stdout)["trace"]
    answered_ms = min(attempt["ms"] for attempt in trace if attempt["version"] is not None)
    return _Run(took_ms, (_children_s() - cpu_before) * 1000, answered_ms)


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
