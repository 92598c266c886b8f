"""One code that brings back who we are and where we belong, after everything was lost. Pure.

    recovery secret (128 bits) ─▶ code on paper: XXXX-XXXX-…          ─┬─▶ both together: identity, rooms' links, ownership
    user key, name, links, root keys, sealed under the secret ─▶ file ─┘

No ratchet and no message is in it, but keys of messages that a room's history policy keeps: whoever comes back joins each room anew, by its link, as a new device of the same person
(e2ee.md §3.4: ratchets are never restored). The file is worthless without the code, so it may lie anywhere; the code opens
nothing without the file. The code's last two bytes are a check against slips of copying.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Final

import msgspec
from nacl import bindings
from nacl.exceptions import CryptoError

from mls import Entropy
from wire.errors import DecodeError
from wire.ids import Sequence

_MAGIC: Final = b"samtala recovery 1\n"
_SECRET_BYTES: Final = 16
_CHECK_BYTES: Final = 2
_GROUP_CHARACTERS: Final = 4
_NONCE_BYTES: Final = 24
PLACES_MARK: Final = "@"
"""Behind it a code may say where its file is kept (`client.vault`)."""
_LOOKALIKES: Final = str.maketrans({"0": "O", "1": "I", "8": "B"})


class Said(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A message as one device of a person shows it, for another; keys and ids as in `client.timeline`."""

    sequence: Sequence
    timestamp_us: int
    name: str
    key: bytes
    is_verified: bool
    message_id: bytes
    text: str


class RecoveredRoom(msgspec.Struct, frozen=True, array_like=True):
    """A room to come back to; `root_seed` (32 bytes) and `created_s` only where we are its owner.

    `archive` is an encoded `client.granting.Grant` of what the device kept of past epochs; `said`, the latest of what it shows,
    goes from device to device only. Both may be empty.
    """

    link: str
    root_seed: bytes = b""
    created_s: int = 0
    archive: bytes = b""
    said: tuple[Said, ...] = ()


class CameBack(msgspec.Struct, frozen=True, kw_only=True):
    """A room of a recovery file: its name now, and how many messages came along; or why it could not be joined."""

    link: str
    name: str = ""
    failure: str = ""
    said: int = 0


class Recovery(msgspec.Struct, frozen=True, array_like=True):
    """What is brought back. `user_seed` is the secret of the user key, 32 bytes."""

    version: int
    user_seed: bytes
    name: str
    rooms: tuple[RecoveredRoom, ...]


_DECODER: Final[msgspec.msgpack.Decoder[Recovery]] = msgspec.msgpack.Decoder(Recovery)


def seal_recovery(recovery: Recovery, entropy: Entropy) -> tuple[str, bytes]:
    """The code to write down, and the bytes of the file; a new code each time."""
    secret, nonce = entropy(_SECRET_BYTES), entropy(_NONCE_BYTES)
    content = msgspec.msgpack.encode(recovery)
    sealed: bytes = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(content, _MAGIC, nonce, _key(secret))
    return _code(secret), _MAGIC + nonce + sealed


def secret_of(code: str) -> bytes:
    """The 16 bytes that a code stands for.

    Raises:
        DecodeError: the code has a slip.
    """
    text = "".join(code.partition(PLACES_MARK)[0].split()).replace("-", "").upper().translate(_LOOKALIKES)
    try:
        data = base64.b32decode(text + "=" * (-len(text) % 8))
    except (binascii.Error, ValueError) as error:
        raise DecodeError("that is no recovery code: it has letters and the digits 2 to 7 only") from error
    secret, check = data[:_SECRET_BYTES], data[_SECRET_BYTES:]
    if len(secret) != _SECRET_BYTES or check != _check(secret):
        raise DecodeError("the recovery code has a slip: compare it letter by letter")
    return secret


def open_recovery(file: bytes, code: str) -> Recovery:
    """Open a recovery file.

    Raises:
        DecodeError: the code has a slip, the file is something else or damaged, or they do not belong together.
    """
    secret = secret_of(code)
    if not file.startswith(_MAGIC):
        raise DecodeError("that is no recovery file")
    nonce, sealed = file[len(_MAGIC) :][:_NONCE_BYTES], file[len(_MAGIC) + _NONCE_BYTES :]
    try:
        content = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(sealed, _MAGIC, nonce, _key(secret))
        recovery = _DECODER.decode(content)
    except (CryptoError, ValueError, msgspec.MsgspecError) as error:
        raise DecodeError("the code does not open this file: they do not belong together, or it is damaged") from error
    if recovery.version != 1 or len(recovery.user_seed) != bindings.crypto_sign_SEEDBYTES:
        raise DecodeError("a recovery file of another version")
    return recovery


def _key(secret: bytes) -> bytes:
    return hashlib.blake2b(key=secret, digest_size=32, person=b"samtala-recover").digest()


def _check(secret: bytes) -> bytes:
    return hashlib.blake2b(secret, digest_size=_CHECK_BYTES, person=b"samtala-rec-chk").digest()


def _code(secret: bytes) -> str:
    text = base64.b32encode(secret + _check(secret)).decode().rstrip("=")
    groups = [text[start : start + _GROUP_CHARACTERS] for start in range(0, len(text), _GROUP_CHARACTERS)]
    return "-".join(groups)
