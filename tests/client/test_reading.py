"""What was said before a newcomer came is read from the room's own entries, or not at all."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from client.archive import FULL_HISTORY, HistoryPolicy
from client.granting import Grant, encode_grant, read_grant
from client.reading import HistoryError, Reading
from client.room_state import ArchiveRecord, QuestState
from client.timeline import ItemKind
from tests.client.builders import ROOM_ID, Device, entropy_of, found_room, join, settle
from tests.client.knockers import knock, package_of, welcomed
from tests.client.lookers import answer, ask, history_of, look_back, quest_of, reading_of, served
from tests.client.test_stalls import brick, garbage, override, reopen
from wire.room import Delivery, ResultKind, encode_app_block

DAY_S = 86_400


def talk(*devices: Device) -> None:
    for device in devices:
        device.post(f"{device.name} {len(device.posted)}")
        settle(*devices)


def renew(device: Device, *others: Device) -> None:
    device.propose()
    settle(device, *others)


def told_room() -> tuple[Device, Device]:
    """Alice and bob talk in several epochs."""
    alice = found_room(history=FULL_HISTORY)
    talk(alice)
    bob = join("bob", alice.log)
    settle(alice, bob)
    served(bob, alice)
    for _ in range(3):
        talk(alice, bob)
        renew(bob, alice)
    talk(alice, bob)
    return alice, bob


def granted() -> Device:
    """Carol, who holds a true grant and has not read it."""
    alice, bob = told_room()
    carol = join("carol", alice.log)
    settle(alice, bob, carol)
    ask(carol)
    settle(alice, bob, carol)
    assert answer(alice)
    settle(alice, bob, carol)
    assert quest_of(carol).state is QuestState.GRANTED
    return carol


def test_a_newcomer_reads_all_that_was_said_before_in_its_order_and_by_whom() -> None:
    alice, bob = told_room()
    before = alice.messages
    carol = join("carol", alice.log)
    settle(alice, bob, carol)

    assert served(carol, alice, bob) == before

    items = carol.items(ItemKind.HISTORY)
    assert {item.sender.name for item in items} == {"alice", "bob"}
    assert all(item.sender.is_verified and not item.is_mine for item in items)
    assert carol.core.undecryptable == carol.core.alarms == 0


def test_whoever_has_read_hands_it_on() -> None:
    alice, bob = told_room()
    before = alice.messages
    carol = join("carol", alice.log)
    settle(alice, bob, carol)
    served(carol, alice, bob)
    dave = join("dave", alice.log)
    settle(alice, bob, carol, dave)

    assert served(dave, carol, alice, bob) == before


def test_whoever_came_by_a_welcome_reads_as_well() -> None:
    alice, bob = told_room()
    before = alice.messages
    package = package_of("carol")
    assert knock(alice.log, package) is ResultKind.ACCEPTED
    settle(alice, bob)
    alice.core.knocks.be_due()
    settle(alice, bob)
    carol = welcomed("carol", alice.log, package)
    settle(alice, bob, carol)

    assert served(carol, alice, bob) == before


def test_what_a_member_said_who_is_gone_keeps_their_name() -> None:
    alice, bob = told_room()
    alice.propose(bob)
    settle(alice, bob)
    carol = join("carol", alice.log)
    settle(alice, carol)

    served(carol, alice)

    assert {item.sender.name for item in carol.items(ItemKind.HISTORY)} == {"alice", "bob"}


def test_a_restart_of_everybody_changes_nothing() -> None:
    alice, bob = told_room()
    before = alice.messages
    carol = join("carol", alice.log)
    settle(alice, bob, carol)
    alice.crash()
    carol.crash()
    assert ask(carol)
    settle(alice, bob, carol)
    assert answer(alice)
    settle(alice, bob, carol)
    carol.crash()

    look_back(carol)

    assert history_of(carol) == before


def test_commits_that_did_not_hold_are_passed_over() -> None:
    """The grant says which of several commits for an epoch was the one that counted."""
    alice = found_room(history=FULL_HISTORY)
    bob, mallory = join("bob", alice.log), join("mallory", alice.log)
    settle(alice, bob, mallory)
    talk(alice, bob)
    brick(mallory, garbage)
    settle(alice, bob)
    alice.log.now_s += 31
    reopen(alice)
    settle(alice, bob)
    talk(alice, bob)
    before = alice.messages
    carol = join("carol", alice.log)
    settle(alice, bob, carol)

    assert served(carol, alice, bob) == before


def test_what_the_owner_took_back_is_passed_over() -> None:
    alice = found_room(history=FULL_HISTORY)
    bob, mallory = join("bob", alice.log), join("mallory", alice.log)
    settle(alice, bob, mallory)
    talk(alice, bob)
    brick(mallory, garbage)
    settle(alice, bob)
    override(alice)
    settle(alice, bob)
    talk(alice, bob)
    renew(bob, alice)
    talk(alice, bob)
    before = alice.messages
    carol = join("carol", alice.log)
    settle(alice, bob, carol)

    assert served(carol, alice, bob) == before


def test_a_window_ends_where_the_policy_says() -> None:
    alice = found_room(history=HistoryPolicy(7))
    bob = join("bob", alice.log)
    settle(alice, bob)
    talk(alice, bob)
    renew(alice, bob)
    alice.log.now_s += 8 * DAY_S
    renew(alice, bob)
    talk(alice, bob)
    late = alice.messages[2:]
    carol = join("carol", alice.log)
    settle(alice, bob, carol)

    assert served(carol, alice, bob, now_us=alice.log.now_s * 1_000_000) == late
    assert len(late) == 2


def test_of_an_epoch_that_began_before_the_window_only_what_is_in_it_is_shown() -> None:
    alice = found_room(history=HistoryPolicy(7))
    bob = join("bob", alice.log)
    settle(alice, bob)
    talk(alice, bob)
    alice.log.now_s += 8 * DAY_S
    talk(alice, bob)
    late = alice.messages[2:]
    carol = join("carol", alice.log)
    settle(alice, bob, carol)

    assert served(carol, alice, bob, now_us=alice.log.now_s * 1_000_000) == late


# Lies


def flipped(value: bytes) -> bytes:
    return value[:-1] + bytes([value[-1] ^ 1])


FIELDS = ("chain", "env_key", "encryption_secret", "sender_data_secret")


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("place", [0, 1, -1])
def test_a_false_record_shows_nothing_and_another_member_is_asked(field: str, place: int) -> None:
    carol = granted()
    grant, _ = read_grant(quest_of(carol).grant)
    records = list(grant.records)
    records[place] = msgspec.structs.replace(records[place], **{field: flipped(getattr(records[place], field))})
    _hand(carol, records)
    if (field, place) in {("chain", 1), ("chain", -1)}:
        assert look_back(carol)  # Only the first record's is where the reading begins; the others' are not relied on.
        return

    with pytest.raises(HistoryError):
        look_back(carol)

    assert history_of(carol) == []
    assert quest_of(carol).state is QuestState.WANTED
    assert ask(carol)


def _hand(device: Device, records: list[ArchiveRecord]) -> None:
    device.core.past.quest = msgspec.structs.replace(quest_of(device), grant=encode_grant(records))


def test_a_beginning_that_leads_to_another_group_shows_nothing() -> None:
    """All signatures hold; only the group that we came into tells."""
    alice = found_room(history=FULL_HISTORY)
    talk(alice)
    bob = join("bob", alice.log)
    settle(alice, bob)
    ask(bob)
    settle(alice, bob)
    answer(alice)
    settle(alice, bob)
    [record] = read_grant(quest_of(bob).grant)[0].records
    stored = msgspec.msgpack.decode(record.public)
    stored[-1] = flipped(stored[-1])  # The confirmation tag.
    _hand(bob, [msgspec.structs.replace(record, public=msgspec.msgpack.encode(stored))])

    with pytest.raises(HistoryError, match="another group"):
        look_back(bob)

    assert history_of(bob) == []


def test_when_an_epoch_began_is_the_logs_word_and_not_the_givers() -> None:
    """Otherwise a giver could have newcomers keep keys for ever, or throw them away."""
    carol = granted()
    true = read_grant(quest_of(carol).grant)[0].records
    _hand(carol, [msgspec.structs.replace(record, time_us=record.time_us + 10**15) for record in true])

    look_back(carol)

    kept = carol.core.past.archive.records
    assert [record.time_us for record in kept[1 : len(true)]] == [record.time_us for record in true[1:]]
    assert [record.chain for record in kept[: len(true)]] == [record.chain for record in true]
    assert kept[0].time_us <= true[1].time_us


def test_records_of_another_branch_of_the_room_lead_nowhere() -> None:
    """A giver names a garbage commit as the one that counted."""
    carol = granted()
    grant, _ = read_grant(quest_of(carol).grant)
    records = list(grant.records)
    records[2] = msgspec.structs.replace(records[2], sequence=records[2].sequence + 1)
    _hand(carol, records)

    with pytest.raises(HistoryError):
        look_back(carol)


def tampered(change: Callable[[list[Delivery]], list[Delivery]]) -> tuple[Device, Reading, list[Delivery]]:
    carol = granted()
    reading = reading_of(carol)
    return carol, reading, change(carol.log.after(reading.after))


def without(place: int) -> Callable[[list[Delivery]], list[Delivery]]:
    return lambda deliveries: deliveries[:place] + deliveries[place + 1 :]


def swapped(place: int) -> Callable[[list[Delivery]], list[Delivery]]:
    def change(deliveries: list[Delivery]) -> list[Delivery]:
        one, other = deliveries[place], deliveries[place + 1]
        renumbered = [
            msgspec.structs.replace(other, first_sequence=one.first_sequence),
            msgspec.structs.replace(one, first_sequence=other.first_sequence),
        ]
        return [*deliveries[:place], *renumbered, *deliveries[place + 2 :]]

    return change


def later(place: int) -> Callable[[list[Delivery]], list[Delivery]]:
    def change(deliveries: list[Delivery]) -> list[Delivery]:
        moved = msgspec.structs.replace(deliveries[place], timestamp_us=deliveries[place].timestamp_us + 1)
        return [*deliveries[:place], moved, *deliveries[place + 1 :]]

    return change


def damaged(place: int) -> Callable[[list[Delivery]], list[Delivery]]:
    def change(deliveries: list[Delivery]) -> list[Delivery]:
        moved = msgspec.structs.replace(deliveries[place], block=flipped(deliveries[place].block))
        return [*deliveries[:place], moved, *deliveries[place + 1 :]]

    return change


@pytest.mark.parametrize("how", [without, swapped, later, damaged])
@pytest.mark.parametrize("place", [0, 1, 2, 5])
def test_a_server_that_changes_the_past_is_found_out_before_anything_is_shown(
    how: Callable[[int], Callable[[list[Delivery]], list[Delivery]]], place: int
) -> None:
    _, reading, deliveries = tampered(how(place))

    with pytest.raises(HistoryError):
        reading.feed(deliveries)

    assert not reading.is_done


def test_garbage_of_then_is_refused_by_a_strict_reading_and_shown_as_such_by_the_last_one() -> None:
    """Nobody can tell it from false keys, so others are asked first; members of then saw it as garbage, too."""
    alice, bob = told_room()
    block = encode_app_block(alice.core.epoch, [b"not a message"])
    alice.log.append(999, 1, block)
    settle(alice, bob)
    talk(alice, bob)
    before = alice.messages
    carol = join("carol", alice.log)
    settle(alice, bob, carol)

    for giver in (alice, bob):
        assert ask(carol)
        settle(alice, bob, carol)
        assert answer(giver)
        settle(alice, bob, carol)
        with pytest.raises(HistoryError):
            look_back(carol)
    dave = join("dave", alice.log)
    settle(alice, bob, carol, dave)
    dave.core.past.quest = None  # As if dave had it all.
    dave.core.past.archive.take(alice.core.past.archive.records)
    assert ask(carol)
    settle(alice, bob, carol, dave)
    assert answer(dave)
    settle(alice, bob, carol, dave)
    look_back(carol)

    assert history_of(carol) == before
    assert len(carol.items(ItemKind.HISTORY_REFUSED)) == 1


def test_nothing_is_done_before_our_own_first_entry() -> None:
    carol = granted()
    reading = reading_of(carol)

    reading.feed(carol.log.after(reading.after)[:-5])

    assert not reading.is_done


def test_our_own_archive_is_read_without_leading_to_the_present_group() -> None:
    """Another device of ours had it: the chain of entries is checked, and there is no gap to bridge by others' keys."""
    alice, bob = told_room()
    records = alice.core.past.archive.grant(alice.core.epoch, 0)  # Not of the present epoch.
    before = [message for message in alice.messages if message[0] < alice.core.past.archive.records[-1].sequence]
    renew(bob, alice)
    talk(alice, bob)
    carol = join("carol", alice.log)
    settle(alice, bob, carol)
    grant, public = read_grant(encode_grant(records))

    reading = Reading(grant, public, ROOM_ID, until=quest_of(carol).cursor, context=None, since_us=0, is_strict=False)
    reading.feed(carol.log.after(reading.after))

    assert reading.is_done
    assert [(item.sequence, item.text) for item in reading.items] == before


def test_a_grant_of_another_room_or_of_later_is_refused() -> None:
    carol = granted()
    grant, public = read_grant(quest_of(carol).grant)
    late = Grant((msgspec.structs.replace(grant.records[0], sequence=quest_of(carol).cursor.sequence),))

    with pytest.raises(HistoryError):
        Reading(late, public, ROOM_ID, until=quest_of(carol).cursor, context=b"", since_us=0, is_strict=True)
    with pytest.raises(HistoryError):
        Reading(grant, public, entropy_of(1)(16), until=quest_of(carol).cursor, context=b"", since_us=0, is_strict=True)
