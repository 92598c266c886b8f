"""How keys of old epochs come to a newcomer: what is asked, what is answered, and how it is sealed. Pure.

    newcomer ── HISTORY_ASK: an id, a fresh X25519 key ──────────────────────────▶ all members, as a message of the room
    member   ── HISTORY_PART 0 … n: the grant, under a key that is sealed to each asker's ──▶ the same way

Not to the newcomer's leaf key (e2ee.md §3.5), because that may change while the answer is on its way, and because it outlives
the reading; the fresh key is forgotten with it. Sealed at all, because whoever is given the present epoch's keys later must
not come further back with them than the window of then. One answer serves all who ask at the same time.
"""

from __future__ import annotations

import base64
import binascii
import itertools
from collections.abc import Sequence
from typing import Final, TypeVar

import msgspec
from nacl import bindings
from nacl.exceptions import CryptoError

from client import limits
from client.room_state import ArchiveRecord, Quest
from mls import DecryptionFailed, Entropy, PeerError, PublicGroup, open_sealed, seal_to_key
from wire.errors import DecodeError
from wire.ids import RoomId
from wire.room import CHAIN_BYTES

ID_BYTES: Final = 16
KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 24
_LABEL: Final = "samtala history"
_ASSOCIATED: Final = b"samtala/history/v1"
_Said = TypeVar("_Said")


class Ask(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Somebody wants to read what was before `epoch`, their first; what they are given is sealed to `key`."""

    ask_id: bytes
    key: bytes
    epoch: int


class Part(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Part `number` of `count` of a sealed grant. The first one carries the grant's key for each who asked."""

    grant_id: bytes
    number: int
    count: int
    data: bytes
    keys: tuple[tuple[bytes, bytes], ...] = ()
    """(ask id, the grant's key sealed to the asker's)"""


class Grant(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Records of epochs that follow one another; the first has its public group."""

    records: tuple[ArchiveRecord, ...]


_ASKS: Final = msgspec.msgpack.Decoder(Ask)
_PARTS: Final = msgspec.msgpack.Decoder(Part)
_GRANTS: Final = msgspec.msgpack.Decoder(Grant)


def to_text(said: Ask | Part) -> str:
    """The text of a message."""
    return base64.b64encode(msgspec.msgpack.encode(said)).decode()


def _from_text(text: str, decoder: msgspec.msgpack.Decoder[_Said]) -> _Said:
    try:
        return decoder.decode(base64.b64decode(text.encode(), validate=True))
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise DecodeError("malformed words about history") from error


def read_ask(text: str) -> Ask:
    """What somebody asked.

    Raises:
        DecodeError: malformed.
    """
    ask = _from_text(text, _ASKS)
    if len(ask.ask_id) != ID_BYTES or len(ask.key) != KEY_BYTES or ask.epoch < 0:
        raise DecodeError("an ask with fields of wrong sizes")
    return ask


def read_part(text: str) -> Part:
    """What somebody answered.

    Raises:
        DecodeError: malformed.
    """
    part = _from_text(text, _PARTS)
    if len(part.grant_id) != ID_BYTES or not 0 <= part.number < part.count <= limits.HISTORY_PARTS_MAX:
        raise DecodeError("a part of a grant with fields out of bounds")
    return part


def encode_grant(records: Sequence[ArchiveRecord]) -> bytes:
    """Encode what is handed over."""
    return msgspec.msgpack.encode(Grant(tuple(records)))


def read_grant(encoded: bytes) -> tuple[Grant, PublicGroup]:
    """What was handed over, in order in itself, and the public group that it begins with. It may still be false.

    Raises:
        DecodeError: malformed, not one epoch after the other, or without a beginning.
    """
    try:
        grant = _GRANTS.decode(encoded)
        records = grant.records
        public = PublicGroup.decode(records[0].public) if records else None
    except (msgspec.MsgspecError, PeerError) as error:
        raise DecodeError(f"a grant that cannot be read: {error}") from error
    if public is None or public.epoch != records[0].epoch or len(records) > limits.ARCHIVE_EPOCHS_MAX:
        raise DecodeError("a grant without a beginning")
    for older, newer in itertools.pairwise(records):
        if (newer.epoch, newer.sequence > older.sequence) != (older.epoch + 1, True):
            raise DecodeError("a grant of epochs that do not follow one another")
    if not all(map(_is_sound, records)):
        raise DecodeError("a grant with fields of wrong sizes")
    return grant, public


def _is_sound(record: ArchiveRecord) -> bool:
    secrets = (len(record.encryption_secret), len(record.sender_data_secret))
    sizes = (len(record.env_key), len(record.chain))
    return secrets in {(0, 0), (KEY_BYTES, KEY_BYTES)} and sizes == (KEY_BYTES, CHAIN_BYTES) and record.sequence >= 0


def seal_grant(grant: bytes, asks: Sequence[Ask], room_id: RoomId, entropy: Entropy) -> list[Part]:
    """Seal a grant for all of these; nobody whose key is none.

    Raises:
        DecodeError: it is too large.
    """
    grant_id, key, nonce = entropy(ID_BYTES), entropy(KEY_BYTES), entropy(_NONCE_BYTES)
    sealed: bytes = nonce + bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(
        grant, _ASSOCIATED + room_id + grant_id, nonce, key
    )
    size = limits.HISTORY_PART_BYTES
    pieces = [sealed[start : start + size] for start in range(0, len(sealed), size)]
    if len(pieces) > limits.HISTORY_PARTS_MAX:
        raise DecodeError("more history than can be handed over")
    keys = tuple((ask.ask_id, to_them) for ask in asks if (to_them := _seal_key(key, ask, room_id, grant_id, entropy)))
    return [Part(grant_id, number, len(pieces), piece, () if number else keys) for number, piece in enumerate(pieces)]


def _seal_key(key: bytes, ask: Ask, room_id: RoomId, grant_id: bytes, entropy: Entropy) -> bytes:
    try:
        return seal_to_key(ask.key, _LABEL, room_id + grant_id + ask.ask_id, key, entropy)
    except DecryptionFailed:
        return b""


def open_grant(quest: Quest, room_id: RoomId) -> bytes:
    """Open a grant whose parts are all there.

    Raises:
        DecodeError: it was sealed for somebody else, or not by its giver as a whole.
    """
    parts = [read_part(text) for text in quest.parts]
    sealed, grant_id = b"".join(part.data for part in parts), parts[0].grant_id
    to_us = dict(parts[0].keys).get(quest.ask_id, b"")
    try:
        key = open_sealed(quest.private, _LABEL, room_id + grant_id + quest.ask_id, to_us)
        opened: bytes = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
            sealed[_NONCE_BYTES:], _ASSOCIATED + room_id + grant_id, sealed[:_NONCE_BYTES], key
        )
    except (PeerError, CryptoError, ValueError) as error:
        raise DecodeError("a grant that does not open") from error
    return opened
