"""Entries, their encoding and their chain."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vr.errors import DecodeError
from vr.log import HEADER_BYTES, Entry, Log, Request, decode_entry, decode_header, make_entry
from vr.types import Checksum, ClientId, OpNumber, RequestNumber, SessionNumber, ViewNumber

GENESIS = Checksum(b"\x00" * 16)


def make(op: int, parent: Checksum, bodies: Sequence[bytes] = (b"x",), view: int = 0) -> Entry:
    requests = [
        Request(ClientId(b"c" * 16), SessionNumber(1), RequestNumber(place + 1), body)
        for place, body in enumerate(bodies)
    ]
    return make_entry(
        view=ViewNumber(view), op=OpNumber(op), commit=OpNumber(0), parent=parent, timestamp_us=5, requests=requests
    )


def chain(length: int) -> list[Entry]:
    entries: list[Entry] = []
    for op in range(1, length + 1):
        entries.append(make(op, entries[-1].checksum if entries else GENESIS))
    return entries


@given(st.lists(st.binary(max_size=50), max_size=5), st.integers(0, 2**40), st.integers(1, 2**40))
def test_an_entry_round_trips(bodies: list[bytes], view: int, op: int) -> None:
    entry = make(op, GENESIS, bodies, view)

    again = decode_entry(entry.data)

    assert again.header == entry.header
    assert [request.body for request in again.requests()] == bodies
    assert again.header.pack() == entry.data[:HEADER_BYTES]


@given(st.data())
def test_any_flipped_bit_is_noticed(data: st.DataObject) -> None:
    encoded = bytearray(make(3, GENESIS, (b"hello", b"world")).data)
    place = data.draw(st.integers(0, len(encoded) * 8 - 1))
    encoded[place // 8] ^= 1 << place % 8

    with pytest.raises(DecodeError):
        decode_entry(bytes(encoded))


@pytest.mark.parametrize("cut", [0, 1, HEADER_BYTES - 1, HEADER_BYTES, -1])
def test_a_cut_entry_is_refused(cut: int) -> None:
    data = make(1, GENESIS).data[:cut]

    with pytest.raises(DecodeError):
        decode_entry(data)


def test_a_client_id_of_a_wrong_size_is_refused() -> None:
    request = Request(ClientId(b"short"), SessionNumber(1), RequestNumber(1), b"")
    entry = make_entry(
        view=ViewNumber(0), op=OpNumber(1), commit=OpNumber(0), parent=GENESIS, timestamp_us=1, requests=[request]
    )

    with pytest.raises(DecodeError):
        decode_entry(entry.data)


def test_a_header_stands_alone() -> None:
    entry = make(9, GENESIS)

    assert decode_header(entry.data[:HEADER_BYTES]) == entry.header


def test_the_log_knows_its_suffix_only() -> None:
    entries = chain(5)
    log = Log(OpNumber(0), GENESIS)
    for entry in entries:
        log.append(entry)

    log.trim(OpNumber(2))

    assert (log.base_op, log.head_op) == (2, 5)
    assert log.checksum(OpNumber(2)) == entries[1].checksum
    assert log.get(OpNumber(2)) is None
    assert log.get(OpNumber(3)) is entries[2]
    assert log.get(OpNumber(6)) is None
    assert log.slice(OpNumber(0), OpNumber(4)) == entries[2:4]
    assert log.slice(OpNumber(6), OpNumber(9)) == []


def test_truncation_forgets_above() -> None:
    entries = chain(4)
    log = Log(OpNumber(0), GENESIS)
    for entry in entries:
        log.append(entry)

    log.truncate_above(OpNumber(1))

    assert log.head_op == 1
    assert log.head_checksum == entries[0].checksum


def test_the_log_takes_neither_gaps_nor_other_chains() -> None:
    log = Log(OpNumber(0), GENESIS)

    with pytest.raises(AssertionError):
        log.append(make(2, GENESIS))
    with pytest.raises(AssertionError):
        log.append(make(1, Checksum(b"\x01" * 16)))
