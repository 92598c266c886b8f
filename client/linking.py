"""Another device of the same person, by a code shown on one and read by the other. Pure.

    old device                                a room server (sees boxes and sealed bytes)              new device
    code = where, 128-bit secret   ─────────── shown, scanned or typed, over no network ─────────────▶  reads it
                                   ◀── 0 commitment to its keys ──────────────────────────────────────
                                   ─── 1 ephemeral key ───────────────────────────────────────────────▶
                                   ◀── 2 ephemeral key, device key, label: what was committed to ─────
    shows three words                          people compare them                                    shows three words
                                   ─── 3… user key, certificate of the device key, rooms ─────────────▶  joins each room

Each letter is sealed under the code's secret and lies in a box whose number comes from the secret; a box is emptied once,
so a code serves one device. Letters from 3 on are sealed under the two ephemeral keys as well: who sees the code later,
or records everything, opens nothing. Somebody who sees the code at once and stands between the devices has to find keys
that give both the same words before they know the keys: one try in 2**48. No ratchet travels (e2ee.md §3.4).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Final

import msgspec
from nacl import bindings
from nacl.exceptions import CryptoError

from client import limits
from client.identity import KEY_BYTES, DeviceCertificate
from client.recovery import Recovery
from mls import Entropy
from wire.errors import DecodeError
from wire.identity import PORT_MAX, ServerAddress
from wire.ids import NODE_KEY_BYTES, NodeKey
from wire.messages import BOX_BYTES

CODE_PREFIX: Final = "SAMTALA-DEVICE:"
SECRET_BYTES: Final = 16
_CHECK_BYTES: Final = 2
_NONCE_BYTES: Final = 24
_VERSION: Final = 1
_CONSONANTS: Final = "bdfghjklmnprstvz"
_VOWELS: Final = "aiou"
_WORDS: Final = 3

COMMITMENT: Final = 0
ANSWER: Final = 1
REVEALED: Final = 2
HANDED_OVER: Final = 3
"""Numbers of letters; what is handed over may need several, from this one on."""


class LinkCode(msgspec.Struct, frozen=True, kw_only=True):
    """What the old device shows: where the letters go, and the secret that seals them."""

    server: ServerAddress
    secret: bytes

    def to_text(self) -> str:
        """The form to scan, copy or type."""
        server = self.server
        content = msgspec.msgpack.encode((_VERSION, self.secret, server.host, server.port, server.node_key))
        return CODE_PREFIX + base64.urlsafe_b64encode(content + _check(content)).decode().rstrip("=")


def read_code(text: str) -> LinkCode:
    """Read a code.

    Raises:
        DecodeError: it is something else, or has a slip.
    """
    body = "".join(text.split())
    if not body.upper().startswith(CODE_PREFIX):
        raise DecodeError(f"that is no code of a device: it begins with {CODE_PREFIX}")
    body = body[len(CODE_PREFIX) :]
    try:
        data = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
        content, check = data[:-_CHECK_BYTES], data[-_CHECK_BYTES:]
        if check != _check(content):
            raise DecodeError("the code has a slip: copy it again")
        version, secret, host, port, key = msgspec.msgpack.decode(content, type=tuple[int, bytes, str, int, bytes])
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise DecodeError("the code has a slip: copy it again") from error
    sizes_fit = len(secret) == SECRET_BYTES and len(key) == NODE_KEY_BYTES and 0 < port <= PORT_MAX
    if version != _VERSION or not sizes_fit:
        raise DecodeError("a code of another version")
    return LinkCode(server=ServerAddress(host, port, NodeKey(key)), secret=secret)


class NewDevice(msgspec.Struct, frozen=True, array_like=True):
    """What the new device says of itself: an X25519 key for this once, its Ed25519 key, 32 bytes each, and its label."""

    ephemeral: bytes
    device_key: bytes
    label: str
    nonce: bytes


class Handover(msgspec.Struct, frozen=True, array_like=True):
    """What the old device gives: the person, their rooms, and their word that the new device's key is theirs."""

    recovery: Recovery
    certificate: DeviceCertificate


class Linking:
    """One side's part in a linking: its own ephemeral key, and all that was said so far."""

    def __init__(self, secret: bytes, entropy: Entropy) -> None:
        assert len(secret) == SECRET_BYTES
        self.ephemeral_seed = entropy(KEY_BYTES)
        self.ephemeral: bytes = bindings.crypto_scalarmult_base(self.ephemeral_seed)
        self._secret = secret
        self._entropy = entropy
        self._said: list[bytes] = []
        self._handover_key: bytes | None = None

    def box(self, number: int) -> bytes:
        """Where letter `number` lies."""
        return self._derive(b"box", number.to_bytes(2, "big"))[:BOX_BYTES]

    def seal(self, number: int, content: bytes) -> bytes:
        """Seal a letter of ours."""
        nonce = self._entropy(_NONCE_BYTES)
        sealed: bytes = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(
            content, _place(number), nonce, self._key(number)
        )
        self._note(number, content)
        return nonce + sealed

    def open(self, number: int, letter: bytes) -> bytes:
        """Open a letter of the other side.

        Raises:
            DecodeError: it was not sealed by the other side, or for another place.
        """
        nonce, sealed = letter[:_NONCE_BYTES], letter[_NONCE_BYTES:]
        try:
            content: bytes = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
                sealed, _place(number), nonce, self._key(number)
            )
        except (CryptoError, ValueError) as error:
            raise DecodeError("a letter that does not open: somebody else has the code") from error
        self._note(number, content)
        return content

    def agree(self, other: bytes) -> str:
        """Take the other side's ephemeral key; the words that both must show.

        Raises:
            DecodeError: that is no key.
        """
        if len(other) != KEY_BYTES:
            raise DecodeError("a key of a wrong size")
        try:
            shared: bytes = bindings.crypto_scalarmult(self.ephemeral_seed, other)
        except (CryptoError, RuntimeError, ValueError) as error:
            raise DecodeError("a key that is none") from error
        transcript = hashlib.blake2b(b"".join(self._said), digest_size=KEY_BYTES).digest()
        self._handover_key = self._derive(b"handover", shared + transcript)
        return _words(self._derive(b"words", shared + transcript))

    def _key(self, number: int) -> bytes:
        if number < HANDED_OVER:
            return self._derive(b"letter", b"")
        assert self._handover_key is not None, "nothing is handed over before both agree"
        return self._handover_key

    def _note(self, number: int, content: bytes) -> None:
        if number < HANDED_OVER:
            self._said.append(hashlib.blake2b(_place(number) + content, digest_size=KEY_BYTES).digest())

    def _derive(self, purpose: bytes, context: bytes) -> bytes:
        return hashlib.blake2b(
            purpose + b"\0" + context, key=self._secret, digest_size=KEY_BYTES, person=b"samtala-device"
        ).digest()


def commitment_to(device: NewDevice) -> bytes:
    """What the new device says first, so that it cannot choose its keys by those of the old one: 32 bytes."""
    return hashlib.blake2b(msgspec.msgpack.encode(device), digest_size=KEY_BYTES, person=b"samtala-commit").digest()


def read_device(content: bytes, commitment: bytes) -> NewDevice:
    """Read what the new device revealed.

    Raises:
        DecodeError: it is not what it had committed to, or no device.
    """
    try:
        device = msgspec.msgpack.decode(content, type=NewDevice)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DecodeError("a letter that says something else") from error
    if commitment_to(device) != commitment or {len(device.ephemeral), len(device.device_key)} != {KEY_BYTES}:
        raise DecodeError("the other device changed its keys on the way: somebody stands between")
    return device


def parts_of(handover: Handover) -> list[bytes]:
    """The contents of the letters that carry it; each begins with 1 if it is the last, else 0."""
    content = msgspec.msgpack.encode(handover)
    size = limits.LINK_PART_BYTES
    parts = [content[start : start + size] for start in range(0, len(content), size)]
    return [bytes([part is parts[-1]]) + part for part in parts]


def read_handover(content: bytes) -> Handover:
    """Put together what came in parts, without their first bytes.

    Raises:
        DecodeError: it is something else.
    """
    try:
        handover = msgspec.msgpack.decode(content, type=Handover)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DecodeError("what the other device handed over cannot be read") from error
    if handover.recovery.version != 1 or len(handover.recovery.user_seed) != KEY_BYTES:
        raise DecodeError("the other device runs another version")
    return handover


def _place(number: int) -> bytes:
    return b"samtala/device-link/v1" + number.to_bytes(2, "big")


def _check(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_CHECK_BYTES, person=b"samtala-dev-chk").digest()


def _words(digest: bytes) -> str:
    """Words that can be spoken: consonant, vowel, consonant, vowel, consonant; 16 bits each."""
    return " ".join(_word(int.from_bytes(digest[2 * place : 2 * place + 2], "big")) for place in range(_WORDS))


def _word(bits: int) -> str:
    word = ""
    for place in range(5):
        alphabet = _VOWELS if place % 2 else _CONSONANTS
        bits, letter = divmod(bits, len(alphabet))
        word += alphabet[letter]
    return word
