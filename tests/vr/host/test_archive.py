from __future__ import annotations

from pathlib import Path

import trio

from tests.vr.host.cluster import PEER
from tests.vr.storage.records import GROUP, checkpoint, committed
from vr.host.archive import ArchiveJob, ChunkRead, PeerRead, Read, do_archive_job
from vr.ready import HistoryRead, SnapshotRead
from vr.storage.history import History, StoredGroup
from vr.types import OpNumber, ReplicaIndex


def test_a_job_appends_before_it_reads_and_checkpoints(tmp_path: Path) -> None:
    history = History.open(f"{tmp_path}/history.db")
    history.create_group(StoredGroup(group=GROUP, configuration=b"", genesis=b""))
    read = Read(group=GROUP, mark=2, bytes_max=10_000, is_done=trio.Event())
    wanted = HistoryRead(to=ReplicaIndex(1), first_op=OpNumber(1), last_op=OpNumber(2))
    peer_read = PeerRead(group=GROUP, peer=PEER, wanted=wanted)

    do_archive_job(
        history,
        ArchiveJob(
            appends=[(GROUP, [committed(op) for op in range(1, 6)])],
            checkpoints=[(GROUP, checkpoint(5))],
            reads=[read],
            peer_reads=[peer_read],
        ),
    )

    assert [stored.op for stored in read.entries] == [3, 4, 5]
    assert [stored.op for stored in peer_read.entries] == [1, 2]
    assert history.load_checkpoint(GROUP) == checkpoint(5)
    history.close()


def test_a_peer_that_wants_what_is_gone_gets_the_checkpoint_and_its_chunks(tmp_path: Path) -> None:
    history = History.open(f"{tmp_path}/history.db")
    history.create_group(StoredGroup(group=GROUP, configuration=b"", genesis=b""))
    first_gone, all_here, to_come = (
        PeerRead(
            group=GROUP,
            peer=PEER,
            wanted=HistoryRead(to=ReplicaIndex(1), first_op=OpNumber(first), last_op=OpNumber(last)),
        )
        for first, last in ((2, 4), (4, 5), (6, 7))
    )
    chunk, other_chunk = (
        ChunkRead(
            group=GROUP, peer=PEER, wanted=SnapshotRead(to=ReplicaIndex(1), op=OpNumber(op), chunk=0, chunk_bytes=10)
        )
        for op in (5, 4)
    )  # fmt: skip

    do_archive_job(
        history,
        ArchiveJob(
            appends=[(GROUP, [committed(op) for op in range(1, 6)])],
            snapshots=[(GROUP, checkpoint(5))],
            forgotten=[(GROUP, 3)],
            peer_reads=[first_gone, all_here, to_come],
            chunk_reads=[chunk, other_chunk],
        ),
    )

    assert (first_gone.entries, first_gone.checkpoint) == ([], checkpoint(5))
    assert ([stored.op for stored in all_here.entries], all_here.checkpoint) == ([4, 5], None)
    assert (to_come.entries, to_come.checkpoint) == ([], None)
    assert (chunk.checkpoint, other_chunk.checkpoint) == (checkpoint(5), None)
    history.close()
