from __future__ import annotations

import msgspec
import pytest

from tests.wire.certificates import identity
from wire.cluster import (
    ClusterId,
    JoinToken,
    NodeRecord,
    check_record,
    comparison_words,
    parse_token,
    sign_ask,
    token_hash,
    verify_ask,
)
from wire.errors import AddressError, DecodeError, HandshakeError
from wire.identity import ServerAddress

SECRET = bytes(range(16))
TOKEN = JoinToken(ServerAddress("a.example", 7610, identity(1).public), SECRET)
RECORD = NodeRecord("b", identity(2).public, b"b" * 16, "b.example", 7610, "0.1.0")


def test_token_is_one_word_that_reads_back_in_either_case() -> None:
    text = str(TOKEN)

    assert text.startswith("sam1-join-")
    assert len(text) < 140
    assert text.replace("-", "").isalnum()
    assert parse_token(text) == TOKEN
    assert parse_token(f"  {text.upper()}\n") == TOKEN


def test_token_takes_an_ipv6_address() -> None:
    token = JoinToken(ServerAddress("::1", 1, identity(1).public), SECRET)

    assert parse_token(str(token)) == token


@pytest.mark.parametrize("place", range(10, len(str(TOKEN)), 7))
def test_token_with_a_wrong_letter_is_refused_and_not_shown(place: int) -> None:
    text = str(TOKEN)
    wrong = text[:place] + ("a" if text[place] != "a" else "b") + text[place + 1 :]

    with pytest.raises(AddressError) as raised:
        parse_token(wrong)
    assert wrong[10:20] not in str(raised.value)


@pytest.mark.parametrize(
    "text", ["", "sam1-join-", "sam1-join-!!!!", str(TOKEN)[:-3], "samtala:abc", "sam1-join-" + "a" * 999]
)
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(AddressError):
        parse_token(text)


def test_words_differ_by_cluster_joiner_and_token() -> None:
    cluster, joiner, token = ClusterId(b"c" * 16), identity(2).public, token_hash(SECRET)
    words = comparison_words(cluster, joiner, token)

    assert words.count("-") == 2
    others = {
        comparison_words(ClusterId(b"d" * 16), joiner, token),
        comparison_words(cluster, identity(3).public, token),
        comparison_words(cluster, joiner, token_hash(b"x" * 16)),
    }
    assert words not in others
    assert len(others) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""}, {"name": "x" * 65}, {"name": "a\nb"}, {"node_key": b"short"}, {"replica_id": b""},
        {"host": ""}, {"host": "a b"}, {"port": 0}, {"port": 65536}, {"version": "v" * 65}, {"version": "\x1b[2J"},
    ],
)  # fmt: skip
def test_record_out_of_bounds_is_refused(changes: dict[str, object]) -> None:
    check_record(RECORD)

    with pytest.raises(DecodeError):
        check_record(msgspec.structs.replace(RECORD, **changes))


def test_proof_holds_for_this_record_token_and_server_only() -> None:
    token, asked = token_hash(SECRET), identity(1).public
    signature = sign_ask(identity(2), RECORD, token=token, asked=asked)

    verify_ask(RECORD, signature, token=token, asked=asked)

    for record, other_token, other in (
        (msgspec.structs.replace(RECORD, port=1), token, asked),
        (RECORD, token_hash(b"x" * 16), asked),
        (RECORD, token, identity(3).public),
    ):
        with pytest.raises(HandshakeError):
            verify_ask(record, signature, token=other_token, asked=other)
    with pytest.raises(HandshakeError):
        verify_ask(RECORD, b"", token=token, asked=asked)
