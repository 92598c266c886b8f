"""The simulated disk forgets exactly what was not synced."""

from random import Random

import pytest

from vr.simulator.disk import PAGE_BYTES, SECTOR_BYTES, SimFileSystem
from vr.simulator.errors import ProcessKilled
from vr.storage.errors import FolderInUse

OLD = b"o" * SECTOR_BYTES * 8
NEW = b"n" * SECTOR_BYTES * 8


def disk_with_old_and_new(seed: int) -> SimFileSystem:
    disk = SimFileSystem(Random(seed))
    file = disk.open("wal/1", create=True)
    disk.sync_directory("wal")
    file.write_at(0, OLD)
    file.sync()
    file.write_at(0, NEW)
    return disk


def content(disk: SimFileSystem) -> bytes:
    return disk.open("wal/1").read_at(0, 1 << 20)


def test_the_cache_shows_unsynced_writes_and_a_kill_keeps_them() -> None:
    disk = disk_with_old_and_new(1)

    disk.kill()

    assert content(disk) == NEW


def test_a_synced_write_survives_power_loss() -> None:
    for seed in range(50):
        disk = disk_with_old_and_new(seed)
        disk.open("wal/1").sync()
        disk.lose_power()

        assert content(disk) == NEW


def test_power_loss_keeps_any_subset_of_unsynced_sectors() -> None:
    outcomes = set()
    for seed in range(200):
        disk = disk_with_old_and_new(seed)
        disk.lose_power()
        outcomes.add(bytes(content(disk)[::SECTOR_BYTES]))

    assert {b"oooooooo", b"nnnnnnnn"} <= outcomes
    assert b"nnnooooo" in outcomes  # torn
    assert any(b"on" in outcome and b"no" in outcome for outcome in outcomes)  # not only prefixes


def test_overwritten_sectors_settle_on_any_version() -> None:
    outcomes = set()
    for seed in range(300):
        disk = disk_with_old_and_new(seed)
        disk.open("wal/1").write_at(0, b"x" * SECTOR_BYTES * 8)
        disk.lose_power()
        outcomes.add(bytes(content(disk)[::SECTOR_BYTES]))

    assert any(set(outcome) == set(b"onx") for outcome in outcomes)


def test_partial_sector_writes_keep_their_neighbours() -> None:
    disk = disk_with_old_and_new(1)
    file = disk.open("wal/1")
    file.sync()
    file.write_at(100, b"zzz")

    assert file.read_at(98, 7) == b"nnzzznn"
    disk.lose_power()
    assert content(disk) in (NEW, NEW[:100] + b"zzz" + NEW[103:])


def test_an_unsynced_name_may_vanish() -> None:
    names = set()
    for seed in range(50):
        disk = disk_with_old_and_new(seed)
        disk.open("wal/2", create=True)
        disk.rename("wal/2", "wal/3")
        disk.lose_power()
        names.add(tuple(disk.list("wal")))

    assert names == {("1",), ("1", "2"), ("1", "3")}


def test_a_synced_directory_keeps_its_names() -> None:
    for seed in range(20):
        disk = disk_with_old_and_new(seed)
        disk.open("wal/2", create=True)
        disk.remove("wal/1")
        disk.sync_directory("wal")
        disk.lose_power()

        assert disk.list("wal") == ["2"]


def test_a_failing_sync_raises_and_settles_what_was_unsynced() -> None:
    outcomes = set()
    for seed in range(60):
        disk = disk_with_old_and_new(seed)
        disk.sync_error = 1.0
        with pytest.raises(OSError, match="simulated"):
            disk.open("wal/1").sync()
        before = content(disk)
        disk.lose_power()

        assert content(disk) == before
        outcomes.add(before)
    assert len(outcomes) > 2


def test_the_kill_strikes_before_the_effect() -> None:
    def kill() -> None:
        raise ProcessKilled

    disk = disk_with_old_and_new(1)
    disk.on_effect = kill
    with pytest.raises(ProcessKilled):
        disk.open("wal/1").write_at(0, b"x")

    assert content(disk) == NEW


def test_only_provably_synced_writes_rot() -> None:
    disk = disk_with_old_and_new(1)
    file = disk.open("wal/1")
    file.sync()

    assert disk.rot() is None  # nothing written since the sync: the log could not prove anything
    file.write_at(len(NEW), b"later")
    assert disk.rot() is None  # written, not synced
    file.sync()
    assert disk.rot() is not None
    rotted = content(disk)
    assert sum(a != b for a, b in zip(rotted, NEW + b"later", strict=True)) == 1
    assert rotted.endswith(b"later")


def test_pages_rot_whole_but_never_a_files_first() -> None:
    sizes = set()
    for seed in range(40):
        disk = SimFileSystem(Random(seed))
        file = disk.open("wal/1", create=True)
        for page in range(3):
            file.write_at(page * PAGE_BYTES, NEW[:PAGE_BYTES])
            file.sync()
        disk.rot()
        after = content(disk)
        wrong = [at for at in range(len(after)) if after[at] != NEW[0]]
        sizes.add(len(wrong) > 1)
        assert wrong
        assert len(wrong) == 1 or min(wrong) >= PAGE_BYTES
        assert max(wrong) < 2 * PAGE_BYTES  # the last write is not proven

    assert sizes == {True, False}


def test_first_pages_and_recovery_prove_no_sync() -> None:
    disk = disk_with_old_and_new(1)
    file = disk.open("wal/1")
    file.write_at(len(NEW), NEW)
    file.sync()
    file.write_at(0, NEW)
    file.sync()
    disk.is_proving = False
    file.write_at(len(NEW) * 2, NEW)
    file.sync()

    assert disk.rot() is None
    disk.is_proving = True
    file.write_at(len(NEW) * 3, NEW)
    file.sync()
    assert disk.rot() is not None


def test_overwritten_ranges_do_not_rot() -> None:
    disk = disk_with_old_and_new(1)
    file = disk.open("wal/1")
    file.sync()
    file.write_at(0, OLD)
    file.sync()

    assert disk.rot() is None


def test_a_lock_is_held_until_the_process_dies() -> None:
    disk = SimFileSystem(Random(1))
    disk.lock("lock")
    with pytest.raises(FolderInUse):
        disk.lock("lock")

    disk.kill()
    disk.lock("lock").release()
    disk.lock("lock")


def test_what_only_survived_by_luck_does_not_rot() -> None:
    for seed in range(20):
        disk = disk_with_old_and_new(seed)
        disk.lose_power()
        disk.open("wal/1").write_at(len(NEW), b"later")
        disk.open("wal/1").sync()
        disk.open("wal/1").write_at(len(NEW), b"later")
        disk.open("wal/1").sync()

        assert disk.rot() is None


def test_a_full_disk_lets_nothing_grow_until_it_is_cleared() -> None:
    disk = SimFileSystem(Random(1))
    handle = disk.open("a", create=True)
    handle.allocate(8 * PAGE_BYTES)
    disk.fill(PAGE_BYTES)

    with pytest.raises(OSError, match="no space"):
        handle.allocate(10 * PAGE_BYTES)
    handle.write_at(0, b"what is there may be written over")
    assert (handle.size(), disk.free_bytes("")) == (8 * PAGE_BYTES, PAGE_BYTES)

    disk.fill(None)
    handle.allocate(10 * PAGE_BYTES)
    assert handle.size() == 10 * PAGE_BYTES


def test_a_misdirected_write_is_missing_in_one_place_and_too_much_in_another() -> None:
    disk = SimFileSystem(Random(1), misdirected=1.0)
    handle = disk.open("a", create=True)
    handle.allocate(8 * PAGE_BYTES)
    for page in range(1, 6):
        handle.write_at(page * PAGE_BYTES, bytes([page]) * PAGE_BYTES)
        handle.sync()

    assert "which went to" in str(disk.rot())

    pages = [handle.read_at(page * PAGE_BYTES, 1)[0] for page in range(1, 6)]
    assert pages.count(0) == 1
    assert len(set(pages)) == 5
