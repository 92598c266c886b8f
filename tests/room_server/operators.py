"""Operators of clusters, for tests: what they ask and do at admin sockets."""

from __future__ import annotations

from urllib.parse import quote

import msgspec
import trio
import trio.testing

from room_server.cluster_report import ClusterReport, ClusterView, Invited, Role
from room_server.config import admin_socket
from tests.room_server.cluster import TestNode


async def request(node: TestNode, method: str, target: str) -> tuple[int, bytes]:
    """Ask a node's admin socket."""
    async with await trio.open_unix_socket(admin_socket(node.config)) as stream:
        await stream.send_all(f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        head, _, body = b"".join([data async for data in stream]).partition(b"\r\n\r\n")
        return int(head.split()[1]), body


async def do(node: TestNode, verb: str, /, **said: str) -> bytes:
    query = "&".join(f"{key}={quote(value)}" for key, value in said.items())
    status, body = await request(node, "POST", f"/cluster/{verb}?{query}")
    assert status == 200, body
    return body


async def view(node: TestNode) -> ClusterView:
    return msgspec.json.decode((await request(node, "GET", "/cluster"))[1], type=ClusterView)


async def report(node: TestNode) -> ClusterReport:
    seen = (await view(node)).cluster
    assert seen is not None
    return seen


async def invited(node: TestNode) -> str:
    return msgspec.json.decode(await do(node, "invite"), type=Invited).token


async def joined(by: TestNode, *nodes: TestNode) -> None:
    """Let nodes in, all at once."""
    for node in nodes:
        await do(node, "join", token=await invited(by))
    for node in nodes:
        while not (joining := (await view(node)).joining) or not joining.words:
            await trio.testing.wait_all_tasks_blocked(0.01)
        words = {waiting.name: waiting.words for waiting in (await report(by)).waiting}
        assert words[node.config.name] == joining.words
        await do(by, "approve", node=node.config.name)
    for node in nodes:
        while (await view(node)).cluster is None:
            await trio.testing.wait_all_tasks_blocked(0.01)


async def roles_when(node: TestNode, *roles: Role) -> ClusterReport:
    """A node's report once the servers have these roles."""
    with trio.fail_after(20):
        while True:
            seen = await report(node)
            if tuple(one.role for one in seen.nodes) == roles and all(one.up for one in seen.nodes):
                return seen
            await trio.testing.wait_all_tasks_blocked(0.01)
