from __future__ import annotations

import pytest

from vr.errors import PeerError
from vr.host import errors


@pytest.mark.parametrize(
    "leaf",
    [errors.Busy, errors.DiskFull, errors.GenesisConflict, errors.NotAMember, errors.GroupDamaged, errors.HostClosed],
)
def test_every_error_can_be_caught_as_a_host_error_and_stands_in_the_tree(leaf: type[Exception]) -> None:
    assert issubclass(leaf, errors.HostError)
    assert leaf.__name__ in (errors.__doc__ or "")


def test_a_peer_s_fault_is_a_peer_error() -> None:
    assert issubclass(errors.PeerFrameError, PeerError)


def test_busy_says_when_to_come_back() -> None:
    assert errors.Busy("full", retry_after_s=0.5).retry_after_s == 0.5
