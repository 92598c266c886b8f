"""What the simulator raises."""

from vr.simulator.errors import ProcessKilled, SimulatorError, UnknownMutant, Violation


def test_a_violation_names_its_check() -> None:
    violation = Violation("prefixes_equal", "node 1 differs")

    assert isinstance(violation, SimulatorError)
    assert (violation.check, str(violation)) == ("prefixes_equal", "prefixes_equal: node 1 differs")


def test_a_kill_cannot_be_swallowed_as_an_error() -> None:
    assert not issubclass(ProcessKilled, Exception)
    assert issubclass(UnknownMutant, SimulatorError)
