"""Exit codes are documented, so they may not drift."""

from __future__ import annotations

import pytest

from client import errors
from wire.errors import RefusalCode
from wire.ids import RoomEpoch


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


def test_every_error_is_in_the_tree_with_its_code() -> None:
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.SamtalaError):
            line = next(line for line in (errors.__doc__ or "").splitlines() if name in line.split())
            assert str(kind.exit_code) in line.split()


def test_a_refusal_keeps_the_servers_reason() -> None:
    assert errors.RefusedError("no", RefusalCode.UNKNOWN_ROOM).code is RefusalCode.UNKNOWN_ROOM
    assert errors.RefusedError("no").code is None


def test_a_stale_epoch_names_the_rooms() -> None:
    assert errors.StaleEpochError(RoomEpoch(7)).epoch == 7
