from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from room_server.outbox import Outbox


def test_deliveries_stop_when_the_queue_is_full_and_answers_do_not() -> None:
    outbox = Outbox(bytes_max=4)

    assert outbox.offer(b"1234")
    assert not outbox.offer(b"5")
    outbox.put(b"answer")

    assert outbox.is_full
    assert outbox.bytes_now == 10


def test_frame_larger_than_one_write_goes_alone() -> None:
    outbox = Outbox()
    for frame in (b"12345", b"6", b"7"):
        outbox.put(frame)

    assert outbox.take(3) == [b"12345"]
    assert outbox.take(3) == [b"6", b"7"]
    assert outbox.take(3) == []


@given(st.lists(st.binary(min_size=1, max_size=9)), st.integers(1, 20))
def test_frames_leave_in_order_and_bytes_are_counted(frames: list[bytes], bytes_max: int) -> None:
    outbox = Outbox()
    for frame in frames:
        outbox.put(frame)

    taken: list[bytes] = []
    while batch := outbox.take(bytes_max):
        assert sum(map(len, batch)) <= max(bytes_max, len(batch[0]))
        taken += batch
        assert outbox.bytes_now == sum(map(len, frames)) - sum(map(len, taken))

    assert taken == frames
