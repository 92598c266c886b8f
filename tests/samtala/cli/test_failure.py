"""The world's faults become a sentence and a code; our own keep their traceback."""

from __future__ import annotations

import pytest

from client.errors import OutcomeUnknownError, UnavailableError
from samtala.cli.failure import exit_code_of


def test_an_error_is_a_sentence_and_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of(UnavailableError("nobody answers", ("a:1: refused",))) == 5
    assert "nobody answers" in capsys.readouterr().err


def test_errors_are_found_inside_the_groups_that_task_trees_make() -> None:
    group = BaseExceptionGroup("outer", [ExceptionGroup("inner", [OutcomeUnknownError("sent", "4711")])])

    assert exit_code_of(group) == 6


def test_an_interrupt_is_130() -> None:
    assert exit_code_of(BaseExceptionGroup("tasks", [KeyboardInterrupt()])) == 130


def test_our_own_bugs_are_not_hidden() -> None:
    with pytest.raises(AssertionError, match="a bug"):
        exit_code_of(AssertionError("a bug"))
