"""A majority is gone for good, and one survivor goes on: with everything it has, and without ever mixing with the others."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from tests.vr.host.changes import change
from tests.vr.host.cluster import GENESIS, GROUP, SEGMENT_BYTES, Links, Node, cluster, configuration_of
from vr.host import GroupDamaged
from vr.host.embedder import HostOptions
from vr.host.forced_epoch import Survivor, force, survey
from vr.host.opening import open_storage
from vr.replica import Status
from vr.storage.errors import FolderInUse
from vr.storage.file_system import RealFileSystem
from vr.storage.frame import RecordKind
from vr.storage.log_opening import scan_log
from vr.storage.segment import segment_name
from vr.types import ClientId, GroupId

CLIENT = ClientId(b"client-000000001")
PATIENCE_S = 30
BODIES = [b"%d" % number for number in range(1, 6)]


async def worked(folder: Path) -> list[Node]:
    """Three nodes that did some work and were stopped."""
    async with cluster(folder) as nodes:
        session = await nodes[0].register(CLIENT)
        for number, body in enumerate(BODIES, 1):
            await nodes[0].call(CLIENT, session, number, body)
    return nodes


def surveyed(folder: Path) -> Survivor:
    storage = open_storage(RealFileSystem(), str(folder), options=HostOptions(segment_bytes=SEGMENT_BYTES))
    try:
        return survey(storage, GROUP)
    finally:
        storage.close()


def forced(folder: Path) -> Survivor:
    storage = open_storage(RealFileSystem(), str(folder), options=HostOptions(segment_bytes=SEGMENT_BYTES))
    try:
        survivor = survey(storage, GROUP)
        force(storage, survivor)
    finally:
        storage.close()
    return survivor


def flip_last_entry(folder: Path) -> None:
    """The last operation that provably reached the platter cannot be read any more."""
    frames = [frame for segment in scan_log(RealFileSystem(), f"{folder}/wal") for frame in segment.frames]
    synced = max(frame.header.synced_lsn for frame in frames)
    frame, record = next(
        (frame, record)
        for frame in reversed(frames)
        for record in reversed(frame.records)
        if frame.header.lsn <= synced and record.kind is RecordKind.ENTRY
    )
    path = folder / "wal" / segment_name(frame.segment)
    data = bytearray(path.read_bytes())
    data[frame.offset + record.offset] ^= 1
    path.write_bytes(data)


async def test_one_survivor_goes_on_alone_with_everything_it_has_and_others_join_it(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE_S):
        nodes = await worked(tmp_path)
        survivor = forced(nodes[0].folder)
        assert survivor.is_whole

        links = Links()
        survived, fresh = Node(nodes[0].folder, links), Node(tmp_path / "fresh", links)
        async with survived.running() as host, fresh.running():
            assert host.replica(GROUP).configuration == survivor.next_configuration()
            await survived.until(lambda: survived.bodies() == BODIES)
            session = await survived.register(CLIENT)
            await survived.call(CLIENT, session, 1, b"alone")

            pair = [survived, fresh]
            await change(pair, [survived], [fresh])
            await fresh.until(lambda: fresh.bodies() == [*BODIES, b"alone"])
            await change(pair, pair)
            await survived.call(CLIENT, session, 2, b"together")
            await fresh.until(lambda: fresh.bodies() == [*BODIES, b"alone", b"together"])


async def test_those_who_come_back_after_all_are_another_group(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE_S):
        nodes = await worked(tmp_path)
        forced(nodes[0].folder)

        async with nodes[0].running() as host, nodes[1].running() as left, nodes[2].running():
            alone = await nodes[0].register(CLIENT)
            await nodes[0].call(CLIENT, alone, 1, b"alone")
            session = await nodes[1].register(CLIENT)
            await nodes[1].call(CLIENT, session, 1, b"the others")
            await nodes[2].until(lambda: nodes[2].bodies() == [*BODIES, b"the others"])

            assert nodes[0].bodies() == [*BODIES, b"alone"]
            assert (host.replica(GROUP).configuration.epoch, left.replica(GROUP).configuration.epoch) == (1, 0)


async def test_what_cannot_be_read_is_named_and_given_up(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE_S):
        nodes = await worked(tmp_path)
        flip_last_entry(nodes[0].folder)
        survivor = forced(nodes[0].folder)
        assert not survivor.is_whole
        assert "LOST" in "\n".join(survivor.account())
        assert 0 < survivor.kept < survivor.head or not survivor.is_head_certain

        async with nodes[0].running() as host:
            assert host.replica(GROUP).status is Status.NORMAL
            session = await nodes[0].register(CLIENT)
            await nodes[0].call(CLIENT, session, 1, b"alone")
            kept = nodes[0].bodies()[:-1]
            assert kept == BODIES[: len(kept)]
            assert len(kept) < len(BODIES)
        assert surveyed(nodes[0].folder).is_whole


async def test_a_crash_in_the_middle_leaves_a_replica_that_waits_and_can_be_forced_again(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE_S):
        nodes = await worked(tmp_path)
        flip_last_entry(nodes[0].folder)
        storage = open_storage(RealFileSystem(), str(nodes[0].folder), options=HostOptions(segment_bytes=SEGMENT_BYTES))
        storage.history.force_epoch(GROUP, survey(storage, GROUP).next_configuration(), [])
        storage.close()

        async with nodes[0].running() as host:
            assert host.replica(GROUP).status is Status.RECOVERING_HEAD
        forced(nodes[0].folder)
        async with nodes[0].running() as host:
            assert host.replica(GROUP).status is Status.NORMAL
            assert host.replica(GROUP).configuration.epoch == 2


async def test_the_account_says_what_is_certain_and_what_may_be_lost(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE_S):
        nodes = await worked(tmp_path)
    survivor = surveyed(nodes[0].folder)

    text = "\n".join(survivor.account())

    assert f"operations 1 to {survivor.commit} are known to be committed" in text
    assert f"whatever the other 2 acknowledged after operation {survivor.kept}" in text
    assert survivor.rank == (0, survivor.log_view, survivor.kept)


async def test_a_running_node_and_an_unknown_group_are_refused(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE_S):
        async with cluster(tmp_path, size=1) as [node]:
            with pytest.raises(FolderInUse):
                surveyed(node.folder)
            other = configuration_of([node], GroupId(b"never worked...."))
            await node.host.create_group(other, GENESIS)
        storage = open_storage(RealFileSystem(), str(node.folder), options=node.options)
        with pytest.raises(GroupDamaged, match="no group"):
            survey(storage, GroupId(b"another........."))
        storage.close()
