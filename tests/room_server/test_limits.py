from __future__ import annotations

import ast
from pathlib import Path

from room_server import limits
from wire import limits as wire_limits


def test_every_limit_is_positive_and_says_why() -> None:
    tree = ast.parse(Path(limits.__file__).read_text())
    body = tree.body
    named = [index for index, node in enumerate(body) if isinstance(node, ast.AnnAssign)]

    for index in named:
        after = body[index + 1]
        assert isinstance(after, ast.Expr), ast.unparse(body[index])
        assert isinstance(after.value, ast.Constant)
    values = [value for name, value in vars(limits).items() if name.isupper()]
    assert len(values) == len(named)
    assert all(value > 0 for value in values)


def test_limits_fit_into_each_other() -> None:
    assert limits.CHUNK_BYTES_MAX < wire_limits.FRAME_BYTES_MAX
    assert wire_limits.COMMIT_BYTES_MAX + 1024 < wire_limits.FRAME_BYTES_MAX
    assert limits.HISTORY_PAGE_BYTES <= limits.SEND_QUEUE_BYTES_MAX
    assert limits.RING_BYTES_MAX <= limits.SEND_QUEUE_BYTES_MAX
    assert limits.PEER_BACKOFF_S_MIN < limits.PEER_BACKOFF_S_MAX
