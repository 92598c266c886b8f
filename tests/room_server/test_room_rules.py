"""Rules R1 to R4 (e2ee.md 3.1) in the replicated service, with a fake MLS: an epoch is a counter and a branch.

A commit of the fake names the branch that it begins and who can apply it. Servers see none of that, as with real commits.
"""

from __future__ import annotations

import random

import pytest

from room_server import limits
from room_server.room import RoomService
from tests.room_server.builders import app, commit, genesis, request
from vr.types import OpNumber
from wire.ids import RoomEpoch, Sequence
from wire.room import (
    Ack,
    BlockKind,
    BlockResult,
    Override,
    ResultKind,
    decode_block_header,
    decode_commit,
    decode_control,
    decode_result,
    encode_control_block,
)

STALL_US = limits.STALL_US_MAX


class Clocked:
    """A room and its agreed time."""

    def __init__(self) -> None:
        self.room = RoomService(genesis())
        self.now_us = 1_000
        self.history: list[tuple[int, bytes]] = []

    def append(self, body: bytes) -> BlockResult:
        self.now_us += 1
        self.history.append((self.now_us, body))
        return self.apply(self.now_us, body)

    def apply(self, now_us: int, body: bytes) -> BlockResult:
        [encoded] = self.room.apply(OpNumber(1), now_us, [request(body)])
        return decode_result(encoded)


def ack(epoch: int) -> bytes:
    return encode_control_block(RoomEpoch(epoch), Ack())


def override(epoch: int, branch: bytes = b"o") -> bytes:
    key = branch.ljust(32, b"k")
    return encode_control_block(RoomEpoch(epoch), Override(write_key=key, read_key=key, group_info=branch))


def test_commit_may_be_replaced_after_thirty_seconds_without_acknowledgement() -> None:
    """R3: the log goes on, the epoch number stays, the keys are those of the second commit."""
    clocked = Clocked()
    clocked.append(commit(0, fill=b"p", welcomes=[(b"dead", b"x")]))
    clocked.now_us += STALL_US

    result = clocked.append(commit(0, fill=b"q", welcomes=[(b"live", b"x")]))

    room = clocked.room
    assert result == BlockResult(ResultKind.ACCEPTED, Sequence(2), RoomEpoch(1))
    assert (room.epoch, room.write_key, room.commit_sequence) == (1, b"w1".ljust(32, b"q"), 2)
    assert room.group_info == b"infoq"
    assert (room.welcome(b"dead"), room.welcome(b"live") is not None) == (None, True)
    assert room.read_key(RoomEpoch(1)) == b"r1".ljust(32, b"q")


@pytest.mark.parametrize("block", [ack(1), app(1), commit(1)])
def test_whatever_is_accepted_in_an_epoch_acknowledges_its_commit(block: bytes) -> None:
    clocked = Clocked()
    clocked.append(commit(0))
    assert clocked.append(block).kind is ResultKind.ACCEPTED
    clocked.now_us += STALL_US

    assert clocked.append(commit(0, fill=b"q")).kind is ResultKind.CONFLICT
    assert clocked.room.write_key_of(RoomEpoch(0)) is None


def test_commit_is_not_replaced_a_microsecond_early() -> None:
    clocked = Clocked()
    clocked.append(commit(0))
    clocked.now_us += STALL_US - 2

    assert clocked.append(commit(0, fill=b"q")).kind is ResultKind.CONFLICT
    assert clocked.append(commit(0, fill=b"q")).kind is ResultKind.ACCEPTED


def test_replaced_commit_may_be_replaced_again_after_its_own_thirty_seconds() -> None:
    clocked = Clocked()
    clocked.append(commit(0))
    for fill in (b"q", b"s"):
        assert clocked.append(commit(0, fill=fill)).kind is ResultKind.CONFLICT
        clocked.now_us += STALL_US
        assert clocked.append(commit(0, fill=fill)).kind is ResultKind.ACCEPTED

    assert clocked.room.generation == 2


def test_acknowledgement_counts_once_and_only_for_the_present_epoch() -> None:
    clocked = Clocked()
    clocked.append(commit(0))
    before = clocked.room.next_sequence

    kinds = [clocked.append(ack(epoch)).kind for epoch in (0, 2, 1, 1)]

    assert kinds == [ResultKind.STALE, ResultKind.STALE, ResultKind.ACCEPTED, ResultKind.CONFLICT]
    assert clocked.room.next_sequence == before + 1


def test_only_the_epoch_before_is_reopened() -> None:
    clocked = Clocked()
    clocked.append(commit(0))
    clocked.append(commit(1))
    clocked.now_us += STALL_US

    assert clocked.append(commit(0)).kind is ResultKind.CONFLICT
    assert clocked.append(commit(1)).kind is ResultKind.ACCEPTED


def test_override_sends_the_room_back_and_its_dead_entries_are_readable_to_who_stayed() -> None:
    """R4."""
    clocked = Clocked()
    for block in (commit(0), app(1), commit(1), ack(2), app(2)):
        clocked.append(block)
    room = clocked.room
    assert room.reading_epoch(Sequence(5), RoomEpoch(2)) == 2

    result = clocked.append(override(1))

    assert (result.kind, result.epoch) == (ResultKind.ACCEPTED, 1)
    assert room.write_key == b"o".ljust(32, b"k")
    assert room.read_key(RoomEpoch(2)) is None
    assert (room.commit_sequence, room.commit_chain) == (6, room.chain)
    assert room.reading_epoch(Sequence(5), RoomEpoch(2)) == 1
    assert room.reading_epoch(Sequence(7), RoomEpoch(2)) == 2
    assert [clocked.append(block).kind for block in (app(2), app(1))] == [ResultKind.STALE, ResultKind.ACCEPTED]


@pytest.mark.parametrize("epoch", [2, 9])
def test_override_never_leads_forward(epoch: int) -> None:
    clocked = Clocked()
    clocked.append(commit(0))
    before = clocked.room.snapshot()

    assert clocked.append(override(epoch)).kind is ResultKind.STALE
    assert clocked.room.snapshot() == before


def test_what_was_undone_survives_a_snapshot() -> None:
    clocked = Clocked()
    for block in (commit(0), app(1), commit(1), override(1), commit(1)):
        clocked.append(block)
    restored = Clocked()
    restored.room.restore(clocked.room.snapshot())
    restored.now_us = clocked.now_us = clocked.now_us + STALL_US

    assert restored.room.snapshot() == clocked.room.snapshot()
    assert restored.room.reading_epoch(Sequence(2), RoomEpoch(2)) == 1
    assert restored.append(commit(1)).kind is clocked.append(commit(1)).kind is ResultKind.ACCEPTED
    assert restored.room.generation == clocked.room.generation == 2


class FakeMember:
    """Follows the log as a client does: the first commit of its epoch that it can apply counts."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.epoch = 0
        self.branch = b"genesis"
        self.is_lost = False

    def follow(self, block: bytes, *, can_apply: bool) -> None:
        header = decode_block_header(block)
        if self.is_lost:
            return
        if header.kind is BlockKind.CONTROL:
            body = decode_control(block)
            if isinstance(body, Override):
                self.is_lost = (header.epoch, body.group_info) != (self.epoch, self.branch)
        elif header.kind is BlockKind.COMMIT:
            if header.epoch < self.epoch:
                self.is_lost = True
            elif header.epoch == self.epoch and can_apply:
                self.epoch += 1
                self.branch = decode_commit(block).group_info

    def join(self, room: RoomService) -> None:
        """Come back by the link."""
        self.epoch, self.branch, self.is_lost = room.epoch, room.group_info, False


class Attacked:
    """A room whose members, one of them mallory, commit, acknowledge and talk at random."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.clocked = Clocked()
        self.members = [FakeMember(name) for name in ("alice", "bob", "mallory")]
        for member in self.members:
            member.branch = self.clocked.room.group_info
        self.honest = self.members[:2]
        self.commits = 0

    def append(self, body: bytes, able: list[FakeMember]) -> ResultKind:
        kind = self.clocked.append(body).kind
        if kind is ResultKind.ACCEPTED:
            for member in self.members:
                member.follow(body, can_apply=member in able)
        return kind

    def commit_of(self, epoch: int) -> bytes:
        self.commits += 1
        return commit(epoch, fill=b"%d" % self.commits)

    def attack(self) -> None:
        epoch = self.clocked.room.epoch
        act = self.random.choice(("garbage", "half", "ack", "talk", "late", "wait", "honest"))
        able = {"garbage": [], "half": self.random.sample(self.members, 2), "honest": self.members}
        match act:
            case "garbage" | "half" | "honest":
                self.append(self.commit_of(epoch), list(able[act]))
            case "ack":
                self.append(ack(epoch), [])
            case "talk":
                self.append(app(epoch), [])
            case "late":
                self.append(self.commit_of(max(epoch - 1, 0)), self.random.sample(self.members, 1))
            case _:
                self.clocked.now_us += self.random.choice((1, STALL_US))

    def heal(self) -> None:
        """What honest members do: wait, reopen; and if that is refused, the owner (alice) overrides or joins."""
        room, alice = self.clocked.room, self.members[0]
        self.clocked.now_us += STALL_US
        is_cut_off = (alice.epoch, alice.branch) != (room.epoch, room.group_info)
        if is_cut_off and self.append(self.commit_of(alice.epoch), self.honest) is not ResultKind.ACCEPTED:
            self.override(alice)
        for member in self.honest:
            if (member.epoch, member.branch) != (room.epoch, room.group_info):
                member.join(room)

    def override(self, alice: FakeMember) -> None:
        key = b"admin".ljust(32)
        body = Override(write_key=key, read_key=key, group_info=alice.branch)
        assert self.append(encode_control_block(RoomEpoch(alice.epoch), body), []) is ResultKind.ACCEPTED
        alice.is_lost = False


@pytest.mark.parametrize("seed", range(200))
def test_every_attempt_to_brick_a_room_ends_in_a_room_that_writes_again(seed: int) -> None:
    attacked = Attacked(seed)
    for _ in range(attacked.random.randint(1, 12)):
        attacked.attack()

    attacked.heal()

    room = attacked.clocked.room
    assert {(member.epoch, member.branch) for member in attacked.honest} == {(room.epoch, room.group_info)}
    assert attacked.append(app(room.epoch), []) is ResultKind.ACCEPTED
    assert attacked.append(attacked.commit_of(room.epoch), attacked.members) is ResultKind.ACCEPTED


@pytest.mark.parametrize("seed", range(50))
def test_replicas_agree_on_every_attack(seed: int) -> None:
    attacked = Attacked(seed)
    for _ in range(12):
        attacked.attack()
    attacked.heal()
    twin, half = Clocked(), len(attacked.clocked.history) // 2

    for now_us, body in attacked.clocked.history[:half]:
        twin.apply(now_us, body)
    snapshot, twin = twin.room.snapshot(), Clocked()
    twin.room.restore(snapshot)
    for now_us, body in attacked.clocked.history[half:]:
        twin.apply(now_us, body)

    assert twin.room.snapshot() == attacked.clocked.room.snapshot()
