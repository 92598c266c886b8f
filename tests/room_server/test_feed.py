from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from room_server import limits
from room_server.errors import HistoryGapError
from room_server.feed import CatchUp, Chunk, RingBudget, RoomFeed, Subscription, make_chunks
from tests.room_server.builders import ROOM_ID, app, commit, delivery
from wire import limits as wire_limits
from wire.frames import LENGTH_BYTES
from wire.ids import RoomEpoch, Sequence
from wire.messages import Deliver, decode
from wire.room import Delivery, decode_block_header


class Queue:
    """A sink that holds at most `slots` frames until it is drained."""

    def __init__(self, slots: int = 1_000_000) -> None:
        self.slots = slots
        self.frames: list[bytes] = []
        self.received: list[Delivery] = []
        self.behind: dict[Subscription, None] = {}

    def offer(self, frame: bytes) -> bool:
        if len(self.frames) >= self.slots:
            return False
        self.frames.append(frame)
        return True

    def fell_behind(self, subscription: Subscription) -> None:
        self.behind[subscription] = None

    def drain(self) -> list[Delivery]:
        for frame in self.frames:
            message = decode(memoryview(frame)[LENGTH_BYTES:])
            assert isinstance(message, Deliver)
            self.received.extend(message.deliveries)
        self.frames = []
        return self.received


def feed_of(*, ring_bytes_max: int = 1_000_000, budget: RingBudget | None = None) -> RoomFeed:
    feed = RoomFeed(ROOM_ID, budget or RingBudget(), ring_bytes_max=ring_bytes_max)
    feed.start_at(Sequence(1))
    return feed


def subscribed(feed: RoomFeed, queue: Queue, *, after: int = 0, read_epoch: int = 0) -> tuple[Subscription, CatchUp]:
    subscription = Subscription(queue, after=Sequence(after), read_epoch=RoomEpoch(read_epoch))
    return subscription, feed.catch_up(subscription)


def firsts(deliveries: list[Delivery]) -> list[int]:
    return [delivered.first_sequence for delivered in deliveries]


def test_live_subscribers_get_the_very_same_bytes() -> None:
    feed, queues = feed_of(), [Queue(), Queue()]
    for queue in queues:
        assert subscribed(feed, queue)[1] is CatchUp.LIVE

    feed.publish([delivery(1, app(0, 3)), delivery(4, app(0))])

    [first], [second] = (queue.frames for queue in queues)
    assert first is second
    assert firsts(queues[0].drain()) == [1, 4]


def test_newcomer_gets_the_ring_then_lives() -> None:
    feed, queue = feed_of(), Queue()
    feed.publish([delivery(1, app(0))])
    feed.publish([delivery(2, app(0))])

    _, state = subscribed(feed, queue)
    feed.publish([delivery(3, app(0))])

    assert state is CatchUp.LIVE
    assert firsts(queue.drain()) == [1, 2, 3]


def test_newcomer_in_the_middle_of_a_frame_gets_only_what_it_lacks() -> None:
    feed, queue = feed_of(), Queue()
    feed.publish([delivery(1, app(0, 2)), delivery(3, app(0, 2)), delivery(5, app(0))])

    subscribed(feed, queue, after=2)

    assert firsts(queue.drain()) == [3, 5]


def test_newcomer_in_the_middle_of_a_block_gets_that_block_once() -> None:
    feed, queue = feed_of(), Queue()
    feed.publish([delivery(1, app(0, 2)), delivery(3, app(0, 2))])

    subscribed(feed, queue, after=3)
    feed.publish([delivery(5, app(0))])

    assert firsts(queue.drain()) == [3, 5]


def test_newcomer_below_the_ring_needs_history_and_meets_the_ring_without_seam() -> None:
    feed, queue = feed_of(ring_bytes_max=1), Queue()
    history = [delivery(sequence, app(0)) for sequence in range(1, 6)]
    for old in history:
        feed.publish([old])

    subscription, state = subscribed(feed, queue)
    assert state is CatchUp.HISTORY
    assert feed.catch_up_with(subscription, history[:3]) is CatchUp.HISTORY
    assert feed.catch_up(subscription) is CatchUp.HISTORY
    assert feed.catch_up_with(subscription, history) is CatchUp.HISTORY

    assert feed.catch_up(subscription) is CatchUp.LIVE
    assert firsts(queue.drain()) == [1, 2, 3, 4, 5]


def test_page_of_history_that_leaves_a_gap_is_refused() -> None:
    feed, queue = feed_of(), Queue()
    feed.publish([delivery(1, app(0))])
    subscription, _ = subscribed(feed, queue, after=1)

    with pytest.raises(HistoryGapError):
        feed.catch_up_with(subscription, [delivery(3, app(0))])


def test_epoch_above_the_proven_one_is_held_back_until_it_is_proven() -> None:
    feed, queue = feed_of(), Queue()
    subscription, _ = subscribed(feed, queue)

    feed.publish([delivery(1, app(0)), delivery(2, commit(0)), delivery(3, app(1)), delivery(4, app(1))])

    assert firsts(queue.drain()) == [1, 2]
    assert subscription in queue.behind
    assert feed.catch_up(subscription) is CatchUp.GATED
    subscription.read_epoch = RoomEpoch(1)
    assert feed.catch_up(subscription) is CatchUp.LIVE
    assert firsts(queue.drain()) == [1, 2, 3, 4]


def test_epoch_above_the_proven_one_is_held_back_in_pages_of_history_too() -> None:
    feed, queue = feed_of(ring_bytes_max=1), Queue()
    history = [delivery(1, commit(0)), delivery(2, app(1)), delivery(3, app(1))]
    for old in history:
        feed.publish([old])

    subscription, _ = subscribed(feed, queue)

    assert feed.catch_up_with(subscription, history) is CatchUp.GATED
    assert firsts(queue.drain()) == [1]


def test_newer_proof_opens_older_epochs() -> None:
    feed, queue = feed_of(), Queue()
    feed.publish([delivery(1, app(0)), delivery(2, commit(0)), delivery(3, app(1))])

    _, state = subscribed(feed, queue, read_epoch=5)

    assert state is CatchUp.LIVE
    assert len(queue.drain()) == 3


def test_full_sink_falls_behind_and_resumes_without_gap() -> None:
    feed, queue = feed_of(), Queue(slots=1)
    subscription, _ = subscribed(feed, queue)
    for sequence in (1, 2, 3):
        feed.publish([delivery(sequence, app(0))])

    assert (feed.live_count, list(queue.behind)) == (0, [subscription])
    for _ in range(2):
        queue.drain()
        assert feed.catch_up(subscription) is (CatchUp.FULL if len(queue.received) == 1 else CatchUp.LIVE)

    assert firsts(queue.drain()) == [1, 2, 3]


def test_one_full_sink_does_not_delay_another() -> None:
    feed, slow, quick = feed_of(), Queue(slots=0), Queue()
    subscribed(feed, slow)
    subscribed(feed, quick)

    feed.publish([delivery(1, app(0))])

    assert firsts(quick.drain()) == [1]


def test_who_is_ahead_of_this_replica_waits_and_then_gets_the_rest() -> None:
    feed, queue = feed_of(), Queue()
    subscription, state = subscribed(feed, queue, after=3)

    feed.publish([delivery(1, app(0, 2))])
    feed.publish([delivery(3, app(0)), delivery(4, app(0))])

    assert state is CatchUp.LIVE
    assert list(queue.behind) == [subscription]
    assert feed.catch_up(subscription) is CatchUp.LIVE
    assert firsts(queue.drain()) == [4]


def test_removed_subscriber_gets_nothing() -> None:
    feed, queue = feed_of(), Queue()
    subscription, _ = subscribed(feed, queue)

    feed.remove(subscription)
    feed.publish([delivery(1, app(0))])

    assert queue.drain() == []


def test_feed_whose_room_is_not_restored_yet_sends_newcomers_to_history() -> None:
    feed = RoomFeed(ROOM_ID, RingBudget())

    assert subscribed(feed, Queue())[1] is CatchUp.HISTORY
    feed.publish([delivery(9, app(0))])

    assert (feed.ring_start, feed.next_sequence) == (9, 10)
    feed.start_at(Sequence(3))
    assert feed.next_sequence == 10


def test_quiet_rooms_give_up_their_rings_first() -> None:
    size = len(make_chunks(ROOM_ID, [delivery(1, app(0))])[0].frame)
    budget = RingBudget(bytes_max=size * 3)
    quiet, busy = feed_of(budget=budget), feed_of(budget=budget)
    quiet.publish([delivery(1, app(0))])
    for sequence in (1, 2, 3):
        busy.publish([delivery(sequence, app(0))])

    assert (quiet.ring_start, busy.ring_start) == (2, 1)
    busy.publish([delivery(4, app(0))])

    assert busy.ring_start == 2
    assert budget.bytes_now == size * 3


@pytest.mark.parametrize("size", [100, 60_000])
def test_chunks_keep_the_limits_of_frames(size: int) -> None:
    blocks = [delivery(sequence, app(0, fill=b"x" * size)) for sequence in range(1, 600)]

    chunks = make_chunks(ROOM_ID, blocks)

    assert [chunk.first for chunk in chunks[1:]] == [chunk.after for chunk in chunks[:-1]]
    assert (chunks[0].first, chunks[-1].after) == (1, 600)
    for chunk in chunks:
        message = decode(memoryview(chunk.frame)[LENGTH_BYTES:])
        assert isinstance(message, Deliver)
        assert len(message.deliveries) <= wire_limits.DELIVERIES_PER_FRAME_MAX
        assert len(chunk.frame) <= limits.CHUNK_BYTES_MAX + 20_000


def test_largest_commit_fits_in_a_frame() -> None:
    block = commit(0, fill=b"x" * (wire_limits.COMMIT_BYTES_MAX // 2 - 200))
    assert len(block) > wire_limits.COMMIT_BYTES_MAX - 1000

    [chunk] = make_chunks(ROOM_ID, [delivery(1, block)])

    assert len(chunk.frame) <= wire_limits.FRAME_BYTES_MAX


class DeliveryModel(RuleBasedStateMachine):
    """Any mix of appends, slow readers, proofs, history pages and moves: no gap, nothing twice, never past the gate."""

    @initialize(ring_bytes_max=st.sampled_from([1, 300, 10_000]), budget=st.sampled_from([400, 100_000]))
    def start(self, ring_bytes_max: int, budget: int) -> None:
        self.feed = feed_of(ring_bytes_max=ring_bytes_max, budget=RingBudget(budget))
        self.history: list[Delivery] = []
        self.epoch = 0
        self.next = 1
        self.readers: list[tuple[Subscription, Queue, int]] = []

    @rule(counts=st.lists(st.integers(0, 4), min_size=1, max_size=6))
    def append(self, counts: list[int]) -> None:
        batch = []
        for count in counts:
            block = app(self.epoch, count) if count else commit(self.epoch)
            batch.append(delivery(self.next, block))
            self.epoch += not count
            self.next += count or 1
        self.history.extend(batch)
        self.feed.publish(batch)

    @rule(data=st.data(), slots=st.integers(1, 3))
    def subscribe(self, data: st.DataObject, slots: int) -> None:
        boundaries = [delivered.first_sequence for delivered in self.history] + [self.next]
        start = data.draw(st.sampled_from(boundaries))
        subscription = Subscription(
            queue := Queue(slots),
            after=Sequence(start - 1),
            read_epoch=RoomEpoch(data.draw(st.integers(0, self.epoch))),
        )
        self.readers.append((subscription, queue, start))
        queue.fell_behind(subscription)

    @rule(data=st.data())
    def prove(self, data: st.DataObject) -> None:
        for subscription, queue, _ in self.readers:
            newer = data.draw(st.integers(subscription.read_epoch, self.epoch))
            subscription.read_epoch = RoomEpoch(newer)
            queue.fell_behind(subscription)

    @rule(page=st.integers(1, 4))
    def pump(self, page: int) -> None:
        for subscription, queue, _ in self.readers:
            queue.drain()
            if subscription in queue.behind:
                self.step(subscription, queue, page)

    def step(self, subscription: Subscription, queue: Queue, page: int) -> None:
        state = self.feed.catch_up(subscription)
        if state is CatchUp.HISTORY:
            wanted = [d for d in self.history if d.first_sequence + count_of(d) > subscription.cursor]
            self.feed.catch_up_with(subscription, wanted[:page])
        elif state is CatchUp.LIVE:
            del queue.behind[subscription]

    @rule()
    def unsubscribe_oldest(self) -> None:
        if len(self.readers) > 3:
            self.feed.remove(self.readers.pop(0)[0])

    @invariant()
    def every_reader_saw_a_gapless_gated_prefix(self) -> None:
        for subscription, queue, start in getattr(self, "readers", []):
            seen = queue.drain()
            owed = [d for d in self.history if d.first_sequence >= start]
            assert seen == owed[: len(seen)]
            assert subscription.cursor == (seen[-1].first_sequence + count_of(seen[-1]) if seen else Sequence(start))
            assert all(decode_block_header(d.block).epoch <= subscription.read_epoch for d in seen)

    def teardown(self) -> None:
        """Once proofs are there and sinks drain, everybody gets everything."""
        for subscription, queue, start in getattr(self, "readers", []):
            subscription.read_epoch = RoomEpoch(self.epoch)
            queue.fell_behind(subscription)
            for _ in range(2 * len(self.history) + 2):
                queue.drain()
                if subscription in queue.behind:
                    self.step(subscription, queue, 2)
            assert queue.drain() == [d for d in self.history if d.first_sequence >= start]


def count_of(delivered: Delivery) -> int:
    return decode_block_header(delivered.block).count


DeliveryModel.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestDelivery = DeliveryModel.TestCase


@given(st.lists(st.integers(0, 3), min_size=1, max_size=20))
def test_chunks_never_mix_epochs(counts: list[int]) -> None:
    epoch, sequence, blocks = 0, 1, []
    for count in counts:
        blocks.append(delivery(sequence, app(epoch, count) if count else commit(epoch)))
        sequence += count or 1
        epoch += not count

    chunks: list[Chunk] = make_chunks(ROOM_ID, blocks)

    for chunk in chunks:
        message = decode(memoryview(chunk.frame)[LENGTH_BYTES:])
        assert isinstance(message, Deliver)
        assert {decode_block_header(d.block).epoch for d in message.deliveries} == {chunk.epoch}
