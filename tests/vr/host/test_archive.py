from __future__ import annotations

from pathlib import Path

import trio

from tests.vr.storage.records import GROUP, checkpoint, committed
from vr.host.archive import ArchiveJob, PeerRead, Read, do_archive_job
from vr.ready import HistoryRead
from vr.storage.history import History, StoredGroup
from vr.types import OpNumber, ReplicaIndex


def test_a_job_appends_before_it_reads_and_checkpoints(tmp_path: Path) -> None:
    history = History.open(f"{tmp_path}/history.db")
    history.create_group(StoredGroup(group=GROUP, configuration=b"", genesis=b""))
    read = Read(group=GROUP, mark=2, bytes_max=10_000, is_done=trio.Event())
    wanted = HistoryRead(to=ReplicaIndex(1), first_op=OpNumber(1), last_op=OpNumber(2))
    peer_read = PeerRead(group=GROUP, wanted=wanted)

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
