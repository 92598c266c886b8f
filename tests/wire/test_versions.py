from __future__ import annotations

import msgspec
import pytest

from tests.wire.certificates import identity
from wire import versions
from wire.errors import HandshakeError
from wire.ids import NodeKey
from wire.messages import Hello, PeerHello, decode, encode
from wire.peering import Acceptor, Dialer, make_hello
from wire.versions import common_version


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that speaks versions 2 and 3."""
    monkeypatch.setattr(versions, "PROTOCOL_VERSION", 3)
    monkeypatch.setattr(versions, "PROTOCOL_OLDEST", 2)


@pytest.mark.parametrize(
    ("newest", "oldest", "common"), [(3, 2, 3), (3, 3, 3), (3, 0, 3), (2, 1, 2), (2, 0, 2), (5, 3, 3), (9, 1, 3)]
)
def test_the_newest_that_both_know_is_spoken(two: None, newest: int, oldest: int, common: int) -> None:
    assert common_version(newest, oldest) == common


@pytest.mark.parametrize(("newest", "oldest"), [(1, 0), (1, 1), (4, 4), (4, 0), (3, 4), (0, 0), (-1, -5)])
def test_who_has_none_in_common_is_told_both_ranges(two: None, newest: int, oldest: int) -> None:
    with pytest.raises(HandshakeError, match="we speak 2 to 3"):
        common_version(newest, oldest)


def hello_of(name: int, **changes: object) -> PeerHello:
    made = make_hello(identity(name), nonce=b"n" * 32, replica_id=b"r" * 16, name=str(name), software="x")
    return msgspec.structs.replace(made, **changes)


def test_servers_of_two_versions_meet_as_long_as_the_newer_one_speaks_the_older() -> None:
    """As in the middle of an upgrade: what is new says so, and says what it still knows."""
    newer = hello_of(2, version=2, oldest=1)
    acceptor = Acceptor(hello_of(1), {NodeKey(identity(2).public)})

    assert acceptor.on_hello(newer) == hello_of(1)
    Dialer(identity(1), hello_of(1), identity(2).public).on_hello(newer)
    with pytest.raises(HandshakeError):
        Acceptor(hello_of(1), {NodeKey(identity(2).public)}).on_hello(hello_of(2, version=2, oldest=2))


def test_a_hello_with_fields_that_we_do_not_know_is_read() -> None:
    for hello in (Hello(1, b"n" * 32, "agent", 1), hello_of(1)):
        fields = msgspec.msgpack.decode(encode(hello))

        assert decode(msgspec.msgpack.encode([*fields, "something new", 7])) == hello
