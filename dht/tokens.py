"""Write tokens: a put must show that its sender can receive at its address (BEP 5, BEP 44).

    token = BLAKE2b(host ‖ target, keyed with a secret), 8 bytes

The secret changes every five minutes and the previous one stays good, so a token lives five to ten minutes. Nothing is
stored per asker. Binding the target keeps a token from being used for more than it was given for.
"""

from __future__ import annotations

import hashlib
import hmac

from dht.limits import TOKEN_BYTES, TOKEN_ROTATION_S
from dht.node_id import Address


class Tokens:
    """Makes and checks tokens. `secret` is 16 random bytes or more."""

    def __init__(self, secret: bytes, now: float) -> None:
        self._secrets = (secret, secret)
        self._rotated_at = now

    def is_due(self, now: float) -> bool:
        """Whether it is time for a new secret."""
        return now - self._rotated_at >= TOKEN_ROTATION_S

    def rotate(self, secret: bytes, now: float) -> None:
        """Use a new secret from now on, and accept the one before."""
        # After a long sleep the one before is too old as well.
        previous = secret if now - self._rotated_at >= 2 * TOKEN_ROTATION_S else self._secrets[0]
        self._secrets = (secret, previous)
        self._rotated_at = now

    def make(self, address: Address, target: bytes) -> bytes:
        """Return the token for a writer at `address` to `target`."""
        return _token(self._secrets[0], address, target)

    def accepts(self, token: bytes, address: Address, target: bytes) -> bool:
        """Whether we gave this token to that host for that target lately."""
        return any(hmac.compare_digest(token, _token(secret, address, target)) for secret in self._secrets)


def _token(secret: bytes, address: Address, target: bytes) -> bytes:
    return hashlib.blake2b(address[0].encode() + b"\0" + target, digest_size=TOKEN_BYTES, key=secret).digest()
