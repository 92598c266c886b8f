from __future__ import annotations

from vr import limits as core
from vr.host import limits
from vr.host.peer_frame import PART_OVERHEAD_BYTES


def test_the_largest_message_fits_a_frame() -> None:
    assert core.MESSAGE_BYTES_MAX + 2 * PART_OVERHEAD_BYTES <= limits.PEER_FRAME_BYTES_MAX


def test_an_answer_from_history_fits_a_message() -> None:
    assert limits.PEER_FRAME_BYTES_MAX // 2 < core.MESSAGE_BYTES_MAX


def test_a_turn_takes_no_more_than_the_inbox_holds() -> None:
    assert limits.MESSAGES_PER_TURN_MAX <= limits.INBOX_MESSAGES_MAX
