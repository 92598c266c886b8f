from __future__ import annotations

import inspect

from wire import errors


def classes() -> list[type[Exception]]:
    return [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)]


def test_everything_has_the_one_base_and_is_in_the_tree() -> None:
    for kind in classes():
        assert issubclass(kind, errors.WireError)
        assert kind.__name__ in (errors.__doc__ or "")


def test_causes_are_metric_labels_and_differ() -> None:
    causes = [kind.cause for kind in classes() if issubclass(kind, errors.PeerError)]

    assert len(set(causes)) == len(causes)
    assert all(cause.isidentifier() and cause.islower() for cause in causes)


def test_refusal_codes_never_change_their_numbers() -> None:
    numbers = "MALFORMED VERSION UNKNOWN_ROOM ROOM_CONFLICT NOT_REPLICA BAD_PROOF UNKNOWN_EPOCH NOT_PROVEN BUSY EVICTED"
    numbers += " UNKNOWN_SESSION SEQUENCE_GAP LIMIT DRAINING UNAVAILABLE NOT_FOUND FORBIDDEN FULL"

    assert [code.name for code in errors.RefusalCode] == numbers.split()
    assert [code.value for code in errors.RefusalCode] == list(range(1, 19))
