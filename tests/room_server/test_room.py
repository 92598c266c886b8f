from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from room_server import limits
from room_server.errors import HistoryGapError, SnapshotError
from room_server.room import RoomService, deliveries, stored_deliveries
from tests.room_server.builders import ROOM_ID, app, commit, genesis, knock, request
from vr.log import Request, make_entry
from vr.types import Checksum, OpNumber, ViewNumber
from wire.ids import RoomId
from wire.room import BlockKind, BlockResult, ResultKind, chain_next, chain_start, decode_block_header, decode_result

BROKEN_BLOCKS = (
    b"",
    b"\x01",
    b"\x09" + bytes(10),
    app(0)[:-1],
    app(0, 2)[:9] + b"\x00\x03" + app(0, 2)[11:],
    commit(0)[:-1],
    commit(0) + b"\x00",
    app(0) + b"\x00",
)

blocks = st.one_of(
    st.builds(lambda epoch, count: app(epoch, count), st.integers(0, 4), st.integers(1, 5)),
    st.builds(
        lambda epoch, fill, references: commit(
            epoch, fill=fill, welcomes=[(reference, b"welcome" + reference) for reference in references]
        ),
        st.integers(0, 4),
        st.sampled_from([b"p", b"q"]),
        st.lists(st.sampled_from([b"1", b"2", b"3"]), unique=True),
    ),
    st.builds(lambda epoch: knock(epoch), st.integers(0, 4)),
    st.sampled_from(BROKEN_BLOCKS),
)
batches = st.lists(st.lists(blocks, max_size=6), max_size=12)


def apply(room: RoomService, *bodies: bytes, op: int = 1, timestamp_us: int = 7) -> list[BlockResult]:
    requests = [request(body, number=number) for number, body in enumerate(bodies, 1)]
    return [decode_result(result) for result in room.apply(OpNumber(op), timestamp_us, requests)]


def run(room: RoomService, history: list[list[bytes]], *, first_op: int = 1) -> list[list[bytes]]:
    return [
        room.apply(OpNumber(op), 1_000 * op, [request(body, number=number) for number, body in enumerate(batch, 1)])
        for op, batch in enumerate(history, first_op)
    ]


def test_new_room_starts_from_its_genesis() -> None:
    room = RoomService(genesis())

    assert (room.epoch, room.next_sequence, room.chain) == (0, 1, chain_start(ROOM_ID))
    assert (room.write_key, room.read_key(room.epoch), room.join_key) == (b"w" * 32, b"r" * 32, b"j" * 32)
    assert (room.group_info, room.commit_sequence) == (b"sealed group info", 0)


def test_entries_of_the_present_epoch_take_consecutive_sequence_numbers() -> None:
    room = RoomService(genesis())

    results = apply(room, app(0, 3), app(0, 1), app(0, 2))

    assert [(result.kind, result.sequence) for result in results] == [
        (ResultKind.ACCEPTED, 1),
        (ResultKind.ACCEPTED, 4),
        (ResultKind.ACCEPTED, 5),
    ]
    assert room.mark() == 7


@pytest.mark.parametrize("epoch", [0, 2])
def test_entries_of_another_epoch_are_stale_and_change_nothing(epoch: int) -> None:
    """R1, e2ee.md 3.1."""
    room = RoomService(genesis())
    apply(room, commit(0))
    before = room.snapshot()

    [result] = apply(room, app(epoch))

    assert result == BlockResult(ResultKind.STALE, result.sequence, room.epoch)
    assert room.snapshot() == before


def test_commit_begins_the_next_epoch_whole() -> None:
    """R2, e2ee.md 3.1."""
    room = RoomService(genesis())

    [entry, winner] = apply(room, app(0), commit(0, welcomes=[(b"ref", b"hello")]))

    assert (entry.epoch, winner.epoch, winner.sequence) == (0, 1, 2)
    assert (room.epoch, room.commit_sequence, room.commit_chain) == (1, 2, room.chain)
    assert (room.write_key[:2], room.group_info) == (b"w1", b"infoc")
    assert room.read_key(room.epoch) != room.read_key(decode_block_header(app(0)).epoch)
    kept = room.welcome(b"ref")
    assert kept is not None
    assert (kept.welcome, kept.sequence, kept.chain) == (b"hello", 2, room.chain)


def test_loser_of_a_commit_race_learns_the_sequence_of_the_winner_and_leaves_no_trace() -> None:
    room = RoomService(genesis())
    apply(room, app(0, 4), commit(0, fill=b"p"))
    before = room.snapshot()

    [loser] = apply(room, commit(0, fill=b"q", welcomes=[(b"never", b"never")]))

    assert (loser.kind, loser.sequence, loser.epoch) == (ResultKind.CONFLICT, 5, 1)
    assert room.snapshot() == before


def test_race_within_one_batch_has_one_winner() -> None:
    room = RoomService(genesis())

    results = apply(room, commit(0, fill=b"p"), app(0), commit(0, fill=b"q"), app(1))

    kinds = [result.kind for result in results]
    assert kinds == [ResultKind.ACCEPTED, ResultKind.STALE, ResultKind.CONFLICT, ResultKind.ACCEPTED]
    assert [result.sequence for result in results] == [1, 0, 1, 2]


@pytest.mark.parametrize("block", BROKEN_BLOCKS)
def test_broken_block_is_malformed_and_changes_nothing(block: bytes) -> None:
    room = RoomService(genesis())
    before = room.snapshot()

    [result] = apply(room, block)

    assert result.kind is ResultKind.MALFORMED
    assert room.snapshot() == before


def test_welcomes_are_bounded_by_count_and_the_oldest_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WELCOMES_MAX", 3)
    room = RoomService(genesis())

    apply(room, commit(0, welcomes=[(b"1", b"x"), (b"2", b"x")]), commit(1, welcomes=[(b"3", b"x"), (b"4", b"x")]))

    assert room.welcome(b"1") is None
    assert room.welcome(b"2") is not None


def test_welcomes_are_bounded_by_bytes_and_renewed_ones_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WELCOME_BYTES_MAX", 10)
    room = RoomService(genesis())

    apply(room, commit(0, welcomes=[(b"1", b"x" * 4), (b"2", b"x" * 4)]), commit(1, welcomes=[(b"1", b"y" * 5)]))
    apply(room, commit(2, welcomes=[(b"3", b"z")]))

    assert [room.welcome(reference) is not None for reference in (b"1", b"2", b"3")] == [True, True, True]


def test_read_keys_are_bounded_and_survive_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "READ_KEYS_MAX", 3)
    room = RoomService(genesis())
    apply(room, *(commit(epoch) for epoch in range(5)))

    restored = RoomService(genesis())
    restored.restore(room.snapshot())

    kept = [restored.read_key(room.epoch.__class__(epoch)) for epoch in range(7)]  # type: ignore[arg-type]  # NewType
    assert [key is not None for key in kept] == [False, False, False, True, True, True, False]
    assert kept[3:6] == [(b"r%d" % epoch).ljust(32, b"c") for epoch in (3, 4, 5)]


@given(batches)
def test_replicas_that_apply_the_same_log_are_equal_in_every_byte(history: list[list[bytes]]) -> None:
    first, second = RoomService(genesis()), RoomService(genesis())

    assert run(first, history) == run(second, history)
    assert first.snapshot() == second.snapshot()


@given(batches, batches)
@settings(max_examples=60)
def test_restored_replica_goes_on_like_one_that_never_stopped(past: list[list[bytes]], rest: list[list[bytes]]) -> None:
    steady = RoomService(genesis())
    run(steady, past)
    restored = RoomService(genesis())
    restored.restore(steady.snapshot())

    assert restored.snapshot() == steady.snapshot()
    assert run(restored, rest, first_op=100) == run(steady, rest, first_op=100)
    assert restored.snapshot() == steady.snapshot()


@given(batches)
def test_chain_and_sequences_are_those_that_a_client_computes_from_deliveries(history: list[list[bytes]]) -> None:
    room = RoomService(genesis())
    chain, sequence = chain_start(ROOM_ID), 1

    for op, batch in enumerate(history, 1):
        requests = [request(body, number=number) for number, body in enumerate(batch, 1)]
        results = room.apply(OpNumber(op), op, requests)
        for delivered in deliveries(op, requests, results):
            assert delivered.first_sequence == sequence
            sequence += decode_block_header(delivered.block).count
            chain = chain_next(chain, delivered)

    assert (chain, sequence) == (room.chain, room.next_sequence)


@given(batches)
def test_epoch_is_the_number_of_accepted_commits(history: list[list[bytes]]) -> None:
    room = RoomService(genesis())

    results = run(room, history)

    accepted = [
        body
        for batch, answers in zip(history, results, strict=True)
        for body, answer in zip(batch, answers, strict=True)
        if decode_result(answer).kind is ResultKind.ACCEPTED
    ]
    commits = [body for body in accepted if decode_block_header(body).kind is BlockKind.COMMIT]
    assert room.epoch == len(commits)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_state_are_refused_and_change_nothing(data: bytes) -> None:
    room = RoomService(genesis())
    before = room.snapshot()

    with pytest.raises(SnapshotError):
        room.restore(data)

    assert room.snapshot() == before


def test_state_of_another_room_is_refused() -> None:
    other = RoomService(genesis(RoomId(b"o" * 16)))

    with pytest.raises(SnapshotError):
        RoomService(genesis()).restore(other.snapshot())


def stored(*requests: Request) -> bytes:
    return make_entry(
        view=ViewNumber(0),
        op=OpNumber(1),
        commit=OpNumber(0),
        parent=Checksum(bytes(16)),
        timestamp_us=5,
        requests=requests,
    ).data


def test_history_yields_what_was_applied_also_beside_repeats_and_registers() -> None:
    room = RoomService(genesis())
    register = request(b"", number=0, session=0)
    repeat = request(app(0), number=1, session=512)
    first, second = request(app(0, 2), number=1), request(app(0), number=2)
    impostor = request(app(0, 4), number=2)
    results = room.apply(OpNumber(1), 5, [first, second])

    delivered = stored_deliveries(stored(repeat, register, first, second, impostor), results)

    assert delivered == deliveries(5, [first, second], results)
    assert [(d.first_sequence, d.session, d.number) for d in delivered] == [(1, 256, 1), (3, 256, 2)]


@pytest.mark.parametrize("damage", ["entry", "results", "other"])
def test_rotted_history_is_noticed(damage: str) -> None:
    room = RoomService(genesis())
    one = request(app(0))
    results = room.apply(OpNumber(1), 5, [one])
    entry = stored(one if damage != "other" else request(app(0), number=2))

    with pytest.raises(HistoryGapError):
        stored_deliveries(
            entry[:-1] + b"?" if damage == "entry" else entry, [b"\xc1"] if damage == "results" else results
        )
