"""Delivery of one room: recent frames encoded once, and subscribers with cursors. Pure, sans-IO.

    committed blocks ─▶ chunks (one Deliver frame each, one epoch each) ─▶ ring ─┬▶ live subscriber: same bytes, at once
                                                                                 ├▶ behind, in the ring: `catch_up`
    history pages ───────────────────────────────────────────────────────────────┴▶ below the ring: `catch_up_with`

A subscription has one cursor, the sequence of the next entry it is owed. Only a chunk that begins exactly at the cursor
is handed over, and the cursor then moves to the chunk's end; whatever the path (live, ring, history), a gap or a second
delivery is therefore impossible within one subscription. A subscriber leaves the live set when its sink is full, when
the next chunk is of an epoch above the READ it has proven (the gate, e2ee.md §3.1; what an override undid counts as of
the epoch that it went back to), or when it asked for the future;
its sink is told by `fell_behind` and drives `catch_up` when it has room again.

Nothing here awaits, so a subscriber that catches up with the end of the ring is live in the same instant: there is no
seam. Memory: each ring is bounded, and `RingBudget` bounds all of them together.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Many
from enum import Enum, auto
from typing import Protocol, TypeAlias

import msgspec

from room_server import limits
from room_server.errors import HistoryGapError
from wire import limits as wire_limits
from wire.frames import LENGTH_BYTES, encode_frame
from wire.ids import RoomEpoch, RoomId, Sequence
from wire.messages import Deliver, decode, encode
from wire.room import Delivery, decode_block_header

ReadingEpoch: TypeAlias = Callable[[Sequence, RoomEpoch], RoomEpoch]
"""(sequence, epoch of an entry there) -> epoch whose READ opens it (`RoomService.reading_epoch`)."""


class Chunk(msgspec.Struct, frozen=True, gc=False):
    """One encoded Deliver frame: entries [first, after) of one epoch, shared by all who get it."""

    first: Sequence
    after: Sequence
    epoch: RoomEpoch
    frame: bytes


class Sink(Protocol):
    """Where a subscriber's frames go: the send queue of its connection."""

    def offer(self, frame: bytes) -> bool:
        """Take one frame, or nothing and return False because the queue is full."""

    def fell_behind(self, subscription: Subscription) -> None:
        """The subscription is no longer live; call `RoomFeed.catch_up` when there is room."""


class Subscription:
    """One subscriber of one room. `cursor`: next sequence owed. `read_epoch`: highest epoch of READ proven."""

    __slots__ = ("cursor", "read_epoch", "sink")

    def __init__(self, sink: Sink, *, after: Sequence, read_epoch: RoomEpoch) -> None:
        self.sink = sink
        self.cursor = Sequence(after + 1)
        self.read_epoch = read_epoch


class CatchUp(Enum):
    """What a subscriber that is catching up needs next."""

    LIVE = auto()
    """Nothing: it is in the live set."""
    GATED = auto()
    """A READ proof of a newer epoch."""
    FULL = auto()
    """Room in its sink; then call again."""
    HISTORY = auto()
    """Entries from `cursor` on, from history; then `catch_up_with`, then `catch_up` again."""


class RingBudget:
    """Bounds the bytes of all rings of a node; rooms quiet for longest give up theirs first."""

    def __init__(self, bytes_max: int = limits.RINGS_BYTES_MAX) -> None:
        self.bytes_max = bytes_max
        self.bytes_now = 0
        self._feeds: OrderedDict[RoomFeed, None] = OrderedDict()

    def grew(self, feed: RoomFeed, ring_bytes: int) -> None:
        """`feed` published `ring_bytes` more: it is the youngest now; make the oldest pay if need be."""
        self.bytes_now += ring_bytes
        self._feeds[feed] = None
        self._feeds.move_to_end(feed)
        while self.bytes_now > self.bytes_max:
            oldest = next(iter(self._feeds))
            if oldest.drop_oldest() == 0:
                del self._feeds[oldest]

    def shrank(self, ring_bytes: int) -> None:
        """A ring dropped `ring_bytes`."""
        self.bytes_now -= ring_bytes


class RoomFeed:
    """The recent past of one room and who listens to it.

    `next_sequence` is the first sequence not published yet; None until the room's state is known.
    """

    def __init__(
        self,
        room_id: RoomId,
        budget: RingBudget,
        *,
        reading_epoch: ReadingEpoch = lambda _, epoch: epoch,
        ring_bytes_max: int = limits.RING_BYTES_MAX,
    ) -> None:
        self.room_id = room_id
        self._reading_epoch = reading_epoch
        self.next_sequence: Sequence | None = None
        self._budget = budget
        self._ring_bytes_max = ring_bytes_max
        self._ring: deque[Chunk] = deque()
        self._ring_bytes = 0
        self.published_bytes = 0
        self._live: dict[Subscription, None] = {}

    @property
    def ring_start(self) -> Sequence | None:
        """First sequence that the ring holds; `next_sequence` when it is empty."""
        return self._ring[0].first if self._ring else self.next_sequence

    @property
    def live_count(self) -> int:
        """Subscribers that get the next chunk at once."""
        return len(self._live)

    def start_at(self, next_sequence: Sequence) -> None:
        """Say where the room stands, unless something was published already."""
        if self.next_sequence is None:
            self.next_sequence = next_sequence

    def publish(self, deliveries: Many[Delivery]) -> None:
        """Hand newly committed blocks to live subscribers and remember them in the ring."""
        for chunk in make_chunks(self.room_id, deliveries):
            assert self.next_sequence in (None, chunk.first), "committed blocks are contiguous"
            self.next_sequence = chunk.after
            self._remember(chunk)
            self._hand_out(chunk)

    def _remember(self, chunk: Chunk) -> None:
        self._ring.append(chunk)
        self._ring_bytes += len(chunk.frame)
        self.published_bytes += len(chunk.frame)
        while self._ring_bytes > self._ring_bytes_max and len(self._ring) > 1:
            self.drop_oldest()
        self._budget.grew(self, len(chunk.frame))

    def drop_oldest(self) -> int:
        """Forget the oldest chunk; returns its bytes, 0 when there is none."""
        if not self._ring:
            return 0
        dropped = len(self._ring.popleft().frame)
        self._ring_bytes -= dropped
        self._budget.shrank(dropped)
        return dropped

    def _hand_out(self, chunk: Chunk) -> None:
        first, after, epoch, frame = chunk.first, chunk.after, chunk.epoch, chunk.frame
        left: list[Subscription] = []
        for subscription in self._live:
            if subscription.cursor == first and epoch <= subscription.read_epoch:  # What is new is not undone yet.
                if subscription.sink.offer(frame):
                    subscription.cursor = after
                else:
                    left.append(subscription)
            elif subscription.cursor < after:
                left.append(subscription)
        for subscription in left:
            del self._live[subscription]
            subscription.sink.fell_behind(subscription)

    def remove(self, subscription: Subscription) -> None:
        """Forget a subscriber; harmless if it is not live."""
        self._live.pop(subscription, None)

    def catch_up(self, subscription: Subscription) -> CatchUp:
        """Hand over what the ring holds from the cursor on; make the subscriber live if that is all."""
        start = self.ring_start
        if start is None or subscription.cursor < start:
            return CatchUp.HISTORY
        for chunk in self._ring:
            if chunk.after > subscription.cursor:
                needed = self._hand_over(subscription, chunk)
                if needed is not None:
                    return needed
        self._live[subscription] = None
        return CatchUp.LIVE

    def catch_up_with(self, subscription: Subscription, deliveries: Many[Delivery]) -> CatchUp:
        """Hand over a page of history that begins at or before the cursor; answers what is needed next.

        `HISTORY` here means: the page is used up, go on with `catch_up`.

        Raises:
            HistoryGapError: the page begins beyond the cursor; nothing more can be delivered.
        """
        for chunk in make_chunks(self.room_id, deliveries):
            if chunk.after > subscription.cursor:
                needed = self._hand_over(subscription, chunk)
                if needed is not None:
                    return needed
        return CatchUp.HISTORY

    def _hand_over(self, subscription: Subscription, chunk: Chunk) -> CatchUp | None:
        if chunk.first > subscription.cursor:
            raise HistoryGapError(f"entries {subscription.cursor} to {chunk.first - 1} are missing")
        if self._reading_epoch(chunk.first, chunk.epoch) > subscription.read_epoch:
            return CatchUp.GATED
        frame = chunk.frame if chunk.first == subscription.cursor else _frame_from(chunk, subscription.cursor)
        if not subscription.sink.offer(frame):
            return CatchUp.FULL
        subscription.cursor = chunk.after
        return None


def make_chunks(room_id: RoomId, deliveries: Iterable[Delivery]) -> list[Chunk]:
    """Encode deliveries as frames: contiguous, each of one epoch and within the limits of a frame."""
    chunks: list[Chunk] = []
    pending: list[Delivery] = []
    pending_epoch = RoomEpoch(0)
    pending_bytes = 0
    after = Sequence(0)
    for delivery in deliveries:
        header = decode_block_header(delivery.block)
        size = len(delivery.block)
        full = len(pending) == wire_limits.DELIVERIES_PER_FRAME_MAX or pending_bytes + size > limits.CHUNK_BYTES_MAX
        if pending and (header.epoch != pending_epoch or full):
            chunks.append(_chunk(room_id, pending, after=after, epoch=pending_epoch))
            pending, pending_bytes = [], 0
        pending.append(delivery)
        pending_bytes += size
        pending_epoch = header.epoch
        after = Sequence(delivery.first_sequence + header.count)
    if pending:
        chunks.append(_chunk(room_id, pending, after=after, epoch=pending_epoch))
    return chunks


def _chunk(room_id: RoomId, deliveries: list[Delivery], *, after: Sequence, epoch: RoomEpoch) -> Chunk:
    frame = encode_frame(encode(Deliver(room_id, tuple(deliveries))))
    return Chunk(deliveries[0].first_sequence, after, epoch, frame)


def _frame_from(chunk: Chunk, cursor: Sequence) -> bytes:
    """The chunk's frame without the blocks that end at or before `cursor`; a block is never split."""
    message = decode(memoryview(chunk.frame)[LENGTH_BYTES:])
    assert isinstance(message, Deliver), "rings hold Deliver frames"
    wanted = [
        delivery
        for delivery in message.deliveries
        if delivery.first_sequence + decode_block_header(delivery.block).count > cursor
    ]
    return encode_frame(encode(Deliver(message.room_id, tuple(wanted))))
