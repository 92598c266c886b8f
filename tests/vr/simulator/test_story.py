"""The story and its hash."""

from vr.simulator.schedule import Schedule
from vr.simulator.story import Story, Telling


def test_lines_carry_virtual_time_and_are_kept_on_demand() -> None:
    schedule = Schedule()
    kept, silent = Story(schedule, Telling.EVENTS), Story(schedule, Telling.NOTHING)
    schedule.run(1_500_000)

    for story in (kept, silent):
        story.tell("node 1 killed")

    assert kept.lines == ["  1.500000  node 1 killed"]
    assert silent.lines == []


def test_only_the_longest_telling_has_messages() -> None:
    schedule = Schedule()

    assert [Story(schedule, telling).messages for telling in Telling] == [False, False, True]


def test_the_trace_depends_on_bytes_time_and_place() -> None:
    def trace(data: bytes, when_us: int, key: int) -> int:
        schedule = Schedule()
        schedule.run(when_us)
        story = Story(schedule, Telling.NOTHING)
        story.fold(data, key)
        return story.trace

    assert trace(b"a", 1, 1) == trace(b"a", 1, 1)
    assert len({trace(b"a", 1, 1), trace(b"b", 1, 1), trace(b"a", 2, 1), trace(b"a", 1, 4)}) == 4
