from __future__ import annotations

from dht.events import PutResult


def test_a_put_that_never_got_to_storing_held_nothing_and_saw_nothing_newer() -> None:
    result = PutResult(stored=0, refused={}, closest_queried=0)

    assert (result.held, result.newer) == (0, None)
