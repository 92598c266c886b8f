from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vr.storage.records import GROUP, OTHER_GROUP, checkpoint, committed
from vr.configuration import Configuration, Member
from vr.ready import EpochEnd, SnapshotPart
from vr.storage.errors import HistoryUnusable
from vr.storage.history import History, StoredGroup
from vr.types import Checksum, OpNumber, ReplicaId

END = EpochEnd(
    Configuration(group=GROUP, members=(Member(ReplicaId(bytes(16)), b"key"),)), OpNumber(7), Checksum(b"stop" * 4)
)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return f"{tmp_path}/history.db"


@pytest.fixture
def history(path: str) -> Iterator[History]:
    history = History.open(path)
    for group in (GROUP, OTHER_GROUP):
        history.create_group(StoredGroup(group=group, configuration=b"configuration", genesis=b"genesis"))
    yield history
    history.close()


def test_groups_are_remembered_once_in_order(history: History, path: str) -> None:
    history.create_group(StoredGroup(group=GROUP, configuration=b"other", genesis=b"other"))
    history.close()
    again = History.open(path)

    groups = again.groups()
    again.close()

    assert [(one.group, one.configuration) for one in groups] == [
        (GROUP, b"configuration"),
        (OTHER_GROUP, b"configuration"),
    ]


def test_committed_operations_are_read_back_by_number(history: History) -> None:
    history.append(GROUP, [committed(op) for op in range(1, 10)])
    history.append(OTHER_GROUP, [committed(1)])

    found = history.read_entries(GROUP, 3, 5)

    assert [one.op for one in found] == [3, 4, 5]
    assert found[0].entry == committed(3).entry.data
    assert found[0].results == [b"result 3"]
    assert history.last_op(GROUP) == 9
    assert history.last_op(OTHER_GROUP) == 1


def test_appending_the_same_again_changes_nothing(history: History) -> None:
    history.append(GROUP, [committed(op) for op in (1, 2)])
    history.append_many([(GROUP, [committed(op) for op in (2, 3)]), (OTHER_GROUP, [])])

    assert [one.op for one in history.read_entries(GROUP, 0, 99)] == [1, 2, 3]


def test_readers_continue_from_their_mark(history: History) -> None:
    marks = [2, 2, 5, 6, 6, 9]
    history.append(GROUP, [committed(op, mark=mark) for op, mark in enumerate(marks, start=1)])

    assert [(one.op, one.mark) for one in history.read_from_mark(GROUP, 2)] == [(3, 5), (4, 6), (5, 6), (6, 9)]
    assert history.read_from_mark(GROUP, 9) == []


def test_answers_are_bounded_but_never_empty_while_there_is_more(history: History) -> None:
    history.append(GROUP, [committed(op, size=1000) for op in range(1, 10)])

    assert len(history.read_entries(GROUP, 1, 9, bytes_max=3500)) == 3
    assert len(history.read_from_mark(GROUP, 0, bytes_max=1)) == 1


def test_the_newest_checkpoint_is_loaded_and_two_are_kept(history: History, path: str) -> None:
    assert history.load_checkpoint(GROUP) is None
    for op in (10, 20, 30):
        history.save_checkpoint(GROUP, checkpoint(op))

    assert history.load_checkpoint(GROUP) == checkpoint(30)
    assert history.load_checkpoint(OTHER_GROUP) is None
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM checkpoints").fetchone() == (2,)
    connection.close()


def test_a_rotten_checkpoint_falls_back_to_the_one_before_and_two_rotten_ones_are_an_error(
    history: History, path: str
) -> None:
    history.save_checkpoints([(GROUP, checkpoint(10)), (GROUP, checkpoint(20, service=b"newest"))])
    rot = "UPDATE checkpoints SET checkpoint = CAST(x'00' || substr(checkpoint, 2) AS BLOB) WHERE op = ?"
    with sqlite3.connect(path) as connection:
        connection.execute(rot, (20,))
    assert history.load_checkpoint(GROUP) == checkpoint(10)
    with sqlite3.connect(path) as connection:
        connection.execute(rot, (10,))
    connection.close()

    with pytest.raises(HistoryUnusable, match="rotted"):
        history.load_checkpoint(GROUP)


def test_a_failed_transaction_leaves_nothing_behind(history: History) -> None:
    broken = committed(2, mark=1 << 70)

    with pytest.raises(HistoryUnusable):
        history.append(GROUP, [committed(1), broken])

    assert history.read_entries(GROUP, 0, 9) == []
    history.append(GROUP, [committed(1)])


def test_unknown_groups_and_unusable_files_are_typed_errors(history: History, tmp_path: Path) -> None:
    (tmp_path / "noise").write_bytes(b"this is no database, but long enough to look at" * 100)

    with pytest.raises(HistoryUnusable, match="does not know"):
        history.read_entries(GROUP.__class__(b"stranger--------"), 1, 2)
    with pytest.raises(HistoryUnusable):
        History.open(f"{tmp_path}/noise")
    with pytest.raises(HistoryUnusable):
        History.open(f"{tmp_path}/missing/folder/history.db")


def test_a_bounded_history_forgets_from_the_beginning_of_one_group(history: History) -> None:
    for group in (GROUP, OTHER_GROUP):
        history.append(group, [committed(op) for op in range(1, 6)])

    history.forget_entries(GROUP, 3)

    assert [one.op for one in history.read_entries(GROUP, 1, 9)] == [4, 5]
    assert [one.op for one in history.read_entries(OTHER_GROUP, 1, 9)] == [1, 2, 3, 4, 5]


def test_a_checkpoint_is_found_by_its_operation(history: History) -> None:
    history.save_checkpoint(GROUP, checkpoint(5))

    assert history.load_checkpoint_at(GROUP, 5) == checkpoint(5)
    assert history.load_checkpoint_at(GROUP, 4) is None


def test_forgotten_group_leaves_its_notes_and_can_be_made_anew(history: History, path: str) -> None:
    history.append(GROUP, [committed(1)])
    history.save_checkpoint(GROUP, checkpoint(1))
    history.keep_note(GROUP, 2, b"second")
    history.keep_note(GROUP, 1, b"first")
    history.keep_note(GROUP, 2, b"other second")

    history.forget_group(GROUP)
    history.close()

    again = History.open(path)
    assert [one.group for one in again.groups()] == [OTHER_GROUP]
    assert again.forgotten_groups() == {GROUP}
    assert again.notes() == {GROUP: [b"first", b"other second"]}

    again.create_group(StoredGroup(group=GROUP, configuration=b"later", genesis=b"genesis"))
    assert [one.configuration for one in again.groups()] == [b"later", b"configuration"]
    assert again.forgotten_groups() == set()
    assert again.last_op(GROUP) == 0
    assert again.load_checkpoint(GROUP) is None
    assert again.notes() == {GROUP: [b"first", b"other second"]}
    again.close()


def part(number: int, offer: bytes = b"offer") -> SnapshotPart:
    return SnapshotPart(offer=offer, number=number, data=b"part %d" % number)


def test_parts_of_one_snapshot_are_kept_until_a_checkpoint_is(history: History) -> None:
    history.keep_parts(GROUP, [part(1), part(0)])
    history.keep_parts(GROUP, [part(3)])
    history.keep_parts(OTHER_GROUP, [part(7)])
    assert history.load_parts(GROUP) == [part(0), part(1), part(3)]

    history.save_checkpoint(GROUP, checkpoint(1))

    assert history.load_parts(GROUP) == []
    assert history.load_parts(OTHER_GROUP) == [part(7)]


def test_parts_of_another_offer_replace_those_before(history: History) -> None:
    history.keep_parts(GROUP, [part(0), part(1)])
    history.keep_parts(GROUP, [part(2), part(1, b"another")])

    assert history.load_parts(GROUP) == [part(1, b"another")]


def test_next_configuration_and_what_is_noted_of_it_are_kept_together(history: History, path: str) -> None:
    history.begin_epoch(GROUP, END, [(1, b"note")])
    history.begin_epoch(OTHER_GROUP, None, [(1, b"left"), (2, b"for good")])
    history.close()

    again = History.open(path)
    assert [(one.configuration, one.began) for one in again.groups()] == [
        (END.configuration.to_bytes(), (END.op, END.checksum)),
        (b"configuration", None),
    ]
    assert again.notes() == {GROUP: [b"note"], OTHER_GROUP: [b"left", b"for good"]}
    again.close()
