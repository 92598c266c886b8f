"""The checker notices each kind of broken promise."""

from __future__ import annotations

import pytest

from tests.multihost.journal import Account, Gap, Journal, Outcome, Reader


class Run:
    """Three acknowledged entries of one client, read by a full reader as far as a test says."""

    def __init__(self) -> None:
        self.journal = Journal()
        self.reader = self.journal.full_reader("reader")
        self.entries = []
        for sequence in (1, 2, 3):
            attempt, entry = self.journal.attempted(0)
            self.journal.acknowledged(attempt, sequence)
            self.entries.append(entry)

    def read(self, *places: tuple[int, int]) -> Account:
        for sequence, index in places:
            self.journal.delivered(self.reader, sequence, self.entries[index])
        return self.journal.account()


def test_kept_promises_are_clean() -> None:
    account = Run().read((1, 0), (2, 1), (3, 2))

    assert account.is_clean
    assert (account.attempted, account.acked, account.delivered) == (3, 3, 3)


@pytest.mark.parametrize(
    ("places", "figure"),
    [
        (((1, 0), (2, 1)), "lost"),
        (((1, 0), (2, 1), (2, 1), (3, 2)), "duplicated"),
        (((1, 0), (2, 1), (3, 2), (4, 2)), "duplicated"),
        (((1, 0), (3, 2), (2, 1)), "reordered"),
        (((1, 1), (2, 0), (3, 2)), "reordered"),
    ],
)
def test_each_broken_promise_is_counted(places: tuple[tuple[int, int], ...], figure: str) -> None:
    run = Run()

    account = run.read(*places)

    assert getattr(account, figure) >= 1
    assert not account.is_clean
    assert run.journal.examples


def test_an_entry_sent_after_another_was_placed_must_stand_behind_it() -> None:
    run = Run()
    late, _ = run.journal.attempted(1)

    run.journal.acknowledged(late, 2)

    assert run.read((1, 0), (2, 1), (3, 2)).reordered == 1


def test_a_stale_place_that_nobody_else_has_is_noticed_too() -> None:
    journal = Journal()
    first, _ = journal.attempted(0)
    journal.acknowledged(first, 5)
    second, _ = journal.attempted(1)

    journal.acknowledged(second, 4)

    assert journal.account().overtaken == 1


def test_a_client_never_overtakes_itself() -> None:
    journal = Journal()
    first, second = journal.attempted(0)[0], journal.attempted(0)[0]

    journal.acknowledged(second, 1)
    journal.acknowledged(first, 2)

    assert journal.account().overtaken == 1


def test_an_unknown_outcome_may_be_there_once_or_not_at_all() -> None:
    journal = Journal()
    reader = Reader("reader")
    attempts = [journal.attempted(0) for _ in range(2)]
    for attempt, _ in attempts:
        attempt.outcome = Outcome.UNKNOWN

    journal.delivered(reader, 1, attempts[0][1])
    account = journal.account()
    journal.delivered(reader, 2, attempts[0][1])

    assert account.is_clean
    assert (account.unknown, account.unknown_but_there) == (2, 1)
    assert journal.account().duplicated == 1


def test_a_refused_entry_must_not_appear() -> None:
    journal = Journal()
    attempt, entry = journal.attempted(0)
    attempt.outcome = Outcome.REFUSED

    journal.delivered(Reader("reader"), 1, entry)

    assert journal.account().undead == 1


def test_the_gap_is_the_longest_silence() -> None:
    gap = Gap(10.0)

    for now in (10.5, 12.0, 12.1):
        gap.acknowledged(now)

    assert gap.longest_s == 1.5
