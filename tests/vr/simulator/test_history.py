"""The past a node keeps."""

from vr.log import Entry, make_entry
from vr.ready import CommittedOp
from vr.replica import Checkpoint
from vr.simulator.history import READ_OPS_MAX, SimHistory
from vr.types import Checksum, OpNumber, ViewNumber


def entries(count: int) -> list[Entry]:
    made: list[Entry] = []
    for op in range(1, count + 1):
        parent = made[-1].checksum if made else Checksum(bytes(16))
        made.append(
            make_entry(
                view=ViewNumber(0), op=OpNumber(op), commit=OpNumber(0), parent=parent, timestamp_us=op, requests=[]
            )
        )
    return made


def saved(count: int) -> SimHistory:
    history = SimHistory()
    checkpoint = Checkpoint(
        op=OpNumber(count), checksum=Checksum(bytes(16)), timestamp_us=count, sessions=b"", service=b""
    )
    history.save([CommittedOp(entry=entry, requests=[], results=[], mark=0) for entry in entries(count)], checkpoint)
    return history


def test_gives_back_what_was_saved() -> None:
    history = saved(5)

    assert history.read(2, 4) == [entry.data for entry in entries(5)[1:4]]
    assert history.checkpoint is not None
    assert history.checkpoint.op == 5


def test_stops_at_the_first_gap_and_at_its_bound() -> None:
    assert saved(5).read(4, 9) == [entry.data for entry in entries(5)[3:]]
    assert saved(5).read(7, 9) == []
    assert len(saved(100).read(1, 100)) == READ_OPS_MAX


def test_old_operations_go_when_a_checkpoint_is_saved() -> None:
    history = SimHistory(keep_ops=1)
    checkpoint = Checkpoint(op=OpNumber(3), checksum=Checksum(bytes(16)), timestamp_us=0, sessions=b"", service=b"")
    history.entries = {op: b"%d" % op for op in range(1, 5)}

    history.save([], checkpoint)

    assert sorted(history.entries) == [3, 4]
