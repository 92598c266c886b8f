from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from dht.limits import (
    HARD_TIMEOUT_S,
    QUERIES_MAX,
    RETRANSMIT_S,
    SEND_DELAY_S_MAX,
    SENDS_PER_ADDRESS_BURST,
    SENDS_PER_ADDRESS_PER_S,
    SOFT_TIMEOUT_S_MAX,
    SOFT_TIMEOUT_S_MIN,
)
from dht.node_id import Address
from dht.transactions import Pending, Purpose, Transactions

HERE = ("192.0.2.1", 7610)


def transactions() -> Transactions:
    numbers = itertools.count()
    return Transactions(lambda size: (next(numbers) % (1 << 8 * size)).to_bytes(size, "big"))


def ask(some: Transactions, address: Address = HERE, now: float = 0.0, *, may_resend: bool = False) -> Pending | None:
    return some.open(
        address,
        method=b"ping",
        encode=lambda transaction: b"q" + transaction,
        purpose=Purpose.LOOKUP,
        operation=1,
        now=now,
        may_resend=may_resend,
    )


def sent(some: Transactions, address: Address = HERE, now: float = 0.0, *, may_resend: bool = False) -> Pending:
    pending = ask(some, address, now, may_resend=may_resend)
    assert pending is not None
    assert some.due(now).to_send[-1] is pending
    return pending


def test_an_answer_needs_transaction_and_address() -> None:
    some = transactions()
    pending = sent(some)

    assert some.close(b"zz", HERE, 0.1) is None
    assert some.close(pending.transaction, ("192.0.2.1", 7611), 0.1) is None
    assert some.close(pending.transaction, ("192.0.2.2", 7610), 0.1) is None
    assert some.close(pending.transaction, HERE, 0.1) is pending
    assert some.close(pending.transaction, HERE, 0.1) is None, "once only"


def test_a_query_becomes_slow_and_then_fails() -> None:
    some = transactions()
    pending = sent(some)
    assert some.next_deadline() == SOFT_TIMEOUT_S_MAX

    assert some.due(SOFT_TIMEOUT_S_MAX - 0.01).slow == []
    assert some.due(SOFT_TIMEOUT_S_MAX).slow == [pending]
    assert some.due(SOFT_TIMEOUT_S_MAX).slow == []
    assert some.next_deadline() == HARD_TIMEOUT_S
    assert some.due(HARD_TIMEOUT_S).failed == [pending]
    assert len(some) == 0
    assert some.next_deadline() is None


def test_the_soft_timeout_follows_round_trips_within_bounds() -> None:
    some = transactions()
    for round_trip_s, expected in ((0.01, SOFT_TIMEOUT_S_MIN), (0.25, 0.5), (3.0, SOFT_TIMEOUT_S_MAX)):
        for number in range(64):
            pending = sent(some, (f"20.0.{number}.1", 1))
            some.close(pending.transaction, pending.address, round_trip_s)
        assert some.soft_timeout_s == expected


def test_a_seed_is_asked_twice() -> None:
    some = transactions()
    pending = sent(some, may_resend=True)

    assert some.due(RETRANSMIT_S - 0.01).to_send == []
    assert some.due(RETRANSMIT_S).to_send == [pending]
    assert some.due(RETRANSMIT_S).to_send == []
    assert some.close(pending.transaction, HERE, 2.0) is pending


def test_one_address_gets_no_more_than_others_tolerate() -> None:
    some = transactions()
    waiting = [ask(some) for _ in range(100)]

    entered = [pending for pending in waiting if pending is not None]
    at_once = some.due(0.0).to_send
    assert len(at_once) == SENDS_PER_ADDRESS_BURST
    assert len(entered) == SENDS_PER_ADDRESS_BURST + SEND_DELAY_S_MAX * SENDS_PER_ADDRESS_PER_S
    assert len(some.due(1.0).to_send) == SENDS_PER_ADDRESS_PER_S
    assert ask(some, ("192.0.2.9", 1)) is not None, "others are not held up"


def test_an_answer_to_what_was_not_sent_is_none() -> None:
    some = transactions()
    pending = ask(some)
    assert pending is not None

    assert some.close(pending.transaction, HERE, 0.0) is None


def test_queries_in_flight_are_bounded_and_counted() -> None:
    some = transactions()
    asked = [ask(some, (f"20.{number // 256}.{number % 256}.1", 1)) for number in range(QUERIES_MAX + 10)]

    assert len(some) == QUERIES_MAX == len(some.addresses(Purpose.LOOKUP))
    assert asked[-1] is None
    assert some.addresses(Purpose.PUT) == []


def test_a_transaction_is_not_used_twice_at_one_address() -> None:
    some = Transactions(bytes)

    assert ask(some) is not None
    assert ask(some) is None, "entropy without entropy"
    assert ask(some, ("192.0.2.9", 1)) is not None


def test_our_own_machine_is_asked_as_fast_as_we_like() -> None:
    some = transactions()

    assert all(ask(some, ("127.0.0.1", 1)) is not None for _ in range(200))
    assert len(some.due(0.0).to_send) == 200


@given(st.floats(0, 1e7), st.floats(0.001, 2))
def test_what_is_due_at_its_deadline_is_then_done(now: float, round_trip_s: float) -> None:
    """Rounding must not leave a deadline that never passes."""
    some = transactions()
    pending = sent(some, now=now, may_resend=True)
    some.close(pending.transaction, HERE, now + round_trip_s)
    sent(some, now=now, may_resend=True)
    for _ in range(3):
        deadline = some.next_deadline()
        if deadline is not None:
            some.due(deadline)

    assert some.next_deadline() is None


def test_says_where_queries_of_a_purpose_are_in_flight_to() -> None:
    some = transactions()
    pending = sent(some)

    assert some.addresses(Purpose.LOOKUP) == [HERE]
    assert some.addresses(Purpose.VERIFY) == []
    some.close(pending.transaction, HERE, 0.1)
    assert some.addresses(Purpose.LOOKUP) == []
