"""What this machine can do at best: stable writes and loopback round trips, measured in the same run as Samtala."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
from pathlib import Path

import msgspec

from samtala.demo.ledger import percentile

PAGE_BYTES = 4096
SYNCS = 400
ROUND_TRIPS = 4000


class MachineLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds, medians and 99th percentiles. `fdatasync` overwrites 4 KiB; the round trip is two processes' worth of threads."""

    fdatasync_p50_ms: float
    fdatasync_p99_ms: float
    fdatasync_three_files_p50_ms: float
    loopback_round_trip_p50_ms: float
    loopback_round_trip_p99_ms: float


def measure(folder: Path) -> MachineLimits:
    """Measure on the file system that holds `folder`; about a second."""
    single = _syncs(folder, files=1)
    triple = _syncs(folder, files=3)
    trips = _round_trips()
    return MachineLimits(
        fdatasync_p50_ms=_ms(single, 0.5),
        fdatasync_p99_ms=_ms(single, 0.99),
        fdatasync_three_files_p50_ms=_ms(triple, 0.5),
        loopback_round_trip_p50_ms=_ms(trips, 0.5),
        loopback_round_trip_p99_ms=_ms(trips, 0.99),
    )


def _ms(durations_s: list[float], share: float) -> float:
    return round(percentile(durations_s, share) * 1000, 3)


def _syncs(folder: Path, *, files: int) -> list[float]:
    """Durations of one preallocated 4 KiB overwrite and its fdatasync, `files` threads at once."""
    durations: list[float] = []

    def work() -> None:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(PAGE_BYTES * 16))
            os.fsync(file.fileno())
            for turn in range(SYNCS // files):
                start = time.perf_counter()
                os.pwrite(file.fileno(), bytes(PAGE_BYTES), PAGE_BYTES * (turn % 16))
                os.fdatasync(file.fileno())
                durations.append(time.perf_counter() - start)

    _run_threads(work, files)
    return durations


def _round_trips() -> list[float]:
    durations: list[float] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def echo() -> None:
            peer, _ = server.accept()
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with peer:
                while data := peer.recv(PAGE_BYTES):
                    peer.sendall(data)

        thread = threading.Thread(target=echo)
        thread.start()
        with socket.create_connection(server.getsockname()) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(ROUND_TRIPS):
                start = time.perf_counter()
                client.sendall(bytes(300))
                client.recv(PAGE_BYTES)
                durations.append(time.perf_counter() - start)
        thread.join()
    return durations


def _run_threads(work: object, count: int) -> None:
    assert callable(work)
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
