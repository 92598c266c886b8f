"""Bounds that only make sense together."""

from __future__ import annotations

from vr import limits
from vr.log import HEADER_BYTES
from vr.repair import ANSWER_BYTES_MAX


def test_a_request_fits_its_entry_and_an_entry_its_message() -> None:
    assert limits.REQUEST_BYTES_MAX + HEADER_BYTES + 1024 < limits.ENTRY_BYTES_MAX
    assert limits.ENTRY_BYTES_MAX + 1024 < limits.MESSAGE_BYTES_MAX
    assert ANSWER_BYTES_MAX <= limits.MESSAGE_BYTES_MAX - 1024


def test_a_place_in_the_batch_fits_the_low_byte_of_a_session_number() -> None:
    assert limits.BATCH_REQUESTS_MAX <= 256


def test_results_outlive_the_window_of_their_session() -> None:
    assert limits.SESSION_RESULTS_KEPT >= 2 * limits.SESSION_WINDOW


def test_a_header_suffix_holds_the_deepest_pipeline() -> None:
    assert limits.HEADERS_PER_MESSAGE_MAX >= 2 * limits.PIPELINE_OPS_MAX
