"""How a server joins a cluster: the token that invites it, what it says of itself, the words that people compare.

    token  = sam1-join-‖ base32(version 1 ‖ secret 16 ‖ node key 32 ‖ port 2 ‖ host ‖ CRC-32 4), small letters
    words  = one for each of 3 bytes of BLAKE2b(cluster id ‖ joiner's node key ‖ hash of the secret)

The token is passed on by people and names the inviting server, whose key the joiner pins by TLS; only that server ever hears
the secret, and the cluster's log holds nothing but its hash. Who took a token away from the one it was meant for shows
other words, because it has another key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
import zlib
from typing import Final, NewType

import msgspec
import nacl.exceptions
import nacl.signing

from wire import limits
from wire.errors import AddressError, DecodeError, HandshakeError
from wire.identity import NodeIdentity, ServerAddress, format_node_address, parse_node_address
from wire.ids import NODE_KEY_BYTES, NodeKey
from wire.words import words_of

ClusterId = NewType("ClusterId", bytes)
"""What a cluster is known by, and its replication group: the hash of the record that it began with."""
TokenHash = NewType("TokenHash", bytes)
"""What is stored of a token."""

CLUSTER_ID_BYTES: Final = 16
SECRET_BYTES: Final = 16
TOKEN_HASH_BYTES: Final = 32
REPLICA_ID_BYTES: Final = 16
_TOKEN_MARK: Final = "sam1-join-"  # noqa: S105 - what every token begins with
_TOKEN_VERSION: Final = 1
_TOKEN_CHARACTERS_MAX: Final = 600
_FIXED: Final = struct.Struct(f">B{SECRET_BYTES}s{NODE_KEY_BYTES}sH")
_CHECK_BYTES: Final = 4
_ASK_LABEL: Final = b"samtala cluster ask v1"


class NodeRecord(msgspec.Struct, frozen=True, array_like=True):
    """A server as it tells of itself. `replica_id`: of its data folder. `version`: of its software.

    `level`: the highest level of formats that it knows (`room_server.formats`).
    """

    name: str
    node_key: NodeKey
    replica_id: bytes
    host: str
    port: int
    version: str
    level: int = 1

    @property
    def address(self) -> ServerAddress:
        """Where it is dialled, and the key it shows there."""
        return ServerAddress(self.host, self.port, self.node_key)


class JoinToken(msgspec.Struct, frozen=True):
    """An invitation for one server: whom to ask, and what to show there. Secret; its repr is, too: keep it out of logs."""

    address: ServerAddress
    secret: bytes

    def __str__(self) -> str:
        address = self.address
        body = _FIXED.pack(_TOKEN_VERSION, self.secret, address.node_key, address.port) + address.host.encode()
        data = body + zlib.crc32(body).to_bytes(_CHECK_BYTES, "big")
        return _TOKEN_MARK + base64.b32encode(data).decode().rstrip("=").lower()


def parse_token(text: str) -> JoinToken:
    """Read a token as people pass it on.

    Raises:
        AddressError: it is none, or a letter is wrong; says so without showing it.
    """
    text = text.strip().lower()
    if not text.startswith(_TOKEN_MARK) or len(text) > _TOKEN_CHARACTERS_MAX:
        raise AddressError(f"a token begins with {_TOKEN_MARK}")
    digits = text.removeprefix(_TOKEN_MARK).upper()
    try:
        data = base64.b32decode(digits + "=" * (-len(digits) % 8))
    except (binascii.Error, ValueError) as error:
        raise AddressError("the token has letters that do not belong there: copy it whole") from error
    body, check = data[:-_CHECK_BYTES], data[-_CHECK_BYTES:]
    if len(body) <= _FIXED.size or zlib.crc32(body).to_bytes(_CHECK_BYTES, "big") != check:
        raise AddressError("the token is incomplete, or a letter of it is wrong: copy it whole")
    version, secret, node_key, port = _FIXED.unpack_from(body)
    if version != _TOKEN_VERSION:
        raise AddressError(f"the token is of version {version}, which this program does not know: update it")
    host = body[_FIXED.size :].decode("ascii", "replace")
    return JoinToken(parse_node_address(format_node_address(host, port, NodeKey(node_key))), secret)


def token_hash(secret: bytes) -> TokenHash:
    """What a cluster keeps of a token."""
    return TokenHash(hashlib.blake2b(secret, digest_size=TOKEN_HASH_BYTES, person=b"samtala-token").digest())


def comparison_words(cluster: ClusterId, joiner: NodeKey, token: TokenHash) -> str:
    """Three words, the same at both ends if they speak of the same server, cluster and token."""
    digest = hashlib.blake2b(cluster + joiner + token, digest_size=limits.COMPARISON_WORDS, person=b"samtala-words")
    return words_of(digest.digest())


def check_record(record: NodeRecord) -> None:
    """Check what another server says of itself.

    Raises:
        DecodeError: out of bounds.
    """
    if not 0 < len(record.name) <= limits.NAME_CHARACTERS_MAX or not record.name.isprintable():
        raise DecodeError("a server's name out of bounds")
    if len(record.node_key) != NODE_KEY_BYTES or len(record.replica_id) != REPLICA_ID_BYTES:
        raise DecodeError("a server's key or replica id of a wrong size")
    if len(record.version) > limits.VERSION_CHARACTERS_MAX or not record.version.isprintable():
        raise DecodeError("a server's version out of bounds")
    if not 1 <= record.level <= limits.LEVEL_MAX:
        raise DecodeError("a server's level of formats out of bounds")
    try:
        parse_node_address(format_node_address(record.host, record.port, record.node_key))
    except AddressError as error:
        raise DecodeError(f"a server's address: {error}") from error


def sign_ask(identity: NodeIdentity, record: NodeRecord, *, token: TokenHash, asked: NodeKey) -> bytes:
    """The joiner's proof of its key, for the server that it asks and this token; 64 bytes."""
    return identity.sign(_ask_message(record, token=token, asked=asked))


def verify_ask(record: NodeRecord, signature: bytes, *, token: TokenHash, asked: NodeKey) -> None:
    """Check a joiner's proof.

    Raises:
        HandshakeError: it does not hold.
    """
    try:
        nacl.signing.VerifyKey(record.node_key).verify(_ask_message(record, token=token, asked=asked), signature)
    except (nacl.exceptions.CryptoError, ValueError, TypeError) as error:
        raise HandshakeError("the proof of who asks to join does not hold") from error


def _ask_message(record: NodeRecord, *, token: TokenHash, asked: NodeKey) -> bytes:
    return _ASK_LABEL + asked + token + msgspec.msgpack.encode(record)
