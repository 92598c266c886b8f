"""Exit codes are documented, so they may not drift."""

from __future__ import annotations

import pytest

from client import errors


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.SamtalaError, 1),
        (errors.UsageError, 2),
        (errors.NotFoundError, 3),
        (errors.RefusedError, 4),
        (errors.UnavailableError, 5),
        (errors.OutcomeUnknownError, 6),
        (errors.PreconditionError, 7),
        (errors.ForkDetectedError, 8),
    ],
)
def test_every_error_has_its_documented_exit_code(kind: type[errors.SamtalaError], code: int) -> None:
    assert kind.exit_code == code
    assert issubclass(kind, errors.SamtalaError)


def test_unavailable_tells_what_was_tried() -> None:
    error = errors.UnavailableError("nobody answers", ("a:1: refused", "b:2: silent"))

    assert "a:1: refused" in str(error)


def test_an_unknown_outcome_carries_the_id_that_makes_a_retry_safe() -> None:
    assert errors.OutcomeUnknownError("no answer", "4711").retry_id == "4711"
