"""Newcomers who knock: let in together, by one commit, and only with the link."""

from __future__ import annotations

import msgspec
import pytest

import mls
from client import limits
from client.joining import prepare_knock
from client.room_state import RoomKeys
from client.timeline import ItemKind
from tests.client.builders import (
    KEYS,
    NOW_S,
    ROOM_ID,
    Log,
    entropy_of,
    found_room,
    join,
    settle,
)
from tests.client.knockers import knock, package_of, welcomed
from tests.client.pairs import deliver
from wire.room import BlockKind, ResultKind, decode_block_header, decode_commit


def commits(log: Log) -> int:
    return sum(decode_block_header(delivery.block).kind is BlockKind.COMMIT for delivery in log.deliveries)


def test_all_who_knock_are_let_in_by_one_commit_and_talk_at_once() -> None:
    alice = found_room()
    packages = {name: package_of(name) for name in ("bob", "carol", "dan")}
    for package in packages.values():
        assert knock(alice.log, package) is ResultKind.ACCEPTED
    alice.read()

    alice.core.knocks.be_due()
    settle(alice)

    assert (commits(alice.log), alice.core.epoch, len(alice.core.knocks.waiting)) == (1, 1, 0)
    assert [item.sender.name for item in alice.items(ItemKind.JOINED)] == ["bob", "carol", "dan"]
    newcomers = [welcomed(name, alice.log, package) for name, package in packages.items()]
    newcomers[0].post("hej")
    settle(alice, *newcomers)
    assert all(device.texts == ["hej"] for device in (alice, *newcomers))


def test_nobody_is_let_in_before_it_is_time_but_any_commit_does() -> None:
    alice = found_room()
    knock(alice.log, package := package_of("bob"))
    settle(alice)
    assert alice.log.service.welcome(package.reference) is None

    alice.propose()
    settle(alice)

    assert alice.log.service.welcome(package.reference) is not None


def test_whoever_began_the_epoch_is_on_duty_and_stays_it() -> None:
    alice = found_room()
    bob = join("bob", alice.log)
    settle(alice, bob)
    knock(alice.log, package_of("carol"))

    settle(alice, bob)
    assert (alice.core.knocks.is_on_duty, bob.core.knocks.is_on_duty) == (False, True)

    join("dan", alice.log)
    settle(alice, bob)
    assert (len(bob.core.knocks.waiting), bob.core.knocks.is_on_duty) == (1, True)


def test_members_who_let_in_at_the_same_moment_cost_one_lost_race() -> None:
    alice = found_room()
    bob = join("bob", alice.log)
    settle(alice, bob)
    knock(alice.log, package_of("carol"))
    for device in (alice, bob):
        device.read()
        device.core.knocks.be_due()
        device.work()

    settle(bob, alice)

    assert commits(alice.log) == 2
    assert len(alice.core.group.members()) == len(bob.core.group.members()) == 3
    assert [device.core.knocks.is_due for device in (alice, bob)] == [False, False]


def test_who_gave_up_and_came_by_a_commit_of_their_own_waits_no_more() -> None:
    alice = found_room()
    knock(alice.log, package_of("bob"))
    settle(alice)

    bob = join("bob", alice.log)
    settle(alice, bob)

    assert len(alice.core.knocks.waiting) == 0
    knock(alice.log, package_of("bob", 1))
    settle(alice, bob)
    assert len(alice.core.knocks.waiting) == 0


def test_a_knock_without_the_link_is_as_if_it_were_not_there() -> None:
    alice = found_room()

    knock(alice.log, package_of("mallory"), RoomKeys(room_id=ROOM_ID, bundle_key=b"x" * 32))
    settle(alice)

    assert len(alice.core.knocks.waiting) == 0
    assert alice.core.alarms == alice.core.undecryptable == 0


def test_a_knock_is_not_good_for_another_epoch_than_that_it_was_made_for() -> None:
    alice = found_room()
    block = prepare_knock(alice.log.bundle(), KEYS, package_of("bob"), entropy=entropy_of(1)).data
    alice.propose()
    settle(alice)

    deliver(alice, block[:1] + alice.core.epoch.to_bytes(8, "big") + block[9:])

    assert len(alice.core.knocks.waiting) == 0


def test_an_old_knock_that_a_server_shows_again_counts_no_more() -> None:
    alice = found_room()
    alice.core.knocks.heard(
        prepare_knock(alice.log.bundle(), KEYS, package_of("bob"), entropy=entropy_of(1)).data,
        alice.core.group, KEYS, is_committer=True,
    )  # fmt: skip
    old = prepare_knock(alice.log.bundle(), KEYS, package_of("carol"), entropy=entropy_of(2)).data
    for _ in range(limits.KNOCK_EPOCHS_MAX + 1):
        alice.core.group = alice.core.group.commit(entropy=entropy_of(alice.core.epoch), now=NOW_S).merge()

    alice.core.knocks.heard(old, alice.core.group, KEYS, is_committer=True)
    alice.core.knocks.entered(alice.core.group, KEYS)

    assert len(alice.core.knocks.waiting) == 0


def test_another_link_ends_the_wait_of_who_knocked_with_the_old_one() -> None:
    alice = found_room()
    knock(alice.log, package_of("bob"))
    alice.read()
    assert len(alice.core.knocks.waiting) == 1

    alice.core.knocks.entered(alice.core.group, msgspec.structs.replace(KEYS, bundle_key=b"n" * 32))

    assert len(alice.core.knocks.waiting) == 0


def test_one_bad_key_package_does_not_keep_the_others_out() -> None:
    alice = found_room()
    knock(alice.log, package_of("old", now_s=NOW_S - 10**9))
    forged = package_of("eve").key_package_bytes
    eve = mls.KeyPackageBundle(
        key_package_bytes=forged[:-1] + bytes([forged[-1] ^ 1]), init_private_key=b"", encryption_private_key=b""
    )
    knock(alice.log, eve)
    knock(alice.log, package := package_of("bob"))
    alice.read()

    alice.core.knocks.be_due()
    settle(alice)

    assert [item.sender.name for item in alice.items(ItemKind.JOINED)] == ["bob"]
    assert welcomed("bob", alice.log, package).core.epoch == 1
    assert alice.core.alarms == 0


def test_who_waits_is_bounded_and_so_is_one_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "KNOCKS_MAX", 4)
    monkeypatch.setattr(limits, "LET_IN_MAX", 3)
    alice = found_room()
    for number in range(5):
        knock(alice.log, package_of(f"guest {number}"))
    alice.read()
    assert len(alice.core.knocks.waiting) == 4

    alice.core.knocks.be_due()
    settle(alice)

    assert len(alice.core.group.members()) == 4
    assert len(alice.core.knocks.waiting) == 1


def test_a_welcome_is_stored_once_for_all() -> None:
    alice = found_room()
    for number in range(20):
        knock(alice.log, package_of(f"guest {number}"))
    alice.read()
    alice.core.knocks.be_due()
    settle(alice)

    (stored,) = decode_commit(alice.log.deliveries[-1].block).welcomes
    assert len(stored.references) == 20


def test_a_knock_does_not_vouch_for_the_commit_before_it() -> None:
    alice = found_room()
    bob = join("bob", alice.log)
    alice.read()
    assert alice.core.unacknowledged == 1

    knock(alice.log, package_of("carol"))
    alice.read()

    assert alice.core.unacknowledged == 1
    assert bob.core.is_committer
