from __future__ import annotations

import pytest
import trio
import trio.testing

from room_server import limits
from room_server.errors import ClusterError
from room_server.group_client import GroupClient
from vr.errors import UnknownGroup
from vr.host import Busy
from vr.log import Request
from vr.ready import Rejected, RejectReason, Reply
from vr.types import ClientId, OpNumber, SessionNumber

CLIENT = ClientId(b"c" * 16)
BODY = b"a request"


class Group:
    """The group's side: what it answers to each request, in turn; nothing at the end of the script."""

    def __init__(self, *script: RejectReason | Exception | bytes | None) -> None:
        self.script = list(script)
        self.requests: list[Request] = []
        self.forgotten: list[SessionNumber] = []
        self.client = GroupClient(
            CLIENT,
            submit=self.submit,
            forget=lambda _, session: self.forgotten.append(session),
            silence="nobody answers",
        )

    def submit(self, request: Request) -> None:
        self.requests.append(request)
        said = self.script.pop(0) if self.script else None
        if isinstance(said, Exception):
            raise said
        if isinstance(said, RejectReason):
            rejected = Rejected(
                client=request.client, session=request.session, number=request.number, reason=said, retry_after_s=0.5
            )
            self.client.on_answer(rejected)
        elif said is not None:
            session = request.session or SessionNumber(7)
            body = said if request.session else request.body
            self.client.on_answer(
                Reply(client=request.client, session=session, number=request.number, op=OpNumber(1), result=body)
            )

    @property
    def numbers(self) -> list[tuple[int, int]]:
        return [(request.session, request.number) for request in self.requests]


async def test_one_session_carries_operation_after_operation() -> None:
    group = Group(b"", b"\x00", b"\x0b")

    assert await group.client.call(BODY) == b"\x00"
    assert await group.client.call(BODY) == b"\x0b"
    assert group.numbers == [(0, 0), (7, 1), (7, 2)]


async def test_what_was_not_taken_up_is_sent_again_as_it_was(autojump_clock: trio.testing.MockClock) -> None:
    busy = Busy("full", retry_after_s=0.1)
    group = Group(busy, RejectReason.BUSY, b"", RejectReason.BUSY, busy, RejectReason.NEW_EPOCH, b"\x00")

    assert await group.client.call(BODY) == b"\x00"
    assert group.numbers == [(0, 0), (0, 0), (0, 0), (7, 1), (7, 1), (7, 1), (7, 1)]


async def test_a_session_that_is_over_is_followed_by_a_new_one() -> None:
    group = Group(b"", RejectReason.EVICTED, b"", b"\x00")

    assert await group.client.call(BODY) == b"\x00"
    assert group.numbers == [(0, 0), (7, 1), (0, 0), (7, 1)]


async def test_no_answer_in_time_is_told_and_the_number_is_not_used_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    group = Group(b"", None)

    with pytest.raises(ClusterError, match="nobody answers"):
        await group.client.call(BODY)
    assert trio.current_time() == pytest.approx(limits.ROSTER_WAIT_S_MAX)
    assert group.forgotten == [7]
    group.script = [b"", b"\x00"]
    assert await group.client.call(BODY) == b"\x00"
    assert group.numbers == [(0, 0), (7, 1), (0, 0), (7, 1)]


async def test_a_server_without_the_group_says_so() -> None:
    with pytest.raises(ClusterError, match="not on this server"):
        await Group(UnknownGroup("gone")).client.call(BODY)


async def test_answers_of_others_and_of_before_are_not_taken() -> None:
    group = Group(b"", None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(group.client.call, BODY)
        await trio.testing.wait_all_tasks_blocked()
        reply = Reply(
            client=CLIENT, session=SessionNumber(7), number=group.requests[0].number, op=OpNumber(1), result=b"x"
        )
        group.client.on_answer(reply)
        await trio.testing.wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 1
        nursery.cancel_scope.cancel()
