"""The ledger must see every kind of broken promise: each is planted here once."""

from __future__ import annotations

from samtala.demo.ledger import Ledger, percentile


def honest_ledger() -> Ledger:
    ledger = Ledger(["alice", "bob"])
    for sequence, text in enumerate(("one", "two", "three"), start=1):
        ledger.sent(text, now=sequence)
        ledger.acknowledged(text, sequence, now=sequence + 0.25)
        for reader in ("alice", "bob"):
            ledger.shown(reader, sequence, text)
    return ledger


def test_an_honest_history_has_nothing_to_report() -> None:
    account = honest_ledger().account()

    assert (account.sent, account.acked, account.delivered) == (3, 3, 6)
    assert (account.lost, account.duplicated, account.reordered) == (0, 0, 0)
    assert (account.longest_gap_s, account.ack_p50_ms) == (1.0, 250.0)


def test_an_acknowledged_message_that_one_reader_never_saw_is_lost() -> None:
    ledger = honest_ledger()
    ledger.sent("four", now=4)
    ledger.acknowledged("four", 4, now=4)
    ledger.shown("alice", 4, "four")

    assert ledger.account().lost == 1


def test_an_unacknowledged_message_is_nobodys_loss() -> None:
    ledger = honest_ledger()
    ledger.sent("four", now=4)

    assert ledger.account().lost == 0


def test_a_message_shown_twice_is_duplicated_even_at_another_place() -> None:
    ledger = honest_ledger()
    ledger.shown("bob", 4, "three")

    assert ledger.account().duplicated == 1


def test_a_message_below_an_earlier_one_is_reordered() -> None:
    ledger = Ledger(["bob"])
    ledger.shown("bob", 2, "two")
    ledger.shown("bob", 1, "one")

    assert ledger.account().reordered == 1


def test_two_readers_with_different_texts_at_one_place_are_reordered() -> None:
    ledger = Ledger(["alice", "bob"])
    ledger.shown("alice", 1, "one")
    ledger.shown("bob", 1, "two")

    assert ledger.account().reordered == 1


def test_a_message_at_another_place_than_promised_is_reordered() -> None:
    ledger = Ledger(["alice"])
    ledger.sent("one", now=0)
    ledger.acknowledged("one", 1, now=0)
    ledger.shown("alice", 2, "one")

    assert ledger.account().reordered == 1


def test_percentiles_are_values_that_occurred() -> None:
    assert percentile([], 0.99) == 0
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([float(value) for value in range(1, 101)], 0.99) == 99.0
