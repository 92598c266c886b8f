from __future__ import annotations

import ast
import inspect

from mls import limits

PARENT_NODE_BYTES_MAX = 80
"""Two bytes of tags, a key and a parent hash of 32 bytes each, their lengths; unmerged leaves apart."""


def test_every_limit_is_a_positive_number_with_a_reason() -> None:
    body = ast.parse(inspect.getsource(limits)).body
    assigned = [at for at, node in enumerate(body) if isinstance(node, ast.AnnAssign)]

    assert assigned
    for at in assigned:
        reason = body[at + 1]
        assert isinstance(reason, ast.Expr)
        assert isinstance(reason.value, ast.Constant)
    for name in dir(limits):
        if name.isupper():
            assert getattr(limits, name) > 0


def test_every_tree_within_the_limits_fits_into_a_message() -> None:
    depth = limits.LEAVES_MAX.bit_length()
    unmerged = 4 * limits.LEAVES_MAX * depth
    largest = limits.LEAVES_MAX * (limits.LEAF_NODE_BYTES_MAX + 2 + PARENT_NODE_BYTES_MAX) + unmerged
    welcomes = 200 * limits.LEAVES_MAX

    assert largest + welcomes < limits.MESSAGE_BYTES_MAX


def test_rooms_of_5000_devices_fit() -> None:
    assert limits.LEAVES_MAX >= 5_000
    assert limits.PROPOSALS_PER_COMMIT_MAX >= 2 * 5_000
    assert 1 << limits.UPDATE_PATH_NODES_MAX >= limits.LEAVES_MAX
