"""The child of test_full_disk: a real host on a small file system of its own. Run with a folder on that file system."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import trio

from tests.vr.host.cluster import GENESIS, SEGMENT_BYTES, Links, Node, configuration_of
from vr.host import DiskFull, HostClosed, HostOptions
from vr.storage.errors import StorageError
from vr.types import ClientId

CLIENT = ClientId(b"client-000000001")
BODY_BYTES = 16 * 1024
FREE_BYTES_MIN = 8 * 1024 * 1024


def main(folder: Path) -> None:
    """Fill the disk nearly, then wholly; each time nothing that was acknowledged may be missing."""
    trio.run(_refuses_and_recovers, folder)
    trio.run(_dies_and_comes_back, folder)
    sys.stdout.write("full disk survived\n")


@contextlib.asynccontextmanager
async def _running(folder: Path, *, free_bytes_min: int) -> AsyncIterator[Node]:
    options = HostOptions(segment_bytes=SEGMENT_BYTES, free_bytes_min=free_bytes_min, seed=1, checkpoint_ops=16)
    node = Node(folder / "node", Links(), options=options)
    async with node.running() as host:
        await host.create_group(configuration_of([node]), GENESIS)
        yield node


def _leave_free(folder: Path, free_bytes: int) -> None:
    """Write ballast until only so much is free."""
    status = os.statvfs(folder)
    with (folder / "ballast").open("ab") as ballast:
        ballast.write(bytes(max(status.f_bavail * status.f_frsize - free_bytes, 0)))


async def _refuses_and_recovers(folder: Path) -> None:
    with trio.fail_after(60):
        async with _running(folder, free_bytes_min=FREE_BYTES_MIN) as node:
            session = await node.register(CLIENT)
            await node.call(CLIENT, session, 1, b"before")
            _leave_free(folder, FREE_BYTES_MIN - 1024 * 1024)
            number = 1
            with contextlib.suppress(DiskFull):
                while True:
                    number += 1
                    await node.call(CLIENT, session, number, bytes(BODY_BYTES))
            assert node.host.is_disk_full
            assert len(node.bodies()) == number - 1, "what was refused was not taken"
            (folder / "ballast").unlink()
            while node.host.is_disk_full:
                await trio.sleep(0.05)
                with contextlib.suppress(DiskFull):
                    await node.call(CLIENT, session, number, b"after")
            assert node.bodies()[-1] == b"after"


async def _dies_and_comes_back(folder: Path) -> None:
    acknowledged: list[bytes] = []
    failed = False
    with trio.fail_after(60):
        try:
            async with _running(folder, free_bytes_min=0) as node:
                client = ClientId(b"client-000000002")
                session = await node.register(client)
                before = len(node.bodies())
                _leave_free(folder, 0)
                with contextlib.suppress(HostClosed):
                    for number in range(1, 2000):
                        body = number.to_bytes(4, "big") * (BODY_BYTES // 4)
                        await node.call(client, session, number, body)
                        acknowledged.append(body)
        except* StorageError:
            failed = True
        assert failed, "a full disk ends the host"
        (folder / "ballast").unlink()
        async with _running(folder, free_bytes_min=0) as node:
            await node.until(lambda: len(node.bodies()) >= before + len(acknowledged))  # the new view commits them
            found = node.bodies()[before:]
            assert found[: len(acknowledged)] == acknowledged
            assert len(found) <= len(acknowledged) + 1


if __name__ == "__main__":
    main(Path(sys.argv[1]))
