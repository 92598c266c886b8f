from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire.builders import instances
from tests.wire.certificates import server
from wire import limits
from wire.certificate import Server
from wire.errors import DecodeError
from wire.ids import GroupEpoch, NodeKey, RoomEpoch, RoomId, Sequence
from wire.room import (
    BLOCK_HEADER_BYTES,
    CHAIN_BYTES,
    GENESIS_VERSION,
    Ack,
    BlockHeader,
    BlockKind,
    BlockResult,
    CommitBody,
    Delivery,
    Genesis,
    GenesisMember,
    Move,
    Override,
    Place,
    Purpose,
    ResultKind,
    StoredWelcome,
    chain_next,
    chain_start,
    decode_block_header,
    decode_commit,
    decode_control,
    decode_entries,
    decode_genesis,
    decode_result,
    encode_app_block,
    encode_commit_block,
    encode_control_block,
    encode_genesis,
    encode_result,
    needed_proof,
)

ENTRIES = st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=limits.BLOCK_ENTRIES_MAX)
EPOCHS = st.integers(0, 2**64 - 1).map(RoomEpoch)
BODY = CommitBody(commit=b"c", group_info=b"g", next_write_key=b"w" * 32, next_read_key=b"r" * 32)
ROOM_ID = RoomId(b"r" * 16)


def genesis(**changes: object) -> Genesis:
    members = tuple(GenesisMember(bytes([number]) * 16, NodeKey(b"k" * 32), "host", 7610) for number in range(3))
    values = {
        "version": GENESIS_VERSION,
        "room_id": ROOM_ID,
        "created_us": 1,
        "members": members,
        "write_key": b"w" * 32,
        "read_key": b"r" * 32,
        "join_key": b"j" * 32,
        "admin_key": b"a" * 32,
        "group_info": b"g",
        "descriptor": b"d",
    }
    return Genesis(**(values | changes))  # type: ignore[arg-type]


@given(epoch=EPOCHS, entries=ENTRIES)
def test_app_block_comes_back(epoch: RoomEpoch, entries: list[bytes]) -> None:
    block = encode_app_block(epoch, entries)

    assert decode_block_header(block) == BlockHeader(BlockKind.APP, epoch, len(entries))
    assert decode_entries(block) == entries


def test_one_entry_of_the_largest_size_fits_into_a_block() -> None:
    entry = bytes(limits.ENTRY_BYTES_MAX)

    assert decode_entries(encode_app_block(RoomEpoch(0), [entry])) == [entry]


def test_block_header_is_what_the_theory_says() -> None:
    assert encode_app_block(RoomEpoch(2), [b"e"])[:BLOCK_HEADER_BYTES] == b"\1" + b"\0" * 7 + b"\2" + b"\0\1"


@given(epoch=EPOCHS, external=st.booleans(), commit=st.binary(max_size=99))
def test_commit_block_comes_back(epoch: RoomEpoch, external: bool, commit: bytes) -> None:
    body = msgspec.structs.replace(BODY, commit=commit, external=external, welcomes=(StoredWelcome((b"r",), b"w"),))
    block = encode_commit_block(epoch, body)

    assert decode_block_header(block) == BlockHeader(BlockKind.COMMIT, epoch, 1)
    assert decode_commit(block) == body


def header(kind: int, count: int, body: bytes = b"") -> bytes:
    return bytes([kind]) + bytes(8) + count.to_bytes(2, "big") + body


@pytest.mark.parametrize(
    "block",
    [
        b"",
        bytes(BLOCK_HEADER_BYTES - 1),
        header(0, 1),
        header(5, 1),
        header(4, 1),
        header(4, 2, b"k"),
        header(4, 1, bytes(limits.KNOCK_BYTES_MAX)),
        header(3, 2),
        header(3, 1, bytes(limits.COMMIT_BYTES_MAX)),
        header(1, 0),
        header(1, limits.BLOCK_ENTRIES_MAX + 1),
        header(1, 1, bytes(limits.BLOCK_BYTES_MAX)),
        header(2, 0),
        header(2, 2),
        header(2, 1, bytes(limits.COMMIT_BYTES_MAX)),
    ],
)
def test_header_out_of_bounds_is_refused(block: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_block_header(block)


def packed(value: object) -> bytes:
    return msgspec.msgpack.encode(value)


@pytest.mark.parametrize(
    "block",
    [
        header(1, 2, packed([b"one"])),
        header(1, 1, packed([b"one", b"two"])),
        header(1, 1, packed([b""])),
        header(1, 1, packed([bytes(limits.ENTRY_BYTES_MAX + 1)])),
        header(1, 1, packed(["text"])),
        header(1, 1, packed(b"no list")),
        header(1, 1, packed([b"one"]) + b"x"),
        header(1, 1),
        encode_commit_block(RoomEpoch(0), BODY),
    ],
)
def test_entries_out_of_bounds_are_refused(block: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_entries(block)


@pytest.mark.parametrize(
    "changes",
    [
        {"next_write_key": b"w" * 31},
        {"next_read_key": b"r" * 33},
        {"welcomes": (StoredWelcome((b"r",), b"w"),) * (limits.WELCOMES_PER_COMMIT_MAX + 1)},
        {"welcomes": (StoredWelcome((b"r",) * (limits.WELCOMES_PER_COMMIT_MAX + 1), b"w"),)},
        {"welcomes": (StoredWelcome((b"r" * 33,), b"w"),)},
    ],
)
def test_commit_out_of_bounds_is_refused(changes: dict[str, object]) -> None:
    block = encode_commit_block(RoomEpoch(0), msgspec.structs.replace(BODY, **changes))

    with pytest.raises(DecodeError):
        decode_commit(block)


def test_app_block_is_no_commit() -> None:
    with pytest.raises(DecodeError):
        decode_commit(encode_app_block(RoomEpoch(0), [b"e"]))


@given(result=instances(BlockResult))
def test_result_comes_back(result: BlockResult) -> None:
    assert decode_result(encode_result(result)) == result


def test_genesis_comes_back() -> None:
    assert decode_genesis(encode_genesis(genesis())) == genesis()


@pytest.mark.parametrize(
    "changes",
    [
        {"version": GENESIS_VERSION + 1},
        {"room_id": b"short"},
        {"write_key": b""},
        {"read_key": b"r" * 31},
        {"join_key": b"j" * 33},
        {"admin_key": b"a"},
        {"members": ()},
        {"members": (GenesisMember(b"same", NodeKey(b"k" * 32), "h", 1),) * 2},
        {"members": (GenesisMember(b"m", NodeKey(b"short"), "h", 1),)},
        {"members": tuple(GenesisMember(bytes([n]), NodeKey(b"k" * 32), "h", 1) for n in range(8))},
        {"group_info": bytes(limits.GENESIS_BYTES_MAX)},
    ],
)
def test_genesis_out_of_bounds_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(DecodeError):
        decode_genesis(encode_genesis(genesis(**changes)))


DECODERS: list[tuple[Callable[[bytes], object], bytes]] = [
    (decode_entries, encode_app_block(RoomEpoch(1), [b"one", b"two" * 50])),
    (decode_commit, encode_commit_block(RoomEpoch(1), BODY)),
    (decode_result, encode_result(BlockResult(ResultKind.ACCEPTED, Sequence(5), RoomEpoch(1)))),
    (decode_genesis, encode_genesis(genesis())),
]


@given(which=st.sampled_from(DECODERS), at=st.integers(0, 10_000), cut=st.integers(0, 3), junk=st.binary(max_size=3))
@settings(max_examples=500)
def test_mutated_records_only_ever_raise_decode_error(
    which: tuple[Callable[[bytes], object], bytes], at: int, cut: int, junk: bytes
) -> None:
    decoder, data = which
    at %= len(data)

    try:
        decoder(data[:at] + junk + data[at + cut :])
    except DecodeError:
        return


@pytest.mark.parametrize("decoder", [decode_entries, decode_commit, decode_result, decode_genesis])
@pytest.mark.parametrize("head", [b"", b"\x94\1\0\0", header(1, 1), header(2, 1), b"\x9b\1"])
def test_deep_nesting_is_refused(decoder: Callable[[bytes], object], head: bytes) -> None:
    with pytest.raises(DecodeError):
        decoder(head + b"\x91" * 60_000)


@pytest.mark.parametrize(("decoder", "data"), DECODERS)
def test_every_cut_of_a_record_is_refused(decoder: Callable[[bytes], object], data: bytes) -> None:
    for size in range(len(data)):
        with pytest.raises(DecodeError):
            decoder(data[:size])


DELIVERY = Delivery(Sequence(1), 2, 3, 4, b"block")


def test_chain_depends_on_the_room() -> None:
    assert len(chain_start(ROOM_ID)) == CHAIN_BYTES
    assert chain_start(ROOM_ID) != chain_start(RoomId(b"s" * 16))


@pytest.mark.parametrize(
    "changes",
    [{"first_sequence": 9}, {"timestamp_us": 9}, {"session": 9}, {"number": 9}, {"block": b"other"}, {"block": b""}],
)
def test_chain_depends_on_every_field(changes: dict[str, object]) -> None:
    start = chain_start(ROOM_ID)

    assert chain_next(start, DELIVERY) != chain_next(start, msgspec.structs.replace(DELIVERY, **changes))


def test_chain_depends_on_what_came_before() -> None:
    one, two = DELIVERY, msgspec.structs.replace(DELIVERY, block=b"two")
    start = chain_start(ROOM_ID)

    assert chain_next(chain_next(start, one), two) != chain_next(chain_next(start, two), one)


def test_chain_never_changes_its_meaning() -> None:
    """A frozen value: stored chains of all members must still agree after an update."""
    chain = chain_next(chain_start(ROOM_ID), DELIVERY)

    assert chain.hex() == "844dc25aa8d7334c38b3aabac85fa0a227992b4830e03b383103188fbc2d5fe1"


OVERRIDE = Override(write_key=b"w" * 32, read_key=b"r" * 32, group_info=b"g")


MOVE = Move(
    epoch=GroupEpoch(1), servers=(server(1), server(2)), standbys=(server(3),), descriptor=b"signed by the owner"
)


PLACE = Place(epoch=GroupEpoch(1), servers=MOVE.servers, standbys=MOVE.standbys)


@pytest.mark.parametrize("body", [Ack(), OVERRIDE, MOVE, PLACE])
def test_control_block_carries_its_statement(body: Ack | Override | Move | Place) -> None:
    block = encode_control_block(RoomEpoch(7), body)

    assert decode_block_header(block) == BlockHeader(BlockKind.CONTROL, RoomEpoch(7), 1)
    assert decode_control(block) == body


@pytest.mark.parametrize(
    "block",
    [
        encode_app_block(RoomEpoch(1), [b"x"]),
        encode_control_block(RoomEpoch(1), Ack())[:-1],
        encode_control_block(RoomEpoch(1), Ack()) + b"x",
        encode_control_block(RoomEpoch(1), msgspec.structs.replace(OVERRIDE, write_key=b"w")),
        encode_control_block(RoomEpoch(1), msgspec.structs.replace(OVERRIDE, read_key=b"")),
        *[
            encode_control_block(RoomEpoch(1), msgspec.structs.replace(MOVE, **change))
            for change in (
                {"epoch": 0},
                {"servers": ()},
                {"standbys": (server(2),)},
                {"standbys": (server(3, port=0),)},
                {"standbys": (Server(server(1).replica_id, server(4).node_key, "h", 1),)},
                {"descriptor": bytes(limits.DESCRIPTOR_ITEM_BYTES_MAX + 1)},
            )
        ],
        encode_control_block(RoomEpoch(1), msgspec.structs.replace(PLACE, epoch=GroupEpoch(0))),
        encode_control_block(RoomEpoch(1), msgspec.structs.replace(PLACE, standbys=(server(2),))),
    ],
)
def test_what_is_no_statement_is_refused(block: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_control(block)


def test_each_block_names_the_proof_that_it_needs() -> None:
    blocks = [
        encode_app_block(RoomEpoch(1), [b"x"]),
        encode_commit_block(RoomEpoch(1), BODY),
        encode_commit_block(RoomEpoch(1), msgspec.structs.replace(BODY, external=True)),
        encode_control_block(RoomEpoch(1), Ack()),
        encode_control_block(RoomEpoch(1), OVERRIDE),
        encode_control_block(RoomEpoch(1), MOVE),
        encode_control_block(RoomEpoch(1), PLACE),
    ]

    needed = [needed_proof(block) for block in blocks]

    assert needed == [Purpose.WRITE, Purpose.WRITE, Purpose.JOIN, Purpose.WRITE, *[Purpose.ADMIN] * 3]
