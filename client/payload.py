"""What is inside an encrypted message, and how its size is hidden.

    msgpack [version, kind, message_id, seen_sequence, seen_chain, text] | 0x80 | zeros …    up to a size class

Size classes are 256, 512, 1024 … bytes, so that servers learn little from lengths (e2ee.md §3.5). The end marker makes
the padding unambiguous without a length field.

`message_id` (16 random bytes) stays the same when a message has to be encrypted again: it makes doubles visible.
`seen_sequence` and `seen_chain` are the last position that the sender had seen and the hash over all history up to it:
whoever saw another history notices (e2ee.md §5, "malicious primary forks").
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import msgspec

from client import limits
from wire.errors import DecodeError
from wire.ids import Sequence
from wire.room import CHAIN_BYTES

VERSION: Final = 1
MESSAGE_ID_BYTES: Final = 16
_END: Final = b"\x80"
_FIELDS_BYTES_MAX: Final = 96
"""Bytes of everything but the text: two ids, three numbers, msgpack headers, end marker."""


class PayloadKind(IntEnum):
    """What a message is. Unknown numbers come from newer clients; they are shown as such."""

    TEXT = 1
    LEAVE = 2
    HISTORY_ASK = 3
    HISTORY_PART = 4


HISTORY_KINDS: Final = frozenset({PayloadKind.HISTORY_ASK, PayloadKind.HISTORY_PART})
"""Said by programs to programs (`client.granting`); people are not shown it."""


class Payload(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The plaintext of one message. `kind` may be a number that `PayloadKind` does not know."""

    version: int
    kind: int
    message_id: bytes
    seen_sequence: Sequence
    seen_chain: bytes
    text: str


_DECODER: Final[msgspec.msgpack.Decoder[Payload]] = msgspec.msgpack.Decoder(Payload)
_ENCODER: Final = msgspec.msgpack.Encoder()


def encode_payload(payload: Payload) -> bytes:
    """Encode and pad to a size class.

    The caller has checked that the text has at most TEXT_BYTES_MAX bytes.
    """
    content = _ENCODER.encode(payload) + _END
    assert len(content) <= limits.PAYLOAD_BYTES_MAX, "texts are bounded when they are posted"
    return content.ljust(size_class(len(content)), b"\0")


def decode_payload(padded: bytes) -> Payload:
    """Remove the padding and decode.

    Raises:
        DecodeError: no end marker, not a payload, or fields of wrong sizes.
    """
    content = padded.rstrip(b"\0")
    if not content.endswith(_END):
        raise DecodeError("message without end marker")
    try:
        payload = _DECODER.decode(content[:-1])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DecodeError("malformed message") from error
    if len(payload.message_id) != MESSAGE_ID_BYTES or len(payload.seen_chain) != CHAIN_BYTES:
        raise DecodeError("message id or chain hash of a wrong size")
    if payload.seen_sequence < 0 or len(payload.text.encode(errors="surrogatepass")) > limits.TEXT_BYTES_MAX:
        raise DecodeError("message out of bounds")
    return payload


def size_class(content_bytes: int) -> int:
    """The padded size for a content: a power of two from PAYLOAD_BYTES_MIN on, or PAYLOAD_BYTES_MAX."""
    size = limits.PAYLOAD_BYTES_MIN
    while size < content_bytes:
        size *= 2
    return min(size, limits.PAYLOAD_BYTES_MAX)


def padded_bytes(text: str) -> int:
    """Upper bound of the padded size of a message with this text."""
    return size_class(len(text.encode()) + _FIELDS_BYTES_MAX)
