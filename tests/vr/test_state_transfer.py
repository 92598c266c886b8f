"""Snapshots on their way to a laggard (VRR 5.3): bounded, proven chunk by chunk, and nothing acknowledged before the end."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from tests.vr.group import Group, Journal, request
from vr import limits
from vr.messages import Chunk, GetChunk, Prepare, PrepareOk, SnapshotOffer, decode, encode
from vr.ready import SnapshotPart, SnapshotRead
from vr.replica import Checkpoint, Replica, ReplicaOptions
from vr.state_transfer import begin_transfer, chunk_hash, make_chunk, make_offer
from vr.types import OpNumber, ReplicaIndex

CHUNK = 64


class Laggard:
    """A group whose second backup missed everything, and whose others keep only a snapshot."""

    def __init__(self, *, behind_in_conflict: bool = False) -> None:
        self.group = group = Group(options=ReplicaOptions(log_margin_ops=0))
        self.primary, (self.other, self.late) = group.first, group.backups()
        session = group.register(group.first)
        group.run(0.5)
        group.cut = {(source, self.late) for source in range(3)} | {(self.late, target) for target in range(3)}
        for number in range(1, 21):
            group.submit(group.first, request(session, number, b"%d" % number))
            group.settle()
        self.session = session
        for index in (self.primary, self.other):
            replica = group.replica(index)
            self.checkpoint = replica.checkpoint()
            replica.checkpoint_done(self.checkpoint.op, group.now)
        group.run(0.5)
        group.packets.clear()
        self.replica = group.replica(self.late)
        self.state = self.replica._state

    def offer(self, checkpoint: Checkpoint | None = None) -> SnapshotOffer:
        return make_offer(
            self.replica.view, ReplicaIndex(self.primary), checkpoint or self.checkpoint, chunk_bytes=CHUNK
        )

    def hear_of_it(self) -> None:
        """The primary's Commit shows the laggard what it misses."""
        self.group.cut = set()
        self.state.raise_commit(self.checkpoint.op)
        self.replica.step(self.offer(), self.group.now)

    def asked(self) -> list[GetChunk]:
        ready = self.replica.ready(self.group.now)
        sent = [] if ready is None else [message for _, message in ready.send_now]
        return [message for message in sent if isinstance(message, GetChunk)]

    def chunk(self, number: int) -> Chunk:
        wanted = SnapshotRead(to=ReplicaIndex(self.late), op=self.checkpoint.op, chunk=number, chunk_bytes=CHUNK)
        return make_chunk(self.replica.view, ReplicaIndex(self.primary), self.checkpoint, wanted)

    def restart(self, parts: Sequence[SnapshotPart]) -> None:
        """The laggard dies and starts with these parts of the snapshot."""
        group = self.group
        restored = msgspec.structs.replace(group.disks[self.late].restored(), parts=parts)
        group.replicas[self.late] = self.replica = Replica(
            group.configuration, ReplicaIndex(self.late), Journal(), restored, now=group.now, seed=7, options=group.options
        )  # fmt: skip
        self.state = self.replica._state

    def some_parts(self, count: int) -> list[SnapshotPart]:
        """Fetch so many chunks."""
        self.hear_of_it()
        parts: list[SnapshotPart] = []
        for number in range(count):
            self.asked()
            self.replica.step(self.chunk(number), self.group.now)
            ready = self.replica.ready(self.group.now)
            assert ready is not None
            parts += ready.parts
        return parts

    def fetch(self) -> Checkpoint:
        """Everything but the last step."""
        self.hear_of_it()
        for _ in range(200):
            ready = self.replica.ready(self.group.now)
            assert ready is not None
            if ready.snapshots:
                return ready.snapshots[0]
            for _, message in ready.send_now:
                if isinstance(message, GetChunk):
                    self.replica.step(self.chunk(message.number), self.group.now)
        raise AssertionError("the snapshot never came")


def test_messages_survive_the_wire() -> None:
    laggard = Laggard()
    for message in (laggard.offer(), laggard.chunk(0)):
        assert decode(encode(message)) == message


def test_chunks_are_asked_for_two_at_a_time() -> None:
    laggard = Laggard()
    laggard.hear_of_it()
    assert [message.number for message in laggard.asked()] == [0, 1]
    laggard.replica.step(laggard.chunk(1), laggard.group.now)
    assert [message.number for message in laggard.asked()] == [2]


def test_the_budget_bounds_what_is_asked_for() -> None:
    laggard = Laggard()
    laggard.state.snapshot_budget = CHUNK
    laggard.state.snapshot_budget_at = laggard.group.now
    laggard.hear_of_it()
    assert len(laggard.asked()) == 1
    laggard.group.now += 2 * CHUNK / limits.SNAPSHOT_BYTES_PER_S
    laggard.replica.step(laggard.chunk(0), laggard.group.now)
    assert len(laggard.asked()) == 2


def test_a_bad_chunk_is_found_at_once_and_asked_for_again() -> None:
    laggard = Laggard()
    laggard.hear_of_it()
    laggard.asked()
    good = laggard.chunk(0)
    bad = msgspec.structs.replace(good, data=bytes([good.data[0] ^ 1]) + good.data[1:])
    laggard.replica.step(bad, laggard.group.now)
    assert laggard.replica.dropped["chunk_unsound"] == 1
    assert [message.number for message in laggard.asked()] == [0]


def test_nothing_is_acknowledged_or_changed_before_the_snapshot_is_durable() -> None:
    laggard = Laggard()
    before = laggard.replica.checkpoint()
    snapshot = laggard.fetch()
    assert snapshot == laggard.checkpoint
    assert laggard.replica.checkpoint() == before
    assert laggard.state.durable_op == before.op


def test_a_snapshot_that_is_durable_replaces_the_log() -> None:
    laggard = Laggard()
    snapshot = laggard.fetch()
    laggard.replica.snapshot_saved(snapshot, laggard.group.now)
    assert laggard.replica.checkpoint() == laggard.checkpoint
    assert laggard.replica.head_op == laggard.replica.applied_op == snapshot.op
    ready = laggard.replica.ready(laggard.group.now)
    assert ready is not None
    assert ready.meta is not None
    assert (ready.meta.base_op, ready.meta.truncate_above) == (snapshot.op, snapshot.op)
    acknowledged = [message.op for _, message in ready.send_now if isinstance(message, PrepareOk)]
    assert acknowledged == [snapshot.op]


def test_the_group_goes_on_with_the_laggard() -> None:
    laggard = Laggard()
    snapshot = laggard.fetch()
    group = laggard.group
    laggard.replica.snapshot_saved(snapshot, group.now)
    group.cut = {(source, laggard.other) for source in range(3)}
    group.submit(laggard.primary, request(laggard.session, 21, b"21"))
    group.run(1.0)
    assert laggard.replica.applied_op == snapshot.op + 1
    assert group.services[laggard.late].bodies == group.services[laggard.primary].bodies


def test_a_restart_before_the_first_write_begins_from_the_snapshot() -> None:
    laggard = Laggard()
    laggard.group.disks[laggard.late].checkpoint = laggard.fetch()
    laggard.group.crash(laggard.late)
    laggard.group.start(laggard.late)
    assert laggard.group.replica(laggard.late).checkpoint() == laggard.checkpoint


def test_an_offer_that_nobody_asked_for_is_dropped() -> None:
    laggard = Laggard()
    group = laggard.group
    group.replica(laggard.other).step(laggard.offer(), group.now)
    assert group.replica(laggard.other).dropped["snapshot_not_wanted"] == 1


def test_an_offer_whose_hashes_do_not_fit_its_size_is_dropped() -> None:
    laggard = Laggard()
    laggard.state.raise_commit(laggard.checkpoint.op)
    laggard.replica.step(msgspec.structs.replace(laggard.offer(), hashes=b"x" * 16), laggard.group.now)
    assert laggard.replica.dropped["snapshot_offer_malformed"] == 1
    assert laggard.state.transfer is None


def test_a_snapshot_of_another_operation_than_offered_is_refused() -> None:
    laggard = Laggard()
    laggard.state.raise_commit(laggard.checkpoint.op)
    data = b"no checkpoint"
    offer = msgspec.structs.replace(laggard.offer(), size=len(data), hashes=chunk_hash(data))
    laggard.replica.step(offer, laggard.group.now)
    chunk = msgspec.structs.replace(laggard.chunk(0), data=data)
    laggard.replica.step(chunk, laggard.group.now)
    assert laggard.replica.dropped["snapshot_malformed"] == 1
    assert laggard.state.transfer is None


def test_a_source_that_falls_silent_is_left_for_another() -> None:
    laggard = Laggard()
    laggard.hear_of_it()
    later = msgspec.structs.replace(laggard.checkpoint, op=OpNumber(laggard.checkpoint.op + 1))
    laggard.state.raise_commit(later.op)
    laggard.replica.step(laggard.offer(later), laggard.group.now)
    assert laggard.state.transfer is not None
    assert laggard.state.transfer.op == laggard.checkpoint.op
    laggard.group.now += laggard.group.options.patience_s
    laggard.replica.step(laggard.offer(later), laggard.group.now)
    assert laggard.state.transfer.op == later.op


def test_each_proven_chunk_is_handed_out_to_be_kept() -> None:
    laggard = Laggard()

    parts = laggard.some_parts(3)

    assert [(part.number, part.data) for part in parts] == [(n, laggard.chunk(n).data) for n in range(3)]
    assert {decode(part.offer) for part in parts} == {laggard.offer()}


def test_a_restart_goes_on_with_the_snapshot_that_was_on_its_way() -> None:
    laggard = Laggard()
    parts = laggard.some_parts(2)

    laggard.restart(parts)
    laggard.group.now += 1
    laggard.replica.tick(laggard.group.now)

    assert [message.number for message in laggard.asked()] == [2, 3]


def test_a_restart_that_finds_every_part_asks_for_none() -> None:
    laggard = Laggard()
    total = len(laggard.offer().hashes) // 16
    parts = laggard.some_parts(total - 1)
    last = SnapshotPart(offer=parts[0].offer, number=total - 1, data=laggard.chunk(total - 1).data)
    laggard.restart([last, *parts])

    ready = laggard.replica.ready(laggard.group.now)

    assert ready is not None
    assert ready.snapshots == [laggard.checkpoint]


def test_a_part_that_has_rotted_is_fetched_again() -> None:
    laggard = Laggard()
    parts = laggard.some_parts(3)
    parts[1] = msgspec.structs.replace(parts[1], data=b"?" + parts[1].data[1:])

    laggard.restart(parts)
    laggard.group.now += 1
    laggard.replica.tick(laggard.group.now)

    assert [message.number for message in laggard.asked()] == [1, 3]


def test_parts_that_are_not_wanted_or_make_no_sense_change_nothing() -> None:
    laggard = Laggard()
    parts = laggard.some_parts(2)
    old = msgspec.structs.replace(laggard.offer(), op=OpNumber(0))
    few = msgspec.structs.replace(laggard.offer(), hashes=bytes(16))
    for offer in (b"noise", encode(old), encode(few), encode(laggard.chunk(0))):
        laggard.restart([msgspec.structs.replace(parts[0], offer=offer)])
        assert laggard.state.transfer is None


@pytest.mark.parametrize("place", [5, 0, 1, 2])
def test_parts_from_another_epoch_are_kept_and_the_rest_is_asked_of_anybody(place: int) -> None:
    """Whoever offered them had another place then, or none: perhaps the one that is ours now."""
    laggard = Laggard()
    parts = laggard.some_parts(2)
    offer = encode(msgspec.structs.replace(laggard.offer(), replica=ReplicaIndex(place)))

    laggard.restart([msgspec.structs.replace(part, offer=offer) for part in parts])

    assert laggard.state.transfer is not None
    assert sorted(laggard.state.transfer.chunks) == [0, 1]
    assert laggard.state.transfer.source in laggard.state.others


def test_what_one_source_gave_another_need_not() -> None:
    """The same checkpoint is the same bytes everywhere: a source that fell silent costs nothing that is here."""
    laggard = Laggard()
    laggard.some_parts(2)
    laggard.group.now += laggard.group.options.patience_s

    laggard.replica.step(laggard.offer(), laggard.group.now)

    assert [message.number for message in laggard.asked()] == [2, 3]
    elsewhere = msgspec.structs.replace(laggard.offer(), replica=ReplicaIndex(laggard.other))
    assert laggard.state.transfer is not None
    anew = begin_transfer(laggard.state, elsewhere, laggard.state.transfer.chunks.values())
    assert (anew.source, sorted(anew.chunks)) == (laggard.other, [0, 1])


def test_what_came_early_is_taken_when_the_snapshot_is_here() -> None:
    """Nobody sends it again: whoever leaves it waiting stays behind for ever."""
    laggard = Laggard()
    snapshot = laggard.fetch()
    group = laggard.group
    group.submit(laggard.primary, request(laggard.session, 21, b"21"))
    group.collect(laggard.primary)
    group.deliver(lambda _source, target, message: target == laggard.late and isinstance(message, Prepare))
    assert list(laggard.state.early) == [snapshot.op + 1]

    laggard.replica.snapshot_saved(snapshot, group.now)

    assert laggard.replica.head_op == snapshot.op + 1
    assert not laggard.state.early
