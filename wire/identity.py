"""Who a server is: one Ed25519 key, the self-signed certificate made from it, and the text form of its address.

    seed 32 ──▶ key pair ──▶ certificate (X.509 v3, RFC 5280, RFC 8410) ──▶ TLS, where clients and peers pin the key
                   └───────▶ signatures above TLS (`wire.peering`)

There is no authority and nothing expires: a certificate is only the envelope in which TLS carries the key, so nobody
checks its names, dates or own signature. It is a function of the key alone (serial from the key, subject unique per key,
fixed dates), so that a server which restarts shows the same bytes and stores that index by subject can hold many.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import nacl.signing

from wire.errors import AddressError, HandshakeError, KeyFileError
from wire.ids import NODE_KEY_BYTES, NodeKey

SEED_BYTES: Final = 32
PORT_MAX: Final = 65535
HOST_CHARACTERS_MAX: Final = 253

_KEY_FILE_MARK: Final = "samtala-node-key-v1 "
_KEY_FILE_BYTES_MAX: Final = 256
_ED25519: Final = bytes.fromhex("06032b6570")
_COMMON_NAME: Final = bytes.fromhex("0603550403")
_KEY_INFO_HEAD: Final = bytes.fromhex("302a300506032b6570032100")
_PKCS8_HEAD: Final = bytes.fromhex("302e020100300506032b657004220420")
_INTEGER, _BIT_STRING, _UTF8, _SEQUENCE, _SET = 0x02, 0x03, 0x0C, 0x30, 0x31
_UTC_TIME, _GENERALIZED_TIME, _EXPLICIT_0 = 0x17, 0x18, 0xA0
_HOST: Final = re.compile(r"[A-Za-z0-9_:](?:[A-Za-z0-9_.:-]*[A-Za-z0-9_.:])?")


class ServerAddress(msgspec.Struct, frozen=True, order=True):
    """Where a server listens, and the key it must show there. Text form: HOST:PORT#KEY."""

    host: str
    port: int
    node_key: NodeKey

    def __str__(self) -> str:
        return format_node_address(self.host, self.port, self.node_key)


class NodeIdentity:
    """The private side of a server. Keep it out of logs: its repr shows the public key only."""

    def __init__(self, seed: bytes) -> None:
        assert len(seed) == SEED_BYTES
        self._seed = seed
        self._key = nacl.signing.SigningKey(seed)
        self.public = NodeKey(bytes(self._key.verify_key))
        self.certificate_der = self._certificate()

    def __repr__(self) -> str:
        return f"NodeIdentity({key_text(self.public)})"

    @classmethod
    def generate(cls, entropy: Callable[[int], bytes] = secrets.token_bytes) -> NodeIdentity:
        """Make a new identity; `entropy(n)` gives n random bytes."""
        return cls(entropy(SEED_BYTES))

    @property
    def seed(self) -> bytes:
        """The 32 bytes that everything else follows from. Secret."""
        return self._seed

    @property
    def certificate_pem(self) -> str:
        """The certificate as PEM text."""
        return _pem("CERTIFICATE", self.certificate_der)

    @property
    def private_key_pem(self) -> str:
        """The private key as PKCS #8 PEM text (RFC 8410 7). Secret."""
        return _pem("PRIVATE KEY", _PKCS8_HEAD + self._seed)

    def sign(self, message: bytes) -> bytes:
        """Ed25519 signature, 64 bytes."""
        return self._key.sign(message).signature

    def _certificate(self) -> bytes:
        name = _distinguished_name("samtala " + key_text(self.public))
        to_be_signed = _der(
            _SEQUENCE,
            _der(_EXPLICIT_0, _der(_INTEGER, b"\x02")),
            _der(_INTEGER, b"\x01" + hashlib.blake2b(self.public, digest_size=16, person=b"samtala-serial").digest()),
            _der(_SEQUENCE, _ED25519),
            name,
            _der(_SEQUENCE, _der(_UTC_TIME, b"200101000000Z"), _der(_GENERALIZED_TIME, b"99991231235959Z")),
            name,
            _KEY_INFO_HEAD + self.public,
        )
        signature = _der(_BIT_STRING, b"\x00" + self.sign(to_be_signed))
        return _der(_SEQUENCE, to_be_signed, _der(_SEQUENCE, _ED25519), signature)

    def save(self, path: Path) -> None:
        """Write the seed to a new file that only its owner can read, durably.

        Raises:
            KeyFileError: the file exists (it is never overwritten: it may be the only copy), or cannot be written.
        """
        text = f"{_KEY_FILE_MARK}{base64.b32encode(self._seed).decode().rstrip('=').lower()}\n"
        try:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except FileExistsError as error:
            raise KeyFileError(f"{path} exists: a key is never overwritten") from error
        except OSError as error:
            raise KeyFileError(f"cannot write {path}: {error.strerror}") from error

    @classmethod
    def load(cls, path: Path) -> NodeIdentity:
        """Read a file that `save` wrote.

        Raises:
            KeyFileError: missing, unreadable, readable by everyone, or not such a file.
        """
        try:
            with path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                data = file.read(_KEY_FILE_BYTES_MAX + 1)
        except OSError as error:
            raise KeyFileError(f"cannot read {path}: {error.strerror}") from error
        if mode & stat.S_IRWXO:
            raise KeyFileError(f"{path} is open to everyone on this machine: chmod 600 {path}")
        text = data.decode("ascii", errors="replace")
        seed = _decode_32(text.removeprefix(_KEY_FILE_MARK).removesuffix("\n"))
        if not text.startswith(_KEY_FILE_MARK) or seed is None:
            raise KeyFileError(f"{path} is not a node key")
        return cls(seed)


def key_from_certificate(certificate: bytes) -> NodeKey:
    """The Ed25519 key of a DER certificate, which need not be ours.

    Only TLS has shown that the other side holds the private key; nothing else in the certificate means anything.

    Raises:
        HandshakeError: no certificate, or not one of an Ed25519 key.
    """
    fields = _Reader(_Reader(_Reader(certificate).enter(_SEQUENCE)).enter(_SEQUENCE))
    fields.skip_optional(_EXPLICIT_0)
    for tag in (_INTEGER, _SEQUENCE, _SEQUENCE, _SEQUENCE, _SEQUENCE):
        fields.enter(tag)
    key_info = fields.enter(_SEQUENCE)
    head = _KEY_INFO_HEAD[2:]
    if len(key_info) != len(head) + NODE_KEY_BYTES or not key_info.startswith(head):
        raise HandshakeError("the certificate's key is not Ed25519")
    return NodeKey(key_info[len(head) :])


def key_text(key: NodeKey) -> str:
    """A key as people read it: base32, lower case, no padding, 52 characters."""
    return base64.b32encode(key).decode().rstrip("=").lower()


def parse_key_text(text: str) -> NodeKey:
    """Read what `key_text` wrote; upper case is accepted.

    Raises:
        AddressError: not 52 characters of base32.
    """
    key = _decode_32(text)
    if key is None:
        raise AddressError(f"{text[:64]!r} is not a server key: 52 letters and digits 2-7 are expected")
    return NodeKey(key)


def format_node_address(host: str, port: int, key: NodeKey) -> str:
    """HOST:PORT#KEY; an IPv6 address goes into brackets."""
    return f"[{host}]:{port}#{key_text(key)}" if ":" in host else f"{host}:{port}#{key_text(key)}"


def parse_node_address(text: str) -> ServerAddress:
    """Read HOST:PORT#KEY.

    Raises:
        AddressError: says which part is wrong.
    """
    endpoint, mark, key = text.strip().partition("#")
    if not mark:
        raise AddressError(f"{text[:300]!r} has no key: HOST:PORT#KEY is expected")
    host, _, port = endpoint.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise AddressError(f"{endpoint[:300]!r}: an IPv6 address needs brackets, as in [::1]:7610")
    if len(host) > HOST_CHARACTERS_MAX or not _HOST.fullmatch(host):
        raise AddressError(f"{endpoint[:300]!r} has no host name or address")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) <= PORT_MAX):
        raise AddressError(f"{endpoint[:300]!r} has no port between 1 and {PORT_MAX}")
    return ServerAddress(host, int(port), parse_key_text(key))


def _decode_32(text: str) -> bytes | None:
    """32 bytes from their only base32 form, or None."""
    try:
        data = base64.b32decode(text.upper() + "=" * (-len(text) % 8))
    except (binascii.Error, ValueError):
        return None
    canonical = base64.b32encode(data).decode().rstrip("=")
    return data if len(data) == SEED_BYTES and canonical == text.upper() else None


def _pem(label: str, der: bytes) -> str:
    body = base64.b64encode(der).decode()
    lines = "\n".join(body[start : start + 64] for start in range(0, len(body), 64))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n"


def _distinguished_name(common_name: str) -> bytes:
    return _der(_SEQUENCE, _der(_SET, _der(_SEQUENCE, _COMMON_NAME, _der(_UTF8, common_name.encode()))))


def _der(tag: int, *parts: bytes) -> bytes:
    """One DER value (X.690 8.1), definite length."""
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    size_bytes = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(size_bytes))) + size_bytes + content


class _Reader:
    """Walks DER values of one level; raises HandshakeError on whatever is not there."""

    def __init__(self, data: bytes) -> None:
        self._rest = data

    def skip_optional(self, tag: int) -> None:
        if self._rest[:1] == bytes((tag,)):
            self.enter(tag)

    def enter(self, tag: int) -> bytes:
        """Take the next value, which must have this tag; returns its content."""
        rest = self._rest
        if len(rest) < 2 or rest[0] != tag:
            raise HandshakeError("malformed certificate")
        start, size = 2, rest[1]
        if size >= 0x80:
            start += size & 0x7F
            size = int.from_bytes(rest[2:start], "big")
        if start > 6 or len(rest) < start + size:
            raise HandshakeError("malformed certificate")
        self._rest = rest[start + size :]
        return rest[start : start + size]
