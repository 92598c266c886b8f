"""What clients called and were told, session by session, for the search for a legal order (`linearizability`).

Each session of the simulated service is an object of its own: request n puts n, once and in order, and a read shows the last
number that was put. A read looks at the sessions of all clients; for each of them it is one call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from vr.simulator.errors import Violation
from vr.simulator.linearizability import Call, Verdict, check_calls, step_counter
from vr.types import ClientId, SessionNumber

SessionKey = tuple[ClientId, SessionNumber]


class AskedRead(msgspec.Struct, frozen=True, kw_only=True):
    """A read on its way: of which sessions, called when, and the operation that somebody had seen by then."""

    sessions: Sequence[SessionKey]
    called_us: int
    floor_op: int


class Histories:
    """The histories of all sessions of one world."""

    def __init__(self) -> None:
        self._puts: dict[SessionKey, dict[int, Call]] = {}
        self._reads: dict[SessionKey, list[Call]] = {}

    def on_called(self, key: SessionKey, number: int, now_us: int) -> None:
        """A client makes a request."""
        self._puts.setdefault(key, {})[number] = Call("put", number, None, now_us, None)

    def on_returned(self, key: SessionKey, number: int, now_us: int) -> None:
        """Its answer is there."""
        calls = self._puts[key]
        calls[number] = calls[number]._replace(returned=now_us)

    def on_read(self, asked: AskedRead, shown: Mapping[SessionKey, int], now_us: int) -> None:
        """A read returned, and showed these last numbers."""
        for key in asked.sessions:
            call = Call("read", None, shown[key], asked.called_us, now_us)
            self._reads.setdefault(key, []).append(call)

    def check(self) -> int:
        """Search them all; the number of sessions given up.

        Raises:
            Violation: no order of a session's calls explains what its clients saw.
        """
        given_up = 0
        for key, reads in self._reads.items():
            verdict = check_calls([*self._puts.get(key, {}).values(), *reads], 0, step_counter)
            if verdict.culprit is not None:
                raise Violation("linearizable", f"session {key[1]:#x}: {_describe(verdict)}")
            given_up += verdict.given_up
        return given_up


def _describe(verdict: Verdict) -> str:
    assert verdict.culprit is not None
    return "; ".join(
        f"{call.name} {call.argument if call.name == 'put' else call.result} [{call.called}, {call.returned}]"
        for call in sorted([*verdict.culprit.known, *verdict.culprit.unknown], key=lambda call: call.called)[-12:]
    )
