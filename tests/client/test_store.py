from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import apsw
import msgspec
import pytest

from client import limits
from client.room_state import ArchiveRecord, Cursor, InFlight, Mark, Outgoing, Phase, Quest, RoomChange, RoomMemory
from client.store import RoomRecord, Store, StoreError, knock_name, open_store
from client.timeline import ItemKind, Sender, TimelineItem
from tests.wire.certificates import servers
from wire.ids import RoomEpoch, RoomId, Sequence

KEY = b"k" * 32
ROOM, OTHER = RoomId(b"r" * 16), RoomId(b"o" * 16)
RECORD = RoomRecord(link="SAMTALA:CANARY", name="lobby", identity=b"identity")
MEMORY = RoomMemory(
    phase=Phase.JOINING, cursor=Cursor(Sequence(4), b"c" * 32), epoch_state=b"epoch", ratchet_state=b"ratchet",
    marks=(Mark(Sequence(4), b"c" * 32),), in_flight=(InFlight(b"d0", ()),), message_ids=(), undecryptable=0, alarms=0,
)  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    store = open_store(path, KEY)
    store.begin_room(ROOM, RECORD, MEMORY)
    yield store
    store.close()


def item(sequence: int, *, kind: ItemKind = ItemKind.MESSAGE, part: int = 0, text: str = "hej") -> TimelineItem:
    return TimelineItem(
        sequence=Sequence(sequence), part=part, timestamp_us=sequence, kind=kind, sender=Sender("bob", b"u" * 32, True),
        message_id=sequence.to_bytes(16, "big"), text=text,
    )  # fmt: skip


def test_a_room_is_remembered_as_it_was_begun(store: Store, path: Path) -> None:
    store.close()

    store = open_store(path, KEY)

    assert store.memory(ROOM) == MEMORY
    assert store.rooms()[0].record == RECORD
    store.close()


def test_a_change_is_stored_whole(store: Store) -> None:
    store.apply(
        ROOM,
        RoomChange(
            cursor=Cursor(Sequence(6), b"d" * 32), phase=Phase.LIVE, epoch_state=b"epoch2", ratchet_state=b"ratchet2",
            items=(item(5), item(6, kind=ItemKind.REFUSED), item(6, kind=ItemKind.ALARM, part=1)),
            marks=(Mark(Sequence(6), b"d" * 32),), sent=(InFlight(b"d1", (Outgoing(b"m", 1, "x"),)),), settled=(b"d0",),
        ),
    )  # fmt: skip

    memory = store.memory(ROOM)
    assert memory == RoomMemory(
        phase=Phase.LIVE, cursor=Cursor(Sequence(6), b"d" * 32), epoch_state=b"epoch2", ratchet_state=b"ratchet2",
        marks=(*MEMORY.marks, Mark(Sequence(6), b"d" * 32)), in_flight=(InFlight(b"d1", (Outgoing(b"m", 1, "x"),)),),
        message_ids=((b"u" * 32, (5).to_bytes(16, "big")),), undecryptable=1, alarms=1,
    )  # fmt: skip


def test_a_change_that_fails_in_the_middle_changes_nothing(store: Store) -> None:
    store.apply(ROOM, RoomChange(items=(item(5),)))
    before = store.memory(ROOM)

    with pytest.raises(StoreError):
        store.apply(
            ROOM, RoomChange(cursor=Cursor(Sequence(9), b"z" * 32), ratchet_state=b"new", items=(item(6), item(5)))
        )

    assert store.memory(ROOM) == before
    assert len(store.timeline(ROOM, after_id=0)) == 1


def test_the_timeline_is_read_in_pages_in_the_order_of_knowing(store: Store) -> None:
    store.apply(ROOM, RoomChange(items=tuple(item(sequence) for sequence in range(5, 10))))
    store.apply(ROOM, RoomChange(items=(item(6, kind=ItemKind.ALARM, part=9),)))

    first = store.timeline(ROOM, after_id=0, items_max=3)
    rest = store.timeline(ROOM, after_id=first[-1].id)

    assert [stored.item.sequence for stored in first + rest] == [5, 6, 7, 8, 9, 6]
    assert store.last_id(ROOM) == rest[-1].id


def test_a_reader_by_sequence_goes_on_after_it(store: Store) -> None:
    store.apply(ROOM, RoomChange(items=tuple(item(sequence) for sequence in range(5, 10))))

    after = store.id_after(ROOM, Sequence(7))

    assert [stored.item.sequence for stored in store.timeline(ROOM, after_id=after)] == [8, 9]
    assert store.id_after(ROOM, Sequence(0)) == 0


def test_rooms_do_not_mix(store: Store) -> None:
    store.begin_room(OTHER, RECORD, MEMORY)
    store.apply(ROOM, RoomChange(items=(item(5),), unsent=(Outgoing(b"m1", 1, "mine"),)))

    assert store.timeline(OTHER, after_id=0) == []
    assert store.last_id(OTHER) == 0
    assert store.unsent(OTHER) == []
    assert store.memory(OTHER).message_ids == ()


def test_forgetting_a_room_leaves_nothing_of_it(store: Store) -> None:
    store.apply(ROOM, RoomChange(items=(item(5),), unsent=(Outgoing(b"m1", 1, "mine"),)))

    store.put(knock_name(ROOM), b"keys")

    store.forget_room(ROOM)

    assert store.rooms() == []
    assert store.get(knock_name(ROOM)) is None
    with pytest.raises(StoreError, match="not in that room"):
        store.memory(ROOM)
    store.begin_room(ROOM, RECORD, MEMORY)
    assert store.timeline(ROOM, after_id=0) == []
    assert store.unsent(ROOM) == []


def test_who_knocked_is_kept_until_the_room_is_joined_again(store: Store) -> None:
    store.apply(ROOM, RoomChange(knocks=b"bob waits"))
    store.apply(ROOM, RoomChange(items=(item(5),)))
    assert store.memory(ROOM).knocks == b"bob waits"

    store.begin_room(ROOM, RECORD, MEMORY)

    assert store.memory(ROOM).knocks == b""


def record_of(epoch: int) -> ArchiveRecord:
    return ArchiveRecord(
        epoch=RoomEpoch(epoch), sequence=Sequence(epoch), chain=bytes(32), time_us=epoch, env_key=b"e" * 32,
        encryption_secret=b"s" * 32, sender_data_secret=b"d" * 32, public=b"tree",
    )  # fmt: skip


def test_the_keys_of_ended_epochs_are_kept_and_dropped_with_a_change(store: Store) -> None:
    quest = Quest(epoch=RoomEpoch(3), cursor=Cursor(Sequence(7), bytes(32)), context=b"context")
    store.apply(ROOM, RoomChange(archived=(record_of(3), record_of(300)), quest=quest))
    store.apply(ROOM, RoomChange(archived=(record_of(301),), forgotten=(RoomEpoch(3),)))

    memory = store.memory(ROOM)

    assert memory.archive == (record_of(300), record_of(301))
    assert memory.quest == quest


def test_joining_again_begins_with_an_empty_archive(store: Store) -> None:
    quest = Quest(epoch=RoomEpoch(3), cursor=Cursor(Sequence(7), bytes(32)), context=b"context")
    store.apply(ROOM, RoomChange(archived=(record_of(3),), quest=quest))

    store.begin_room(ROOM, RECORD, MEMORY)

    assert store.memory(ROOM) == MEMORY


def test_history_comes_before_what_became_known_and_is_stored_once(store: Store) -> None:
    store.begin_room(OTHER, RECORD, MEMORY)
    for room in (ROOM, OTHER):
        store.apply(room, RoomChange(items=(item(5, kind=ItemKind.JOINED), item(6))))
    past = [item(sequence, kind=ItemKind.HISTORY) for sequence in (1, 2, 4, 6)]

    for _ in range(2):
        store.add_history(ROOM, past)

    everything = store.timeline(ROOM, after_id=store.id_after(ROOM, Sequence(0)))
    assert [stored.item.sequence for stored in everything] == [1, 2, 4, 5, 6]
    assert everything[-1].item.kind is ItemKind.MESSAGE
    later = store.timeline(ROOM, after_id=store.id_after(ROOM, Sequence(2)))
    assert [stored.item.sequence for stored in later] == [4, 5, 6]
    assert [stored.item.sequence for stored in store.timeline(OTHER, after_id=0)] == [5, 6]


def test_joining_again_replaces_the_state_and_keeps_the_timeline(store: Store) -> None:
    store.apply(ROOM, RoomChange(items=(item(5),)))
    again = msgspec.structs.replace(MEMORY, cursor=Cursor(Sequence(40), b"e" * 32), epoch_state=b"other")

    store.begin_room(ROOM, RECORD, again)

    assert store.memory(ROOM).epoch_state == b"other"
    assert store.memory(ROOM).cursor.sequence == 40
    assert len(store.timeline(ROOM, after_id=0)) == 1


def test_what_is_sent_again_is_not_unsent_any_more(store: Store) -> None:
    outgoing = Outgoing(b"m1", 1, "again")
    store.apply(ROOM, RoomChange(unsent=(outgoing,)))
    assert store.unsent(ROOM) == [outgoing]

    store.apply(ROOM, RoomChange(sent=(InFlight(b"d9", (outgoing,)),)))

    assert store.unsent(ROOM) == []


def test_own_messages_are_found_by_their_id(store: Store) -> None:
    mine = msgspec.structs.replace(item(5), is_mine=True)
    store.apply(ROOM, RoomChange(items=(mine, item(6))))

    found = store.find_message(ROOM, mine.message_id)

    assert found is not None
    assert found.item == mine
    assert store.find_message(ROOM, item(6).message_id) is None


def test_old_marks_are_dropped(store: Store) -> None:
    many = tuple(Mark(Sequence(sequence), b"m" * 32) for sequence in range(5, 5 + 2 * limits.CHAIN_MARKS_MAX))

    store.apply(ROOM, RoomChange(marks=many))

    assert len(store.memory(ROOM).marks) <= limits.CHAIN_MARKS_MAX + 1


def test_profile_values_are_kept(store: Store) -> None:
    store.put("identity", b"one")
    store.put("identity", b"two")

    assert store.get("identity") == b"two"
    assert store.get("other") is None


def test_a_descriptor_is_cached(store: Store) -> None:
    store.set_descriptor(ROOM, b"signed")

    stored = store.room(ROOM)

    assert stored is not None
    assert stored.descriptor == b"signed"
    assert store.room(OTHER) is None


def test_the_wrong_key_opens_nothing(store: Store, path: Path) -> None:
    store.close()

    with pytest.raises(StoreError, match="another key or passphrase"):
        open_store(path, b"x" * 32)


def test_nothing_readable_is_on_the_disk(store: Store, path: Path) -> None:
    store.apply(ROOM, RoomChange(items=(item(5, text="canary-text"),)))

    raw = b"".join(file.read_bytes() for file in path.parent.iterdir())

    assert len(raw) > 4096
    assert b"canary-text" not in raw
    assert b"SAMTALA:CANARY" not in raw
    assert b"SQLite format" not in raw


def test_a_damaged_file_is_explained(store: Store, path: Path) -> None:
    store.close()
    raw = bytearray(path.read_bytes())
    raw[100:200] = os.urandom(100)
    path.write_bytes(raw)

    with pytest.raises(StoreError, match="damaged"):
        open_store(path, KEY)


def test_a_file_of_a_newer_version_is_refused(store: Store, path: Path) -> None:
    store._database.pragma("user_version", 99)
    store.close()

    with pytest.raises(StoreError, match="newer"):
        open_store(path, KEY)


def test_a_folder_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        open_store(tmp_path / "missing" / "store.db", KEY)


def test_a_full_disk_stores_nothing_and_says_so(store: Store) -> None:
    store._database.pragma("max_page_count", int(store._database.pragma("page_count")) + 2)
    before = store.memory(ROOM)

    with pytest.raises(StoreError, match="full"):
        store.apply(ROOM, RoomChange(ratchet_state=b"next", items=(item(5, text="x" * 50_000),)))

    assert store.memory(ROOM) == before


def test_promises_are_synced_and_the_rest_is_not(store: Store) -> None:
    store.apply(ROOM, RoomChange(sent=(InFlight(b"d1", ()),)))
    assert store._database.pragma("synchronous") == 2

    store.apply(ROOM, RoomChange(items=(item(5),)))
    assert store._database.pragma("synchronous") == 1


_WRITER = """
import sys
from pathlib import Path
from client.room_state import Cursor, RoomChange
from client.store import open_store
from tests.client.test_store import KEY, ROOM, item
store = open_store(Path(sys.argv[1]), KEY)
for number in range(5, 100_000):
    change = RoomChange(cursor=Cursor(number, number.to_bytes(32, "big")), ratchet_state=number.to_bytes(8, "big"),
                        items=(item(number),))
    store.apply(ROOM, change)
    if number == 30:
        print("going", flush=True)
"""


@pytest.mark.process
def test_a_killed_writer_leaves_cursor_ratchet_and_timeline_in_agreement(store: Store, path: Path) -> None:
    store.close()
    root = Path(__file__).parent.parent.parent
    process = subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, cwd=root)
    assert process.stdout is not None
    assert process.stdout.readline() == b"going\n"

    process.send_signal(signal.SIGKILL)
    process.communicate()

    store = open_store(path, KEY)
    memory = store.memory(ROOM)
    last = memory.cursor.sequence
    assert last >= 30
    assert memory.cursor.chain == last.to_bytes(32, "big")
    assert memory.ratchet_state == last.to_bytes(8, "big")
    sequences = []
    after = 0
    while page := store.timeline(ROOM, after_id=after):
        sequences += [stored.item.sequence for stored in page]
        after = page[-1].id
    assert sequences == list(range(5, last + 1))
    store.close()


def test_a_kill_between_any_two_statements_leaves_the_state_before(path: Path) -> None:
    """Copies of the files are taken at each statement of a change: what a crash there would leave."""
    store = open_store(path, KEY)
    store.begin_room(ROOM, RECORD, MEMORY)
    before = store.memory(ROOM)
    change = RoomChange(
        cursor=Cursor(Sequence(5), b"d" * 32), phase=Phase.LIVE, epoch_state=b"e2", ratchet_state=b"r2",
        items=(item(5),), marks=(Mark(Sequence(5), b"d" * 32),), sent=(InFlight(b"d1", ()),), settled=(b"d0",),
        unsent=(Outgoing(b"m", 1, "x"),),
    )  # fmt: skip
    copies: list[dict[str, bytes]] = []

    def copy(cursor: apsw.Cursor, statement: str, bindings: object) -> bool:
        del cursor, statement, bindings
        copies.append({file.name: file.read_bytes() for file in path.parent.iterdir()})
        return True

    store._database.exec_trace = copy
    store.apply(ROOM, change)
    store._database.exec_trace = None
    after = store.memory(ROOM)
    store.close()

    assert len(copies) > 8
    assert after != before
    for index, files in enumerate(copies):
        folder = path.parent / f"crash{index}"
        folder.mkdir()
        for name, raw in files.items():
            (folder / name).write_bytes(raw)
        (folder / "store.db-shm").unlink(missing_ok=True)
        crashed = open_store(folder / "store.db", KEY)
        assert crashed.memory(ROOM) == before, index
        crashed.close()


def test_evidence_is_kept_in_order_and_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EVIDENCE_MAX", 3)
    store.apply(ROOM, RoomChange(evidence=(b"1", b"2")))
    store.apply(ROOM, RoomChange(evidence=(b"3", b"4")))
    store.apply(ROOM, RoomChange(evidence=(b"5",)))

    assert store.evidence(ROOM) == [b"1", b"2", b"3"]


def test_the_last_change_of_keys_is_remembered(store: Store) -> None:
    assert store.renewed(ROOM) is None
    store.set_renewed(ROOM, RoomEpoch(3), 1_800_000_000)
    store.set_renewed(ROOM, RoomEpoch(4), 1_800_000_001)

    assert store.renewed(ROOM) == (4, 1_800_000_001)


def test_servers_that_the_room_moved_to_are_remembered(store: Store, path: Path) -> None:
    assert store.servers(ROOM) is None

    store.set_servers(ROOM, servers(1, (1, 2, 3)))
    store.set_servers(ROOM, servers(2, (4, 5)))
    store.close()

    store = open_store(path, KEY)
    assert store.servers(ROOM) == servers(2, (4, 5))
    store.close()
