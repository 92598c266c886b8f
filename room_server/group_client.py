"""This server as a client of a group of its own, the roster's or a room's: one session, one request at a time, executed exactly once.

    call(body) ─▶ session, if there is none ─▶ request ─▶ host … on_reply ─▶ what became of it
                              ▲ evicted                  ▲ busy, between two epochs: again, the same request

Bounded in time: what has no answer by then may still be executed, and whoever wanted it is told so.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from room_server import limits
from room_server.errors import ClusterError
from vr.errors import UnknownGroup
from vr.host import HostError
from vr.log import Request
from vr.ready import Rejected, RejectReason, Reply
from vr.types import ClientId, RequestNumber, SessionNumber

_OVER = frozenset({RejectReason.EVICTED, RejectReason.UNKNOWN_SESSION, RejectReason.SEQUENCE_GAP})


class GroupClient:
    """See the module.

    Args:
        client: 16 bytes that no other client has.
        submit: hands a request to the group; raises HostError.
        forget: nobody waits for that session any more.
        silence: what to say when no majority answers.
    """

    def __init__(
        self,
        client: ClientId,
        *,
        submit: Callable[[Request], None],
        forget: Callable[[ClientId, SessionNumber], None],
        silence: str,
    ) -> None:
        self._client = client
        self._submit = submit
        self._forget = forget
        self._silence = silence
        self._session = SessionNumber(0)
        self._number = 0
        self._attempts = 0
        self._answer: Reply | Rejected | None = None
        self._answered = trio.Event()
        self._one_at_a_time = trio.Lock()

    async def call(self, body: bytes) -> bytes:
        """Have one request executed; its result.

        Raises:
            ClusterError: no answer in time; it may still be executed. Or the group is not here.
        """
        async with self._one_at_a_time:
            with trio.move_on_after(limits.ROSTER_WAIT_S_MAX):
                return await self._call(body)
            # What was sent may still be executed, so its number is used up.
            self._forget(self._client, self._session)
            self._session = SessionNumber(0)
        raise ClusterError(self._silence)

    async def _call(self, body: bytes) -> bytes:
        while True:
            if not self._session:
                await self._register()
            self._number += 1
            request = Request(self._client, self._session, RequestNumber(self._number), body)
            reply = await self._answer_to(request)
            if reply is not None:
                return reply.result

    async def _register(self) -> None:
        self._attempts += 1
        attempt = self._attempts.to_bytes(8, "big")
        reply = await self._answer_to(Request(self._client, SessionNumber(0), RequestNumber(0), attempt))
        if reply is not None and reply.result == attempt:
            self._session, self._number = reply.session, 0

    async def _answer_to(self, request: Request) -> Reply | None:
        """The reply, however often it has to be sent; None: the session is over."""
        while True:
            self._answer, self._answered = None, trio.Event()
            try:
                self._submit(request)
            except UnknownGroup as error:
                raise ClusterError("the group is not on this server: ask on one that has it") from error
            except HostError:
                await trio.sleep(limits.ROSTER_RETRY_S)
                continue
            await self._answered.wait()
            answer: Reply | Rejected | None = self._answer
            if isinstance(answer, Reply):
                return answer
            assert answer is not None, "the event is set with an answer"
            if answer.reason in _OVER:
                self._session = SessionNumber(0)
                return None
            await trio.sleep(max(answer.retry_after_s, limits.ROSTER_RETRY_S))

    def on_answer(self, answer: Reply | Rejected) -> None:
        """A request of this client was executed, or not taken up."""
        is_awaited = answer.number == (self._number if self._session else 0)
        if answer.client == self._client and is_awaited:
            self._answer = answer
            self._answered.set()
