from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht import bencode
from dht.errors import DecodeError
from dht.krpc import (
    Answer,
    ErrorCode,
    Failure,
    Query,
    decode,
    encode_answer,
    encode_failure,
    encode_query,
)

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "dht.json").read_text())
ID = b"abcdefghij0123456789"


def test_queries_and_answers_of_bep5_are_understood() -> None:
    messages = [decode(case["bencoded"].encode()) for case in VECTORS["krpc_bep5"]]

    assert [type(message) for message in messages] == [Query, Answer, Query, Query, Query, Failure, Answer]
    assert messages[0] == Query(transaction=b"aa", method=b"ping", sender=ID, arguments={b"id": ID})
    assert messages[5] == Failure(transaction=b"aa", code=201, text=b"A Generic Error Ocurred")


def test_a_query_says_who_asks_and_whether_it_answers() -> None:
    datagram = encode_query(b"ping", {b"id": ID}, transaction=b"xy", read_only=True)

    assert decode(datagram) == Query(
        transaction=b"xy", method=b"ping", sender=ID, arguments={b"id": ID}, read_only=True
    )
    assert b"1:v4:SM" in datagram


@pytest.mark.parametrize("to", [("192.0.2.7", 4711), ("2001:db8::7", 4711)])
def test_an_answer_tells_the_asker_its_address(to: tuple[str, int]) -> None:
    answer = decode(encode_answer({b"id": ID}, transaction=b"xy", to=to))

    assert answer == Answer(transaction=b"xy", sender=ID, values={b"id": ID}, external=to)


def test_an_error_says_its_code() -> None:
    datagram = encode_failure(ErrorCode.CAS_MISMATCH, b"cas", transaction=b"xy", to=("192.0.2.7", 1))

    assert decode(datagram) == Failure(transaction=b"xy", code=301, text=b"cas")


def test_codes_are_those_of_the_documents() -> None:
    assert {str(int(code)) for code in ErrorCode} == set(VECTORS["bep44_error_codes"])


@pytest.mark.parametrize(
    "message",
    [
        [],
        {b"y": b"q"},
        {b"t": b"", b"y": b"q", b"q": b"ping", b"a": {b"id": ID}},
        {b"t": b"x" * 33, b"y": b"q", b"q": b"ping", b"a": {b"id": ID}},
        {b"t": b"x", b"y": b"q", b"q": b"ping", b"a": {b"id": ID[:19]}},
        {b"t": b"x", b"y": b"q", b"q": b"ping", b"a": {}},
        {b"t": b"x", b"y": b"q", b"q": 5, b"a": {b"id": ID}},
        {b"t": b"x", b"y": b"r", b"r": []},
        {b"t": b"x", b"y": b"e", b"e": [b"text", 201]},
        {b"t": b"x", b"y": b"z"},
    ],
    ids=str,
)
def test_other_dictionaries_are_no_messages(message: bencode.Value) -> None:
    with pytest.raises(DecodeError):
        decode(bencode.encode(message))


def test_a_strange_external_address_is_no_vote() -> None:
    message: bencode.Value = {b"t": b"x", b"y": b"r", b"r": {b"id": ID}, b"ip": b"?"}

    answer = decode(bencode.encode(message))

    assert isinstance(answer, Answer)
    assert answer.external is None


def test_long_datagrams_are_not_looked_at() -> None:
    with pytest.raises(DecodeError, match="1501"):
        decode(encode_query(b"ping", {b"id": ID, b"x": bytes(2_000)}, transaction=b"xy")[:1501])


@given(st.binary(max_size=200))
def test_any_datagram_is_a_message_or_refused(datagram: bytes) -> None:
    try:
        decode(datagram)
    except DecodeError:
        return
