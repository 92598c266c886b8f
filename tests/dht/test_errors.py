from __future__ import annotations

import pytest

from dht import errors


@pytest.mark.parametrize("leaf", [errors.InvalidItem, errors.QuotaExceeded, errors.NodeClosed])
def test_our_own_faults_are_local(leaf: type[Exception]) -> None:
    assert issubclass(leaf, errors.LocalError)
    assert not issubclass(leaf, errors.PeerError)


@pytest.mark.parametrize("leaf", [errors.DecodeError, errors.InvalidSignature])
def test_faults_of_others_are_peers(leaf: type[Exception]) -> None:
    assert issubclass(leaf, errors.PeerError)
    assert issubclass(leaf, errors.DhtError)
