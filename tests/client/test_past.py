"""Who asks is answered once, by somebody who has it all; who lies is not listened to again."""

from __future__ import annotations

import msgspec
import pytest

from client import limits
from client.archive import FULL_HISTORY, NO_HISTORY
from client.granting import Ask, encode_grant, read_part, to_text
from client.payload import PayloadKind
from client.reading import HistoryError
from client.room_state import QuestState
from client.timeline import ItemKind
from tests.client.builders import NOW_S, Device, entropy_of, found_room, join, settle
from tests.client.lookers import NOW_US, answer, ask, history_of, look_back, quest_of, served
from wire.ids import RoomEpoch


def two_members() -> tuple[Device, Device]:
    """Alice and bob, who both have all that was said."""
    alice = found_room(history=FULL_HISTORY)
    alice.post("in the beginning")
    settle(alice)
    bob = join("bob", alice.log)
    settle(alice, bob)
    served(bob, alice)
    return alice, bob


def newcomer(*others: Device, name: str = "carol") -> Device:
    device = join(name, others[0].log)
    settle(device, *others)
    return device


def test_a_newcomer_wants_what_was_before_only_where_the_policy_lets_it() -> None:
    alice = found_room(history=NO_HISTORY)
    bob = join("bob", alice.log)

    for device in (bob, found_room(history=FULL_HISTORY)):
        assert quest_of(device).state is QuestState.READ
        assert not ask(device)


def test_what_programs_say_to_programs_is_shown_to_nobody() -> None:
    alice, bob = two_members()
    carol = newcomer(alice, bob)

    served(carol, alice, bob)

    for device in (alice, bob, carol):
        assert device.core.undecryptable == 0
        assert device.texts == (["in the beginning"] if device is alice else [])
        assert device.disk.unsent == {}


def test_an_answered_ask_is_answered_by_nobody_else() -> None:
    alice, bob = two_members()
    carol = newcomer(alice, bob)
    ask(carol)
    settle(alice, bob, carol)
    assert alice.core.past.asks.keys() == bob.core.past.asks.keys() == {quest_of(carol).ask_id}

    assert answer(alice) == 1
    settle(alice, bob, carol)

    assert answer(bob) == 0
    assert bob.core.past.asks == {}


def test_two_who_answer_at_once_do_not_confuse_anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HISTORY_PART_BYTES", 200)
    alice, bob = two_members()
    carol = newcomer(alice, bob)
    ask(carol)
    settle(alice, bob, carol)
    assert answer(alice) > 3
    assert answer(bob) > 3
    for _ in range(40):
        for device in (alice, bob):
            device.work()
            device.transmit()
            device.answer()
    settle(alice, bob, carol)

    assert [text for _, text in look_back_of(carol)] == ["in the beginning"]


def look_back_of(device: Device) -> list[tuple[int, str]]:
    look_back(device)
    return history_of(device)


def test_all_who_wait_are_answered_together() -> None:
    alice, bob = two_members()
    carol, dave = newcomer(alice, bob), newcomer(alice, bob, name="dave")
    settle(alice, bob, carol, dave)
    assert ask(carol)
    assert ask(dave)
    settle(alice, bob, carol, dave)

    assert answer(alice) == 1
    settle(alice, bob, carol, dave)

    assert look_back_of(carol) == look_back_of(dave) == [(1, "in the beginning")]
    assert alice.core.past.asks == {}


def test_whoever_still_waits_answers_nobody() -> None:
    alice, bob = two_members()
    carol, dave = newcomer(alice, bob), newcomer(alice, bob, name="dave")
    settle(alice, bob, carol, dave)
    assert ask(dave)
    settle(alice, bob, carol, dave)

    assert answer(carol) == 0


def test_parts_that_came_before_a_restart_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HISTORY_PART_BYTES", 200)
    alice, bob = two_members()
    carol = newcomer(alice, bob)
    ask(carol)
    settle(alice, bob, carol)
    assert answer(alice) > 3
    for _ in range(40):
        alice.work()
        alice.transmit()
        alice.answer()
    carol.read(2)
    carol.work()
    carol.crash()
    settle(alice, bob, carol)

    assert look_back_of(carol) == [(1, "in the beginning")]


def test_whoever_lied_is_not_listened_to_again_and_at_last_nobody() -> None:
    alice, bob = two_members()
    carol = newcomer(alice, bob)
    for turn in range(limits.HISTORY_GIVERS_MAX):
        assert ask(carol, NOW_S + turn)
        quest = quest_of(carol)
        settle(alice, bob, carol)
        assert answer((alice, bob)[turn % 2], NOW_US)
        if turn < 2:
            settle(alice, bob, carol)
            assert quest_of(carol).state is QuestState.GRANTED
            carol.core.past.refuse_giver()
            assert quest_of(carol).ask_id != quest.ask_id
        else:
            settle(alice, bob, carol)
            assert quest_of(carol).state is QuestState.WANTED  # Alice is not listened to any more.
    dave = newcomer(alice, bob, carol, name="dave")
    served(dave, alice, bob, carol)
    assert answer_of(dave, carol, alice, bob)
    carol.core.past.refuse_giver()

    assert quest_of(carol).state is QuestState.FAILED
    assert not ask(carol, NOW_S + 1_000_000)
    assert quest_of(carol).private == b""


def answer_of(giver: Device, asker: Device, *others: Device) -> bool:
    ask(asker, NOW_S + 100_000)
    settle(giver, asker, *others)
    given = answer(giver)
    settle(giver, asker, *others)
    return bool(given)


def test_asking_again_takes_longer_each_time_and_ends() -> None:
    alice, bob = two_members()
    carol = newcomer(alice, bob)
    now_s, waits = NOW_S, []
    while carol.core.past.occasion is not None:
        waits.append(carol.core.past.wait_s(now_s))
        now_s += int(waits[-1])
        assert ask(carol, now_s)
        assert not ask(carol, now_s)

    assert waits == [0, 60, 120, 240, 480, 960, 1920, 3840]


def test_what_is_malformed_is_shown_as_unreadable_and_changes_nothing() -> None:
    alice, bob = two_members()
    before = bob.core.past.asks.copy()
    alice.post("no words at all", kind=PayloadKind.HISTORY_ASK)
    alice.post("nor these", kind=PayloadKind.HISTORY_PART)

    settle(alice, bob)

    assert len(bob.items(ItemKind.REFUSED)) == 2
    assert bob.core.past.asks == before


def test_asks_are_bounded() -> None:
    alice, bob = two_members()
    for number in range(limits.HISTORY_ASKS_MAX + 5):
        wanted = Ask(entropy_of(number)(16), bytes([9]) * 32, 2)
        alice.post(to_text(wanted), kind=PayloadKind.HISTORY_ASK)
    settle(alice, bob)

    assert len(bob.core.past.asks) == limits.HISTORY_ASKS_MAX


def test_parts_of_nobodys_answer_are_passed_over() -> None:
    """Of another giver, of another grant, or not the next one."""
    alice, bob = two_members()
    carol = newcomer(alice, bob)
    ask(carol)
    settle(alice, bob, carol)
    answer(alice)
    (waiting,) = [item.outgoing for item in alice.core._outbox._waiting]
    part = read_part(waiting.text)
    first = msgspec.structs.replace(part, count=3, data=part.data[:50])
    alice.core.withdraw(waiting.message_id)
    alice.post(to_text(first), kind=PayloadKind.HISTORY_PART)
    settle(alice, bob, carol)
    assert len(quest_of(carol).parts) == 1

    for wrong in (
        msgspec.structs.replace(first, number=2, keys=()),
        msgspec.structs.replace(first, number=1, keys=(), grant_id=bytes(16)),
    ):
        alice.post(to_text(wrong), kind=PayloadKind.HISTORY_PART)
    bob.post(to_text(msgspec.structs.replace(first, number=1, keys=())), kind=PayloadKind.HISTORY_PART)
    settle(alice, bob, carol)

    assert len(quest_of(carol).parts) == 1
    assert quest_of(carol).state is QuestState.WANTED


def test_what_another_device_of_ours_kept_is_read_first_and_then_the_others_are_asked() -> None:
    """Nobody else need be there for it; what came between is known to others only."""
    alice, bob = two_members()
    own = encode_grant(bob.core.past.archive.grant(RoomEpoch(bob.core.epoch + 1), 0))
    alice.propose()
    settle(alice, bob)
    alice.post("while nobody of us was there")
    settle(alice, bob)
    phone = newcomer(alice, bob, name="phone")

    phone.core.past.inherit(own)
    phone.work()
    phone.crash()
    assert not ask(phone)
    first = look_back_of(phone)
    assert ask(phone)
    settle(alice, bob, phone)
    assert answer(alice)
    settle(alice, bob, phone)
    second = look_back_of(phone)

    assert [text for _, text in first] == ["in the beginning"]
    assert sorted(text for _, text in second) == ["in the beginning", "while nobody of us was there"]
    assert quest_of(phone).state is QuestState.READ


def test_an_archive_that_does_not_fit_is_dropped_and_nobody_is_blamed() -> None:
    alice, bob = two_members()
    records = bob.core.past.archive.grant(RoomEpoch(bob.core.epoch + 1), 0)
    false = [msgspec.structs.replace(records[0], chain=bytes(32)), *records[1:]]
    phone = newcomer(alice, bob, name="phone")
    phone.core.past.inherit(encode_grant(false))

    with pytest.raises(HistoryError):
        look_back(phone)

    assert quest_of(phone).state is QuestState.WANTED
    assert quest_of(phone).refused == ()
