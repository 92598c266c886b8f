from __future__ import annotations

import ast
from pathlib import Path

from wire import limits
from wire.ids import ClientId, RoomEpoch, RoomId, Sequence
from wire.messages import Append, CreateRoom, Deliver, encode
from wire.room import CommitBody, Delivery, StoredWelcome, encode_commit_block


def test_every_limit_says_why() -> None:
    body = ast.parse(Path(limits.__file__).read_text()).body
    for statement, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign):
            assert isinstance(following, ast.Expr), ast.unparse(statement)


def test_largest_of_everything_fits_into_a_frame() -> None:
    largest_commit = encode_commit_block(
        RoomEpoch(0),
        CommitBody(
            commit=bytes(limits.COMMIT_BYTES_MAX // 2),
            group_info=bytes(limits.COMMIT_BYTES_MAX // 2 - 200),
            next_write_key=bytes(32),
            next_read_key=bytes(32),
            welcomes=(StoredWelcome((bytes(32),), b""),),
        ),
    )
    messages = (
        Append(RoomId(bytes(16)), ClientId(bytes(16)), 2**63, 2**63, (largest_commit,)),
        Deliver(RoomId(bytes(16)), (Delivery(Sequence(2**63), 2**63, 2**63, 2**63, largest_commit),)),
        CreateRoom(1, bytes(limits.GENESIS_BYTES_MAX)),
    )

    assert all(len(encode(message)) <= limits.FRAME_BYTES_MAX for message in messages)


def test_blocks_of_a_full_window_may_need_more_than_one_frame() -> None:
    """Senders must bound frames by bytes too: this documents the trap."""
    assert limits.SESSION_WINDOW * limits.BLOCK_BYTES_MAX > limits.FRAME_BYTES_MAX


def test_one_entry_of_the_largest_size_fits_into_a_block() -> None:
    assert limits.BLOCK_BYTES_MAX >= limits.ENTRY_BYTES_MAX + 16


def test_a_resend_of_the_window_fits_one_append_by_count() -> None:
    assert limits.BLOCKS_PER_APPEND_MAX >= limits.SESSION_WINDOW
