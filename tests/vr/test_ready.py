"""Durable states go to disk and come back."""

from __future__ import annotations

import pytest

from vr.errors import DecodeError
from vr.ready import DurableState
from vr.types import Checksum, OpNumber, ViewNumber

STATE = DurableState(
    view=ViewNumber(7), log_view=ViewNumber(5), commit=OpNumber(3), base_op=OpNumber(2), base_checksum=Checksum(b"b" * 16),
    frozen_do_view_change=b"frozen", truncate_above=OpNumber(4), is_head_certain=False,
)  # fmt: skip


def test_a_durable_state_round_trips() -> None:
    assert DurableState.from_bytes(STATE.to_bytes()) == STATE


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x90", STATE.to_bytes()[:-3]])
def test_damaged_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        DurableState.from_bytes(data)
