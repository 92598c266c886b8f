from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import msgspec
import pytest
import trio

from room_server.admin import open_admin_socket
from room_server.config import admin_socket
from room_server.errors import StartError
from room_server.logs import room_label
from room_server.report import NodeReport, RoomDetail, RoomReport
from tests.room_server.cluster import TestNode, cluster_of, eventually, status_when
from wire.ids import RoomId

ROOM = RoomId(b"a room to report")


async def ask(node: TestNode, target: str) -> tuple[bytes, bytes]:
    """Status line and body of one answer."""
    async with await trio.open_unix_socket(admin_socket(node.config)) as stream:
        await stream.send_all(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        head, _, body = b"".join([data async for data in stream]).partition(b"\r\n\r\n")
        return head.split(b"\r\n")[0], body


async def report(node: TestNode) -> NodeReport:
    return msgspec.json.decode((await ask(node, "/status"))[1], type=NodeReport)


async def test_running_node_tells_its_operator_how_it_is(tmp_path: Path) -> None:
    async with cluster_of(tmp_path) as cluster:
        a, b, c = cluster.nodes
        await cluster.create_room(ROOM)
        await status_when(a, ROOM, lambda status: status.status == "normal" and status.spare_failures == 1)
        assert stat.S_IMODE(admin_socket(a.config).stat().st_mode) == 0o600

        healthy = await report(a)
        assert (healthy.name, healthy.rooms.hosted, healthy.rooms.margin) == ("a", 1, 1)
        assert healthy.not_ready_because is None
        assert [(peer.name, peer.up) for peer in healthy.peers] == [("b", True), ("c", True)]
        assert all(peer.rtt_ms is not None and peer.rtt_ms < 1000 for peer in healthy.peers)
        assert healthy.disk.free_bytes > 0
        assert healthy.disk.log_bytes > 0
        assert healthy.dht is None

        await cluster.kill(c)
        await status_when(a, ROOM, lambda status: status.spare_failures == 0)
        wounded = await report(a)
        assert wounded.rooms.margin == 0
        assert [peer.up for peer in wounded.peers] == [True, False]

        rooms = msgspec.json.decode((await ask(a, "/rooms?top=5&order=margin"))[1], type=list[RoomReport])
        assert [(room.margin, room.room) for room in rooms] == [(0, room_label(ROOM))]
        assert ROOM.hex() not in repr(rooms)
        label = room_label(ROOM)
        detail = msgspec.json.decode((await ask(a, f"/room?label={label}"))[1], type=RoomDetail)
        assert [(member.name, member.here, member.up) for member in detail.members] == [
            ("a", True, True),
            ("b", False, True),
            ("c", False, False),
        ]
        assert sum(member.leads for member in detail.members) == 1
        assert detail.room.room == label
        assert (await ask(a, f"/room?label={ROOM.hex()[:12]}"))[0].startswith(b"HTTP/1.1 200")
        assert (await ask(a, "/room"))[0].startswith(b"HTTP/1.1 404")
        assert (await ask(b, "/rooms?top=x"))[0].startswith(b"HTTP/1.1 400")
        assert (await ask(b, "/rooms?order=beauty"))[0].startswith(b"HTTP/1.1 400")
        assert b"samtala_rooms{" in (await ask(b, "/metrics"))[1]
        assert (await ask(b, "/shutdown"))[0].startswith(b"HTTP/1.1 404")

        await cluster.start(c)
        await eventually(lambda: c.running is not None)
        assert (await report(c)).name == "c"


async def test_socket_of_a_dead_node_is_replaced_and_a_file_is_not(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()

    async with open_admin_socket(path), await trio.open_unix_socket(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    precious = tmp_path / "precious"
    precious.write_text("not a socket")
    with pytest.raises(StartError, match=r"admin\.socket"):
        open_admin_socket(precious)
    assert precious.read_text() == "not a socket"


def test_socket_whose_name_no_address_can_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="shorter"):
        open_admin_socket(tmp_path / ("x" * 120))


def test_opening_the_socket_leaves_the_process_its_file_mode(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with pytest.raises(StartError):
            open_admin_socket(tmp_path / "missing" / "admin.sock")
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
