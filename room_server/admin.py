"""The admin socket: a Unix socket by which `samtala status`, `top`, `doctor` and `cluster` ask a running node.

    GET /status               report.NodeReport
    GET /rooms?top=N&order=O  a list of report.RoomReport, watched for a second
    GET /room?label=L         report.RoomDetail, or 404
    GET /tasks                what every trio task waits for
    GET /metrics              as on the metrics port, which may be off
    GET /cluster              cluster_report.ClusterView
    GET /drain                draining.DrainReport

    POST /drain               lead nothing from now on      POST /undrain   as before

    POST /cluster/create?name=N        POST /cluster/approve?node=N      POST /cluster/policy?makers=M&replicas=N
    POST /cluster/invite?valid_s=S     POST /cluster/deny?node=N
    POST /cluster/join?token=T         POST /cluster/remove?node=N

HTTP with JSON bodies, so that `curl --unix-socket` does. Who may open the file may ask: it has mode 0600 from the moment
it exists. Of rooms it can tell, and not change them. What is refused gets 409 and a sentence. The data folder is locked by then, so a file of that name is a dead node's.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import parse_qs

import msgspec
import trio

from room_server import limits
from room_server.cluster_admin import INVITE_S, ClusterAdmin
from room_server.config import ADMIN_SOCKET_BYTES_MAX
from room_server.draining import Draining, DrainReport
from room_server.errors import ClusterError, StartError
from room_server.health import HealthSource, metrics_answer
from room_server.http import JSON, Answer, Handler, Routes, serve_http
from room_server.rebalancer import Rebalancer
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


async def serve_admin(
    listener: trio.SocketListener,
    reporter: Reporter,
    health: HealthSource,
    *,
    cluster: ClusterAdmin,
    rebalancer: Rebalancer,
    draining: Draining,
) -> None:
    """Answer on `listener` until cancelled."""
    routes: Routes = {
        b"/status": partial(_status, reporter),
        b"/rooms": partial(_rooms, reporter),
        b"/room": partial(_room, reporter),
        b"/tasks": _tasks,
        b"/metrics": partial(metrics_answer, health),
        b"/cluster": partial(_cluster, cluster),
        b"/drain": partial(_drain, draining.report),
    }
    actions: dict[bytes, Handler] = {
        b"/cluster/" + verb.encode(): partial(_act, action) for verb, action in _actions(cluster).items()
    }
    actions[b"/cluster/rebalance"] = partial(_rebalance, rebalancer)
    actions |= {b"/drain": partial(_drain, draining.begin), b"/undrain": partial(_drain, draining.end)}
    await serve_http(listener, routes, actions)


async def _drain(act: Callable[[], DrainReport], _query: bytes) -> Answer:
    return Answer(msgspec.json.encode(act()), JSON)


async def _cluster(cluster: ClusterAdmin, _query: bytes) -> Answer:
    return Answer(msgspec.json.encode(cluster.view()), JSON)


_Action: TypeAlias = Callable[[Mapping[str, str]], Awaitable[object]]


async def _act(action: _Action, query: bytes) -> Answer:
    said = {key: values[0] for key, values in parse_qs(query.decode("ascii", "replace")).items()}
    try:
        done = await action(said)
    except ClusterError as error:
        return Answer(f"{error}\n".encode(), status=HTTPStatus.CONFLICT)
    except ValueError:
        return Answer(b"a number is needed\n", status=HTTPStatus.BAD_REQUEST)
    return Answer(msgspec.json.encode(done), JSON)


async def _rebalance(rebalancer: Rebalancer, query: bytes) -> Answer:
    said = parse_qs(query.decode("ascii", "replace"))
    without = said.get("without", [])
    acts: dict[str, _Action] = {
        "plan": lambda _: rebalancer.plan(without),
        "begin": lambda _: rebalancer.begin(without),
        "stop": lambda _: rebalancer.stop(),
    }
    act = acts.get(said.get("do", ["plan"])[0])
    return Answer(f"do={'|'.join(acts)}\n".encode(), status=400) if act is None else await _act(act, query)


def _actions(cluster: ClusterAdmin) -> dict[str, _Action]:
    return {
        "create": lambda said: cluster.create(said.get("name", "")),
        "invite": lambda said: cluster.invite(int(said.get("valid_s", INVITE_S))),
        "join": lambda said: cluster.join(said.get("token", "")),
        "approve": lambda said: cluster.approve(said.get("node", "")),
        "deny": lambda said: cluster.deny(said.get("node", "")),
        "remove": lambda said: cluster.remove(said.get("node", "")),
        "policy": cluster.set_policy,
        "forget": lambda _: cluster.forget(),
    }


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
