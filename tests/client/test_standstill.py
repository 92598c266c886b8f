from __future__ import annotations

import math

from client import connection_limits as limits
from client.standstill import Standstill
from wire.identity import NodeIdentity, ServerAddress

SERVERS = [ServerAddress("127.0.0.1", port, NodeIdentity(bytes([port]) * 32).public) for port in (1, 2, 3)]


def begun(index: int = 0, standstill: Standstill | None = None) -> Standstill:
    standstill = standstill or Standstill()
    standstill.begin(SERVERS[index], SERVERS)
    return standstill


def test_idle_connection_is_kept() -> None:
    standstill = begun()
    standstill.note(5.0, answers=0, is_appending=False, can_append=None)

    assert standstill.leave_at == math.inf


def test_server_that_says_it_cannot_is_left_soon_unless_it_recovers() -> None:
    standstill = begun()
    standstill.note(5.0, answers=0, is_appending=False, can_append=False)
    standstill.note(5.2, answers=0, is_appending=False, can_append=False)
    assert standstill.leave_at == 5.0 + limits.STANDSTILL_S

    standstill.note(5.3, answers=0, is_appending=False, can_append=True)
    assert standstill.leave_at == math.inf


def test_unanswered_appends_count_from_the_last_answer() -> None:
    standstill = begun()
    standstill.note(1.0, answers=0, is_appending=True, can_append=True)
    assert standstill.leave_at == 1.0 + limits.APPEND_S_MAX + limits.STANDSTILL_S

    standstill.note(3.0, answers=7, is_appending=True, can_append=True)
    assert standstill.leave_at == 3.0 + limits.APPEND_S_MAX + limits.STANDSTILL_S

    standstill.note(4.0, answers=8, is_appending=False, can_append=True)
    assert standstill.leave_at == math.inf


def test_when_every_server_stands_still_we_stay_longer() -> None:
    standstill = Standstill()
    for index in range(3):
        begun(index, standstill)
        standstill.note(1.0, answers=0, is_appending=False, can_append=False)
        patience_s = limits.STANDSTILL_S if index < 2 else limits.STANDSTILL_RETRY_S
        assert standstill.leave_at == 1.0 + patience_s, index
        standstill.left()

    begun(0, standstill)
    standstill.note(9.0, answers=1, is_appending=False, can_append=None)
    begun(0, standstill)
    standstill.note(10.0, answers=1, is_appending=False, can_append=False)
    assert standstill.leave_at == 10.0 + limits.STANDSTILL_S, "an answer makes all worth trying again"
