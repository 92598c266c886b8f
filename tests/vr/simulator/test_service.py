"""The journal notices what no service may ever see."""

import pytest

from vr.log import Request
from vr.simulator.errors import Violation
from vr.simulator.service import JournalService
from vr.types import ClientId, OpNumber, RequestNumber, SessionNumber


def request(number: int, body: bytes = b"x") -> Request:
    return Request(client=ClientId(b"c" * 16), session=SessionNumber(256), number=RequestNumber(number), body=body)


def applied(*bodies: bytes) -> JournalService:
    service = JournalService()
    for index, body in enumerate(bodies, start=1):
        service.apply(OpNumber(index), index, [request(index, body)])
    return service


def test_equal_histories_have_equal_states_and_others_do_not() -> None:
    assert applied(b"a", b"b").digest == applied(b"a", b"b").digest
    assert applied(b"a", b"b").digest != applied(b"a", b"c").digest
    assert applied(b"a", b"b").snapshot() == applied(b"a", b"b").snapshot()
    assert applied(b"a", b"b").mark() == 2


def test_a_restored_service_goes_on_like_the_one_before() -> None:
    first = applied(b"a", b"b")
    second = JournalService()
    second.restore(first.snapshot())

    for service in (first, second):
        service.apply(OpNumber(3), 3, [request(3)])

    assert first.digest == second.digest


@pytest.mark.parametrize("number", [2, 4])
def test_a_request_applied_twice_or_ahead_is_a_violation(number: int) -> None:
    with pytest.raises(Violation, match="exactly_once"):
        applied(b"a", b"b").apply(OpNumber(3), 3, [request(number)])


def test_an_op_applied_again_is_a_violation() -> None:
    with pytest.raises(Violation, match="applied_in_order"):
        applied(b"a", b"b").apply(OpNumber(2), 2, [])


def test_tells_every_state_it_reaches() -> None:
    seen: list[tuple[int, bytes]] = []
    service = JournalService(lambda op, digest: seen.append((op, digest)))

    service.apply(OpNumber(1), 1, [request(1)])

    assert seen == [(1, service.digest)]
