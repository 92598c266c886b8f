"""The admin socket: a Unix socket by which `samtala status`, `top` and `doctor` ask a running node.

    GET /status               report.NodeReport
    GET /rooms?top=N&order=O  a list of report.RoomReport, watched for a second
    GET /room?label=L         report.RoomDetail, or 404
    GET /tasks                what every trio task waits for
    GET /metrics              as on the metrics port, which may be off

HTTP with JSON bodies, so that `curl --unix-socket` does. Who may open the file may ask: it has mode 0600 from the moment
it exists. It can tell, and not change. The data folder is locked by then, so a file of that name is a dead node's.
"""

from __future__ import annotations

import os
import socket
import stat
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs

import msgspec
import trio

from room_server import limits
from room_server.config import ADMIN_SOCKET_BYTES_MAX
from room_server.errors import StartError
from room_server.health import HealthSource, metrics_answer
from room_server.http import JSON, Answer, Routes, serve_http
from room_server.report import RoomOrder
from room_server.reporter import Reporter
from room_server.tasks import task_tree

_MODE: Final = 0o600
_BACKLOG: Final = 16
_ROOMS_DEFAULT: Final = 50


def open_admin_socket(path: Path) -> trio.SocketListener:
    """Listen on a Unix socket that only this user may open; a dead node's socket is replaced.

    Raises:
        StartError: it cannot be made there.
    """
    if len(os.fsencode(path)) > ADMIN_SOCKET_BYTES_MAX:
        raise StartError(f"admin.socket: {path} has more than {ADMIN_SOCKET_BYTES_MAX} bytes: set a shorter one")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(~_MODE & 0o777)
    try:
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
            path.unlink()
        listener.bind(str(path))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise StartError(f"admin.socket: cannot listen on {path}: {error.strerror or error}") from error
    finally:
        os.umask(before)
    return trio.SocketListener(trio.socket.from_stdlib_socket(listener))


async def serve_admin(listener: trio.SocketListener, reporter: Reporter, health: HealthSource) -> None:
    """Answer on `listener` until cancelled."""
    routes: Routes = {
        b"/status": partial(_status, reporter),
        b"/rooms": partial(_rooms, reporter),
        b"/room": partial(_room, reporter),
        b"/tasks": _tasks,
        b"/metrics": partial(metrics_answer, health),
    }
    await serve_http(listener, routes)


async def _status(reporter: Reporter, _query: bytes) -> Answer:
    return Answer(msgspec.json.encode(await reporter.node()), JSON)


async def _room(reporter: Reporter, query: bytes) -> Answer:
    [label] = parse_qs(query.decode("ascii", "replace")).get("label", [""])[:1]
    detail = reporter.room(label)
    if detail is None:
        return Answer(b"no such room here\n", status=404)
    return Answer(msgspec.json.encode(detail), JSON)


async def _tasks(_query: bytes) -> Answer:
    return Answer(task_tree().encode())


async def _rooms(reporter: Reporter, query: bytes) -> Answer:
    wanted = parse_qs(query.decode("ascii", "replace"))
    try:
        count = int(wanted.get("top", [str(_ROOMS_DEFAULT)])[0])
        order = RoomOrder(wanted.get("order", [RoomOrder.RATE])[0])
    except ValueError:
        return Answer(f"top=NUMBER&order={'|'.join(RoomOrder)}\n".encode(), status=400)
    rooms = await reporter.rooms(min(max(count, 0), limits.ADMIN_ROOMS_MAX), order)
    return Answer(msgspec.json.encode(rooms), JSON)
