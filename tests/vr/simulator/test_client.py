"""Simulated clients keep their side of the bargain."""

from collections.abc import Sequence
from random import Random

import pytest

from vr.log import Request
from vr.ready import Rejected, RejectReason, Reply
from vr.simulator.checkers import SessionChecker
from vr.simulator.client import Client
from vr.simulator.errors import Violation
from vr.simulator.schedule import SECOND_US, Schedule
from vr.simulator.swarm import Load
from vr.types import OpNumber, RequestNumber, SessionNumber


class Desk:
    """One client, and a group that answers as the test says."""

    def __init__(self, load: Load, *, answers: bool = True, seed: int = 1) -> None:
        self.schedule = Schedule()
        self.checker = SessionChecker()
        self.sent: list[tuple[int, Request]] = []
        self.forgotten: list[int] = []
        self.answers = answers
        self.op = 0
        self.client = Client(
            0,
            self.schedule,
            Random(seed),
            load=load,
            node_count=3,
            checker=self.checker,
            submit=self.submit,
            forget=lambda _client, node: self.forgotten.append(node),
            read=lambda _client, _node, floor_op: self.checker.on_read(self.op, floor_op=floor_op),
        )
        self.client.start()

    def submit(self, _client: Client, node: int, requests: Sequence[Request]) -> None:
        for request in requests:
            self.sent.append((node, request))
            if self.answers:
                self.schedule.after(1000, self.answer, request)

    def answer(self, request: Request) -> None:
        self.op += 1
        session = request.session or SessionNumber(self.op << 8)
        self.client.on_reply(
            Reply(
                client=request.client, session=session, number=request.number, op=OpNumber(self.op), result=request.body
            )
        )

    def run(self, seconds: int = 60) -> None:
        self.schedule.run(self.schedule.now_us + seconds * SECOND_US)

    def numbers(self) -> list[int]:
        return [request.number for _, request in self.sent if request.session]


def test_registers_then_sends_every_request_once() -> None:
    desk = Desk(Load(requests_per_client=20, window=4))

    desk.run()

    assert desk.client.is_done
    assert desk.sent[0][1].session == 0
    assert desk.numbers() == list(range(1, 21))
    assert desk.client.answered == 20


def test_never_has_more_than_its_window_unanswered() -> None:
    desk = Desk(Load(requests_per_client=5000, window=4))
    desk.run(1)
    desk.answers = False
    desk.run()

    assert 1 <= len(desk.client.outstanding) <= 4


def test_sends_again_with_the_same_content_and_moves() -> None:
    desk = Desk(Load(requests_per_client=5000, window=4, retry_us=SECOND_US, move=1.0))
    desk.run(1)
    desk.answers = False
    desk.run(10)

    contents: dict[int, set[bytes]] = {}
    for _, request in desk.sent:
        contents.setdefault(request.number, set()).add(request.body)
    assert all(len(bodies) == 1 for bodies in contents.values())
    assert len({node for node, _ in desk.sent}) == 3
    assert desk.forgotten


def test_an_evicted_client_registers_again_and_gives_up_what_was_under_way() -> None:
    desk = Desk(Load(requests_per_client=5, window=1), answers=False)
    desk.run(1)
    desk.answer(desk.sent[0][1])
    desk.run(1)
    desk.answers = True
    evicted = desk.client.session
    number = RequestNumber(1)
    desk.client.on_rejected(
        Rejected(client=desk.client.client_id, session=evicted, number=number, reason=RejectReason.EVICTED)
    )
    desk.run()

    assert desk.client.is_done
    assert desk.client.evictions == 1
    assert desk.client.session not in (0, evicted)
    assert desk.client.answered + desk.client.given_up == 5


def test_a_busy_group_is_asked_again_later() -> None:
    desk = Desk(Load(requests_per_client=1), answers=False)
    desk.run(1)
    count = len(desk.sent)
    rejected = Rejected(
        client=desk.client.client_id,
        session=SessionNumber(0),
        number=RequestNumber(0),
        reason=RejectReason.BUSY,
        retry_after_s=0.2,
    )
    desk.client.on_rejected(rejected)
    desk.schedule.run(desk.schedule.now_us + 100_000)
    early = len(desk.sent)
    desk.schedule.run(desk.schedule.now_us + 150_000)

    assert early == count
    assert len(desk.sent) == count + 1


def test_an_answer_ordered_before_the_question_is_noticed() -> None:
    desk = Desk(Load(requests_per_client=5, window=1), answers=False)
    desk.run(1)
    desk.answer(desk.sent[0][1])
    desk.checker.acknowledged_op_max = 100  # somebody saw op 100 answered before the next request is made
    desk.run(1)

    with pytest.raises(Violation, match="real_time"):
        desk.answer(desk.sent[-1][1])


def test_after_the_storm_it_sends_one_request_more() -> None:
    desk = Desk(Load(requests_per_client=3, window=2))
    desk.run()
    desk.client.calm([2])
    desk.run()

    assert desk.client.is_done
    assert desk.client.answered == 4
    assert desk.client.home == 2
