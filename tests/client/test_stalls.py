"""Rules R3 and R4 (e2ee.md 3.1) with real members: whatever one member commits, the room writes again."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from client import limits
from client.commits import override_block
from client.room_state import Block, Phase
from client.timeline import ItemKind
from tests.client.builders import KEYS, NOW_S, Device, entropy_of, found_room, join, settle
from wire.ids import RoomEpoch
from wire.room import Ack, CommitBody, ResultKind, decode_commit, encode_commit_block, encode_control_block

STALL_S = 30


def trio_of_members() -> tuple[Device, Device, Device]:
    alice = found_room()
    bob, mallory = join("bob", alice.log), join("mallory", alice.log)
    settle(alice, bob, mallory)
    speak(alice)
    settle(alice, bob, mallory)
    return alice, bob, mallory


def speak(device: Device) -> bytes:
    return device.post(f"{device.name} {len(device.posted)}")


def garbage(body: CommitBody) -> CommitBody:
    return msgspec.structs.replace(body, commit=b"garbage" * 20)


def foreign_keys(body: CommitBody) -> CommitBody:
    return msgspec.structs.replace(body, next_write_key=b"m" * 32, next_read_key=b"m" * 32)


def misplaced(body: CommitBody) -> CommitBody:
    return msgspec.structs.replace(body, commit=body.commit[:-1] + bytes([body.commit[-1] ^ 1]))


def brick(mallory: Device, spoil: Callable[[CommitBody], CommitBody]) -> RoomEpoch:
    """Mallory wins the epoch with something that nobody can apply; returns the epoch that it claims to begin."""
    ended = mallory.core.epoch
    mallory.propose()
    [block] = mallory.work().appends
    mallory.outgoing.clear()
    body = spoil(decode_commit(block.data))
    mallory.number += 1
    result = mallory.log.append(mallory.session, mallory.number, encode_commit_block(ended, body))
    assert result.kind is ResultKind.ACCEPTED
    return RoomEpoch(ended + 1)


def reopen(device: Device) -> None:
    device.core.reopen(device.core.epoch, NOW_S)
    device.work()
    device.transmit()
    device.answer()
    device.read()
    device.work()


def writes_again(*devices: Device) -> bool:
    settle(*devices)
    before = len(devices[0].texts)
    for device in devices:
        speak(device)
    settle(*devices)
    texts = {tuple(device.texts[-len(devices) :]) for device in devices}
    return len(texts) == 1 and len(devices[0].texts) == before + len(devices)


@pytest.mark.parametrize("spoil", [garbage, foreign_keys, misplaced])
def test_garbage_commit_holds_the_room_up_for_thirty_seconds_at_most(spoil: Callable[[CommitBody], CommitBody]) -> None:
    alice, bob, mallory = trio_of_members()
    brick(mallory, spoil)
    waiting = speak(alice)
    settle(alice, bob)
    assert waiting not in alice.outcomes

    alice.log.now_s += STALL_S
    reopen(bob)

    assert writes_again(alice, bob)
    assert alice.outcomes[waiting].sequence > 0
    assert alice.core.undecryptable == bob.core.undecryptable == 0
    assert [item.kind for item in bob.disk.items if item.kind is ItemKind.ALARM] == [ItemKind.ALARM]


def test_nobody_reopens_an_epoch_before_its_time_or_after_an_acknowledgement() -> None:
    alice, bob, mallory = trio_of_members()
    begun = brick(mallory, garbage)
    settle(alice, bob)

    reopen(bob)
    assert bob.core.epoch == begun - 1

    mallory.log.append(mallory.session, 99, encode_control_block(begun, Ack()))
    alice.log.now_s += STALL_S
    reopen(bob)
    assert bob.core.epoch == begun - 1
    assert bob.core.stalled == (begun - 1, 2)


def test_who_alone_cannot_follow_gives_up_and_comes_back_by_the_link() -> None:
    alice, bob, mallory = trio_of_members()
    begun = brick(mallory, garbage)
    mallory.log.append(mallory.session, 99, encode_control_block(begun, Ack()))
    settle(alice, bob)
    alice.log.now_s += STALL_S

    for _ in range(limits.REOPENINGS_MAX + 1):
        reopen(bob)

    assert bob.core.phase is Phase.BROKEN


def test_all_who_wait_may_try_and_one_of_them_wins() -> None:
    alice, bob, mallory = trio_of_members()
    brick(mallory, garbage)
    settle(alice, bob)
    alice.log.now_s += STALL_S

    for device in (alice, bob):
        device.core.reopen(device.core.epoch, NOW_S)
        device.work()
    settle(bob, alice)

    assert writes_again(alice, bob)


def test_stall_outlives_a_crash_of_all_who_wait() -> None:
    alice, bob, mallory = trio_of_members()
    brick(mallory, garbage)
    settle(alice, bob)
    for device in (alice, bob):
        device.crash()
        speak(device)
    settle(alice, bob)
    alice.log.now_s += STALL_S

    reopen(bob)

    assert writes_again(alice, bob)


def test_commit_that_holds_is_acknowledged_once_whoever_is_first() -> None:
    alice, bob, mallory = trio_of_members()
    alice.propose()
    settle(alice, bob, mallory)
    epoch = alice.core.epoch
    assert alice.core.is_committer
    assert [device.core.unacknowledged for device in (alice, bob, mallory)] == [epoch] * 3

    for device in (alice, bob, mallory):
        device.core.acknowledge(epoch)
    settle(alice, bob, mallory)

    assert [device.core.unacknowledged for device in (alice, bob, mallory)] == [None] * 3
    assert [delivery.block for delivery in alice.log.deliveries].count(encode_control_block(epoch, Ack())) == 1


def test_message_in_a_new_epoch_is_an_acknowledgement() -> None:
    alice, bob, mallory = trio_of_members()
    alice.propose()
    settle(alice, bob, mallory)
    speak(bob)
    settle(alice, bob, mallory)
    before = len(alice.log.deliveries)

    alice.core.acknowledge(alice.core.epoch)
    settle(alice, bob, mallory)

    assert len(alice.log.deliveries) == before
    assert alice.log.service.write_key_of(RoomEpoch(alice.core.epoch - 1)) is None


def override(owner: Device) -> None:
    block: Block = override_block(owner.core.group, KEYS, entropy_of("override"))
    result = owner.log.append(77_777, 1, block.data)
    assert result.kind is ResultKind.ACCEPTED


def test_owner_takes_back_garbage_that_its_author_acknowledged() -> None:
    """R4: mallory commits garbage, says that it works and talks to herself."""
    alice, bob, mallory = trio_of_members()
    begun = brick(mallory, garbage)
    mallory.log.append(mallory.session, 99, encode_control_block(begun, Ack()))
    settle(alice, bob)

    override(alice)
    settle(alice, bob)

    assert writes_again(alice, bob)
    assert alice.core.undecryptable == bob.core.undecryptable == 0


def test_override_is_an_alarm_for_those_who_could_apply_what_it_took_back() -> None:
    alice, bob, mallory = trio_of_members()
    before = override_block(alice.core.group, KEYS, entropy_of("before"))
    mallory.propose()
    settle(alice, bob, mallory)

    alice.log.append(77_777, 1, before.data)
    settle(alice, bob, mallory)

    assert [device.core.phase for device in (alice, bob, mallory)] == [Phase.BROKEN] * 3
    assert all("went back" in device.items(ItemKind.ALARM)[-1].text for device in (alice, bob, mallory))


def test_removed_member_who_wins_an_unacknowledged_race_is_an_alarm_and_is_thrown_out_by_the_owner() -> None:
    alice, bob, mallory = trio_of_members()
    mallory.propose()
    [late] = mallory.work().appends
    mallory.outgoing.clear()
    alice.propose(mallory)
    settle(alice, bob)
    right = alice.core.epoch
    alice.log.now_s += STALL_S

    assert alice.log.append(mallory.session, 99, late.data).kind is ResultKind.ACCEPTED
    settle(alice, bob)
    assert [device.core.phase for device in (alice, bob)] == [Phase.BROKEN] * 2

    override(alice)
    again = [join(device.name, alice.log, old_group=device.core.group, turn=1) for device in (alice, bob)]
    settle(*again)

    assert again[0].core.epoch > right
    assert writes_again(*again)
    names = {person.name for _, person in again[0].core.people(NOW_S)}
    assert names == {"alice", "bob"}
