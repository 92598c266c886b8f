from __future__ import annotations

import ast
from pathlib import Path

from client import connection_limits as limits
from wire import limits as wire_limits


def test_every_limit_says_why() -> None:
    body = ast.parse(Path(limits.__file__).read_text()).body
    for statement, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign):
            assert isinstance(following, ast.Expr), ast.unparse(statement)


def test_frames_of_appends_are_frames() -> None:
    assert limits.APPEND_FRAME_BYTES_MAX + wire_limits.BLOCKS_PER_APPEND_MAX * 8 < wire_limits.FRAME_BYTES_MAX
    assert wire_limits.COMMIT_BYTES_MAX + 1024 < wire_limits.FRAME_BYTES_MAX


def test_we_ping_before_the_server_thinks_that_we_are_gone() -> None:
    assert 2 * limits.PING_IDLE_S + limits.ANSWER_IDLE_S < wire_limits.IDLE_S_MAX


def test_calls_leave_room_for_proofs() -> None:
    assert limits.CALLS_MAX < wire_limits.REQUESTS_IN_FLIGHT_MAX
