"""The promise a service makes, kept by the one that the tests of this package replicate."""

from __future__ import annotations

from tests.vr.group import Journal, request
from vr.service import Service
from vr.types import OpNumber, SessionNumber


def test_equal_calls_give_equal_results_and_a_snapshot_restores_them() -> None:
    one, other = Journal(), Journal()
    services: list[Service] = [one, other]
    batch = [request(SessionNumber(256), 1), request(SessionNumber(256), 2)]

    results = [service.apply(OpNumber(1), 5, batch) for service in services]
    restored = Journal()
    restored.restore(one.snapshot())

    assert results[0] == results[1] == [b"1", b"2"]
    assert restored.snapshot() == one.snapshot() == other.snapshot()
    assert restored.mark() == 2
