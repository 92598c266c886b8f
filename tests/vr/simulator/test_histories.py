"""What is asked of the order search: each session by itself, reads of all of them."""

from __future__ import annotations

import pytest

from vr.simulator.errors import Violation
from vr.simulator.histories import AskedRead, Histories, SessionKey
from vr.types import ClientId, SessionNumber

ONE: SessionKey = (ClientId(b"one"), SessionNumber(1))
TWO: SessionKey = (ClientId(b"two"), SessionNumber(2))


def histories() -> Histories:
    found = Histories()
    found.on_called(ONE, 1, 0)
    found.on_returned(ONE, 1, 10)
    found.on_called(TWO, 1, 0)  # nobody knows its end
    return found


def asked(called_us: int) -> AskedRead:
    return AskedRead(sessions=[ONE, TWO], called_us=called_us, floor_op=0)


def test_what_is_in_order_passes() -> None:
    found = histories()
    found.on_read(asked(11), {ONE: 1, TWO: 0}, 12)
    found.on_read(asked(13), {ONE: 1, TWO: 1}, 14)

    assert found.check() == 0


@pytest.mark.parametrize("shown", [{ONE: 0, TWO: 0}, {ONE: 2, TWO: 0}, {ONE: 1, TWO: 2}])
def test_a_session_seen_as_it_cannot_be_is_found(shown: dict[SessionKey, int]) -> None:
    found = histories()
    found.on_read(asked(11), shown, 12)

    with pytest.raises(Violation, match="linearizable"):
        found.check()


def test_a_session_that_goes_back_is_found() -> None:
    found = histories()
    found.on_read(asked(11), {ONE: 1, TWO: 1}, 12)
    found.on_read(asked(13), {ONE: 1, TWO: 0}, 14)

    with pytest.raises(Violation, match="session 0x2"):
        found.check()
