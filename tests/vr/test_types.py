"""Views pack epoch and number, so that one comparison orders both."""

from __future__ import annotations

import pytest

from vr.types import make_view, view_epoch, view_in_epoch


@pytest.mark.parametrize(("epoch", "number"), [(0, 0), (0, 7), (1, 0), (3, 2**32 - 1)])
def test_a_view_gives_back_its_epoch_and_number(epoch: int, number: int) -> None:
    view = make_view(epoch, number)

    assert (view_epoch(view), view_in_epoch(view)) == (epoch, number)


def test_a_later_epoch_is_above_every_view_of_an_earlier_one() -> None:
    assert make_view(1, 0) > make_view(0, 2**32 - 1)
