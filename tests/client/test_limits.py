from __future__ import annotations

from client import limits
from client.outbox import ENTRY_OVERHEAD_BYTES
from wire import limits as wire_limits


def test_the_longest_message_is_an_entry_and_a_block() -> None:
    assert limits.PAYLOAD_BYTES_MAX + ENTRY_OVERHEAD_BYTES <= wire_limits.ENTRY_BYTES_MAX
    assert limits.TEXT_BYTES_MAX + ENTRY_OVERHEAD_BYTES < limits.PAYLOAD_BYTES_MAX


def test_packed_entries_stay_a_block() -> None:
    assert limits.BLOCK_ENTRIES_BYTES_MAX < wire_limits.BLOCK_BYTES_MAX


def test_our_window_is_inside_the_sessions() -> None:
    assert limits.BLOCKS_IN_FLIGHT_MAX < wire_limits.SESSION_WINDOW
    assert limits.MESSAGE_IDS_MAX > limits.OUTBOX_MAX
