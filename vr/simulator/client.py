"""Simulated clients: sessions, pipelined windows, retries, moves, impatience.

```
  start ─▶ REGISTERING ── register reply ─▶ ACTIVE ── all requests answered ─▶ DONE
               ▲                              │
               └── evicted, or left by choice ┘   (outstanding requests then have an unknown outcome: given up, counted)
```

A client talks to one node at a time over an ordered connection, and to another one after a time-out, if it is the kind
that moves. It checks what a user could check: the answer fits the question, and a request made after an answer was seen
is ordered after it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from random import Random

from vr.log import Request
from vr.ready import Rejected, RejectReason, Reply
from vr.simulator.checkers import SessionChecker
from vr.simulator.schedule import Schedule
from vr.simulator.swarm import Load
from vr.types import ClientId, RequestNumber, SessionNumber

RETRY_US_MIN = 10_000
Submit = Callable[["Client", int, Sequence[Request]], None]
Forget = Callable[["Client", int], None]
Read = Callable[["Client", int, int], None]


class ClientState(enum.Enum):
    """Where a client is in its life."""

    REGISTERING = enum.auto()
    ACTIVE = enum.auto()
    DONE = enum.auto()


class Client:
    """One client of the group.

    `submit(client, node, requests)` carries requests to a node, `read(client, node, floor_op)` a read that nobody waits
    for, `forget(client, node)` tells a node that the client has gone; answers come back through `on_reply` and `on_rejected`.
    """

    def __init__(
        self,
        index: int,
        schedule: Schedule,
        random: Random,
        *,
        load: Load,
        node_count: int,
        checker: SessionChecker,
        submit: Submit,
        forget: Forget,
        read: Read,
    ) -> None:
        self.client_id = ClientId(random.randbytes(16))
        self.index = index
        self.home = random.randrange(node_count)
        self.state = ClientState.REGISTERING
        self.session = SessionNumber(0)
        self.answered = 0
        self.given_up = 0
        self.evictions = 0
        self.attempt = 1
        """To open a session: the first, the second, …"""
        self.outstanding: dict[int, Request] = {}
        self._floors: dict[int, int] = {}  # request number -> highest op acknowledged to anybody when it was made
        self._next_number = 1
        self._retry_token = 0
        self._schedule = schedule
        self._random = random
        self._load = load
        self._requests_max = load.requests_per_client
        self._homes = list(range(node_count))
        self._checker = checker
        self._submit = submit
        self._forget = forget
        self._read = read

    @property
    def is_done(self) -> bool:
        """Whether every request was answered or given up."""
        return self.state is ClientState.DONE

    def start(self) -> None:
        """Begin to work after a think time."""
        self._schedule.after(self._think_us(), self._register)

    def _think_us(self) -> int:
        return int(self._random.expovariate(1.0) * self._load.think_us_mean)

    def _register(self) -> None:
        if self.state is ClientState.REGISTERING:
            self._send([self._register_request()])

    def _register_request(self) -> Request:
        body = b"%d" % self.attempt
        return Request(client=self.client_id, session=SessionNumber(0), number=RequestNumber(0), body=body)

    def _send(self, requests: Sequence[Request]) -> None:
        self._submit(self, self.home, requests)
        if self._random.random() < self._load.double:
            self._submit(self, self.home, requests)
        self._arm_retry()

    def _arm_retry(self) -> None:
        self._retry_token += 1
        jitter = 0.75 + self._random.random() / 2
        self._schedule.after(int(self._load.retry_us * jitter), self._on_retry, self._retry_token)

    def _on_retry(self, token: int) -> None:
        if token != self._retry_token or self.state is ClientState.DONE:
            return
        if self._random.random() < self._load.move:
            self._move()
        self._send_again()

    def _move(self) -> None:
        others = [node for node in self._homes if node != self.home]
        if others:
            self._forget(self, self.home)
            self.home = self._random.choice(others)

    def calm(self, homes: Sequence[int]) -> None:
        """Only these nodes remain; one request more proves that they work."""
        self._homes = list(homes)
        self._requests_max = self.answered + self.given_up + len(self.outstanding) + 1
        if self.home not in self._homes:
            self._move()
        self._retry_token += 1
        if self.state is ClientState.DONE:
            self.state = ClientState.ACTIVE if self.session else ClientState.REGISTERING
        self._on_reconnected(self._retry_token)

    def _send_again(self) -> None:
        if self.state is ClientState.REGISTERING:
            self._send([self._register_request()])
        elif self.outstanding:
            self._send([self.outstanding[number] for number in sorted(self.outstanding)])

    def on_disconnected(self, node: int) -> None:
        """The node's process died under the connection."""
        if node == self.home and not self.is_done:
            self._move()
            self._retry_token += 1
            self._schedule.after(self._think_us(), self._on_reconnected, self._retry_token)

    def _on_reconnected(self, token: int) -> None:
        if token == self._retry_token:
            self._send_again()
            if not self.outstanding and self.state is ClientState.ACTIVE:
                self._make_requests()

    def on_reply(self, reply: Reply) -> None:
        """An answer arrived."""
        if reply.number == 0:
            self._on_registered(reply)
        elif reply.session == self.session and reply.number in self.outstanding:
            del self.outstanding[reply.number]
            self.answered += 1
            self._checker.on_acknowledged(reply.op, floor_op=self._floors.pop(reply.number))
            self._checker.histories.on_returned((self.client_id, self.session), reply.number, self._schedule.now_us)
            self._after_progress()

    def _on_registered(self, reply: Reply) -> None:
        if self.state is not ClientState.REGISTERING or reply.result != b"%d" % self.attempt:
            return  # a register sent twice makes two sessions, one is enough; another attempt's is none of ours
        self.session = reply.session
        self._next_number = 1
        self.state = ClientState.ACTIVE
        self._after_progress()

    def _after_progress(self) -> None:
        if self._random.random() < self._load.read:
            self._read(self, self._random.choice(self._homes), self._checker.seen_op_max)
        if self._random.random() < self._load.leave:
            self._give_up()
            self._finish_or(self._register)
            return
        self._retry_token += 1
        if self.outstanding:
            self._arm_retry()
        self._finish_or(self._make_requests)

    def _finish_or(self, proceed: Callable[[], None]) -> None:
        if self.answered + self.given_up >= self._requests_max and not self.outstanding:
            self.state = ClientState.DONE
        else:
            self._schedule.after(self._think_us(), self._proceed, proceed, self.session)

    def _proceed(self, proceed: Callable[[], None], session: SessionNumber) -> None:
        if session == self.session and not self.is_done:
            proceed()

    def _make_requests(self) -> None:
        remaining = self._requests_max - self.answered - self.given_up - len(self.outstanding)
        room = self._load.window - len(self.outstanding)
        # Pipelined windows are contiguous: never more than `window` beyond the oldest unanswered request.
        if self.outstanding:
            room = min(room, min(self.outstanding) + self._load.window - self._next_number)
        count = min(remaining, room)
        if self.state is not ClientState.ACTIVE or count <= 0:
            return
        self._send([self._make_request() for _ in range(self._random.randint(1, count))])

    def _make_request(self) -> Request:
        number = self._next_number
        self._next_number += 1
        body = self._random.randbytes(self._random.randrange(self._load.body_bytes_max))
        request = Request(client=self.client_id, session=self.session, number=RequestNumber(number), body=body)
        self.outstanding[number] = request
        self._floors[number] = self._checker.acknowledged_op_max
        self._checker.histories.on_called((self.client_id, self.session), number, self._schedule.now_us)
        return request

    def on_rejected(self, rejected: Rejected) -> None:
        """A request was refused."""
        if self.is_done or rejected.session != self.session:
            return
        match rejected.reason:
            case RejectReason.EVICTED | RejectReason.UNKNOWN_SESSION:
                if self.state is ClientState.ACTIVE:
                    self.evictions += 1
                    self._give_up()
                    self._finish_or(self._register)
            case reason:
                if reason is RejectReason.NEW_EPOCH:
                    self._move()  # Our replica has left the group.
                self._retry_token += 1
                delay_us = max(RETRY_US_MIN, int(rejected.retry_after_s * 1e6))
                self._schedule.after(delay_us, self._on_busy_over, self._retry_token)

    def _on_busy_over(self, token: int) -> None:
        if token == self._retry_token and not self.is_done:
            self._send_again()

    def _give_up(self) -> None:
        self._forget(self, self.home)
        self.given_up += len(self.outstanding)
        self.outstanding.clear()
        self._floors.clear()
        self.state = ClientState.REGISTERING
        self.session = SessionNumber(0)
        self.attempt += 1
        if self.attempt % 2 == 0 and self._homes:
            # Who begins anew somewhere else may meet a replica that has not executed its first register yet.
            self.home = self._homes[(self.index + self.attempt) % len(self._homes)]
        self._retry_token += 1
