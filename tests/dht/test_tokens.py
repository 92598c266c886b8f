from __future__ import annotations

from dht.limits import TOKEN_ROTATION_S
from dht.tokens import Tokens

HERE = ("192.0.2.1", 7610)
TARGET = bytes(20)


def test_a_token_is_for_one_host_and_target() -> None:
    tokens = Tokens(b"s" * 16, 0.0)
    token = tokens.make(HERE, TARGET)

    assert len(token) == 8
    assert tokens.accepts(token, HERE, TARGET)
    assert tokens.accepts(token, (HERE[0], 9), TARGET), "NAT may change the port"
    assert not tokens.accepts(token, ("192.0.2.2", 7610), TARGET)
    assert not tokens.accepts(token, HERE, b"x" * 20)
    assert not tokens.accepts(b"", HERE, TARGET)


def test_a_token_survives_one_rotation_only() -> None:
    tokens = Tokens(b"s" * 16, 0.0)
    token = tokens.make(HERE, TARGET)
    assert not tokens.is_due(TOKEN_ROTATION_S - 1)
    assert tokens.is_due(TOKEN_ROTATION_S)

    tokens.rotate(b"t" * 16, 300.0)
    assert tokens.accepts(token, HERE, TARGET)

    tokens.rotate(b"u" * 16, 600.0)
    assert not tokens.accepts(token, HERE, TARGET)


def test_after_a_long_sleep_old_tokens_are_void() -> None:
    tokens = Tokens(b"s" * 16, 0.0)
    token = tokens.make(HERE, TARGET)

    tokens.rotate(b"t" * 16, 10_000.0)

    assert not tokens.accepts(token, HERE, TARGET)
