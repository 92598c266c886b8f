"""What can go wrong inside the simulator.

SimulatorError
 ├── Violation          a checker caught the replicas breaking a promise: the finding this package exists for
 ├── ScenarioError      a text is no scenario, or its replicas never fall silent
 ├── NothingToShrink    a seed that was to be shrunk keeps every promise
 └── UnknownMutant      the command line named a mutant that does not exist

ProcessKilled           not an error: the simulated kill -9 travelling up the stack of the process it hits
"""

from __future__ import annotations


class SimulatorError(Exception):
    """Base of this package's errors."""


class Violation(SimulatorError):  # noqa: N818 - reads as what happened
    """The system under test broke a promise.

    `check` names the promise in snake_case (it is what mutant tables group by); `detail` is for the reader.
    """

    def __init__(self, check: str, detail: str) -> None:
        super().__init__(f"{check}: {detail}")
        self.check = check
        self.detail = detail


class ScenarioError(SimulatorError):
    """A line that is no command, or cannot be carried out here."""


class NothingToShrink(SimulatorError):  # noqa: N818 - reads as what happened
    """The seed finds nothing."""


class UnknownMutant(SimulatorError):  # noqa: N818 - reads as what happened
    """No mutant has this name."""


class ProcessKilled(BaseException):
    """Control flow: the process is dead from this effect on.

    A BaseException, because code under test that swallowed it would live on after its own death.
    """
