"""Of ended epochs is kept what the policy says, no more, and no longer."""

from __future__ import annotations

import pytest

import mls
from client import limits
from client.archive import FULL_HISTORY, NO_HISTORY, Archive, HistoryPolicy
from client.room_state import ArchiveRecord, Cursor
from tests.client.builders import NOW_S, ROOM_ID, entropy_of, found_room, identity_of, settle
from wire.ids import RoomEpoch, Sequence

DAY_US = 86_400_000_000


def group_in(epochs: int) -> list[mls.Group]:
    alice = identity_of("alice")
    group = mls.Group.create(ROOM_ID, alice.signature_key, alice.credential(), entropy=entropy_of(0), now=NOW_S)
    groups = [group]
    for turn in range(epochs - 1):
        groups.append(groups[-1].commit(entropy=entropy_of(turn), now=NOW_S).merge())
    return groups


def kept(policy: HistoryPolicy, epochs: int, *, epoch_us: int = DAY_US) -> Archive:
    """An archive of a room whose epochs last so long, beginning at day 0."""
    archive = Archive(())
    for number, group in enumerate(group_in(epochs)):
        place = Cursor(Sequence(10 * number), bytes([number]) * 32)
        archive.enter(group, policy, env_key=bytes([number]) * 32, place=place, time_us=number * epoch_us)
        archive.keep(policy, number * epoch_us)
    return archive


def readable(records: tuple[ArchiveRecord, ...]) -> list[int]:
    return [record.epoch for record in records if record.encryption_secret]


def test_without_a_policy_nothing_is_kept() -> None:
    archive = kept(NO_HISTORY, 5)

    assert archive.is_empty
    assert archive.added == []


def test_with_full_history_all_is_kept_and_given_from_the_beginning() -> None:
    archive = kept(FULL_HISTORY, 20)

    granted = archive.grant(RoomEpoch(19), FULL_HISTORY.since_us(10**18))

    assert readable(granted) == list(range(19))
    assert granted[0].public
    assert not any(record.public for record in granted[1:])


def test_a_window_keeps_and_gives_what_had_not_ended_before_it() -> None:
    policy, epochs = HistoryPolicy(3), 40
    archive = kept(policy, epochs)
    now_us = (epochs - 1) * DAY_US

    granted = archive.grant(RoomEpoch(epochs), policy.since_us(now_us))

    assert readable(granted) == readable(archive.records) == [36, 37, 38, 39]
    assert granted[0].public
    assert mls.PublicGroup.decode(granted[0].public).epoch == granted[0].epoch
    assert [record.epoch for record in granted] == list(range(granted[0].epoch, epochs))
    assert len(archive.records) <= limits.ARCHIVE_PUBLIC_EPOCHS + 4


def test_whoever_keeps_more_gives_no_more_than_the_window() -> None:
    archive = kept(FULL_HISTORY, 40)

    granted = archive.grant(RoomEpoch(40), HistoryPolicy(3).since_us(39 * DAY_US))

    assert readable(granted) == [36, 37, 38, 39]
    assert granted[0].epoch == 32  # Where one can begin to follow commits.
    assert not any(record.encryption_secret or record.sender_data_secret for record in granted[:4])


def test_what_is_dropped_is_told_to_the_store() -> None:
    archive = kept(HistoryPolicy(3), 40)
    stored = {record.epoch: record for record in archive.added}
    for epoch in archive.dropped:
        del stored[epoch]

    assert Archive(stored.values()).records == archive.records


def test_another_policy_drops_what_it_does_not_let_anybody_read() -> None:
    archive = kept(FULL_HISTORY, 20)

    archive.keep(HistoryPolicy(2), 19 * DAY_US)
    assert readable(archive.records) == [17, 18, 19]
    archive.keep(NO_HISTORY, 19 * DAY_US)
    assert archive.is_empty


def test_the_epoch_that_we_are_in_stays_however_old_it_is() -> None:
    archive = kept(HistoryPolicy(3), 5)

    archive.keep(HistoryPolicy(3), 1000 * DAY_US)

    assert readable(archive.records) == [4]


def test_after_a_gap_history_begins_anew() -> None:
    groups = group_in(6)
    archive = Archive(())
    for number, policy in enumerate([FULL_HISTORY, FULL_HISTORY, NO_HISTORY, FULL_HISTORY, FULL_HISTORY, FULL_HISTORY]):
        place = Cursor(Sequence(number), bytes(32))
        archive.enter(groups[number], policy, env_key=bytes(32), place=place, time_us=number)

    assert [record.epoch for record in archive.grant(RoomEpoch(6), 0)] == [3, 4, 5]
    assert [record.epoch for record in archive.grant(RoomEpoch(2), 0)] == [0, 1]
    assert archive.grant(RoomEpoch(3), 0) == ()


def test_nobody_is_given_what_does_not_lead_to_them() -> None:
    archive = kept(FULL_HISTORY, 5)

    assert archive.grant(RoomEpoch(9), 0) == ()
    assert archive.grant(RoomEpoch(0), 0) == ()


def test_records_are_bounded_and_a_newcomer_can_still_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ARCHIVE_EPOCHS_MAX", 40)
    archive = kept(FULL_HISTORY, 100)

    granted = archive.grant(RoomEpoch(100), 0)

    assert len(archive.records) <= 40
    assert [record.epoch for record in granted] == list(range(granted[0].epoch, 100))
    assert granted[0].public


def test_an_epoch_in_which_a_key_was_used_is_not_kept() -> None:
    (group,) = group_in(1)
    group.protect(b"hej", entropy=entropy_of(1))
    archive = Archive(())

    archive.enter(group, FULL_HISTORY, env_key=bytes(32), place=Cursor(Sequence(0), bytes(32)), time_us=0)

    assert archive.is_empty


def test_a_member_keeps_each_epoch_and_its_store_has_it() -> None:
    alice = found_room(history=FULL_HISTORY)
    for _ in range(3):
        alice.post("hej")
        settle(alice)
        alice.propose()
        settle(alice)

    assert readable(tuple(alice.disk.archive.values())) == [0, 1, 2, 3]


@pytest.mark.parametrize(("days", "words"), [(0, "none"), (-1, "full"), (1, "1 day"), (30, "30 days")])
def test_a_policy_is_called_by_its_length(days: int, words: str) -> None:
    assert str(HistoryPolicy(days)) == words
