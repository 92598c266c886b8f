"""The error tree is what its docstring draws."""

from __future__ import annotations

from vr.errors import DecodeError, LocalError, PeerError, UnknownGroup, VRError


def test_each_error_stands_where_the_tree_says() -> None:
    assert issubclass(UnknownGroup, LocalError)
    assert issubclass(DecodeError, PeerError)
    assert issubclass(LocalError, VRError)
    assert issubclass(PeerError, VRError)
