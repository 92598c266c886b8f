"""KRPC, the messages of the Mainline DHT (BEP 5, 32, 42, 43, 44): one bencoded dictionary per datagram.

    query    {a: {id, …}, q: method, ro?: 1, t, v, y: "q"}
    answer   {ip?, r: {id, …}, t, v, y: "r"}
    error    {e: [code, text], ip?, t, v, y: "e"}

Here they are only told apart and their envelope checked; what a method's arguments mean is for who handles it.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, TypeAlias

import msgspec

from dht import bencode
from dht.bencode import Value
from dht.errors import DecodeError
from dht.limits import DATAGRAM_BYTES_MAX, TRANSACTION_BYTES_MAX
from dht.node_id import NODE_ID_BYTES, Address, pack_address, unpack_address

VERSION: Final = b"SM\x00\x01"
"""Our client identification in every message: name, then two bytes of version."""

Arguments: TypeAlias = "dict[bytes, Value]"


class ErrorCode(IntEnum):
    """Codes of BEP 5 and BEP 44. A store says them, a writer counts them."""

    GENERIC = 201
    SERVER = 202
    PROTOCOL = 203
    METHOD_UNKNOWN = 204
    VALUE_TOO_BIG = 205
    INVALID_SIGNATURE = 206
    SALT_TOO_BIG = 207
    CAS_MISMATCH = 301
    SEQUENCE_LESS = 302


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """A question. `sender` is the asker's 20-byte id; `read_only` askers answer nothing themselves (BEP 43)."""

    transaction: bytes
    method: bytes
    sender: bytes
    arguments: Arguments
    read_only: bool = False


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer. `external` is our own address as the answerer sees it (BEP 42)."""

    transaction: bytes
    sender: bytes
    values: Arguments
    external: Address | None = None


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """An error in place of an answer."""

    transaction: bytes
    code: int
    text: bytes = b""


Message: TypeAlias = Query | Answer | Failure


def encode_query(method: bytes, arguments: Arguments, *, transaction: bytes, read_only: bool = False) -> bytes:
    """Return a query's datagram; `arguments` contains our id."""
    message: Arguments = {b"a": arguments, b"q": method, b"t": transaction, b"v": VERSION, b"y": b"q"}
    if read_only:
        message[b"ro"] = 1
    return bencode.encode(message)


def encode_answer(values: Arguments, *, transaction: bytes, to: Address) -> bytes:
    """Return an answer's datagram, telling the asker its own address; `values` contains our id."""
    return bencode.encode(
        {b"ip": pack_address(to), b"r": values, b"t": transaction, b"v": VERSION, b"y": b"r"},
    )


def encode_failure(code: ErrorCode, text: bytes, *, transaction: bytes, to: Address) -> bytes:
    """Return an error's datagram."""
    error: list[Value] = [int(code), text]
    return bencode.encode({b"e": error, b"ip": pack_address(to), b"t": transaction, b"v": VERSION, b"y": b"e"})


def decode(datagram: bytes) -> Message:
    """Return the message of a datagram, its envelope checked.

    Raises:
        DecodeError: too long, not strict bencode, or not KRPC.
    """
    if len(datagram) > DATAGRAM_BYTES_MAX:
        raise DecodeError(f"a datagram of {len(datagram)} bytes")
    message = bencode.decode(datagram)
    if not isinstance(message, dict):
        raise DecodeError("not a dictionary")
    transaction = message.get(b"t")
    if not isinstance(transaction, bytes) or not 0 < len(transaction) <= TRANSACTION_BYTES_MAX:
        raise DecodeError("no transaction")
    match message:
        case {b"y": b"q", b"q": bytes(method), b"a": dict(arguments)}:
            return Query(
                transaction=transaction,
                method=method,
                sender=_sender(arguments),
                arguments=arguments,
                read_only=message.get(b"ro") == 1,
            )
        case {b"y": b"r", b"r": dict(values)}:
            return Answer(
                transaction=transaction, sender=_sender(values), values=values, external=_external(message.get(b"ip"))
            )
        case {b"y": b"e", b"e": [int(code), bytes(text), *_]}:
            return Failure(transaction=transaction, code=code, text=text)
        case _:
            raise DecodeError("neither query nor answer nor error")


def _sender(arguments: Arguments) -> bytes:
    sender = arguments.get(b"id")
    if not isinstance(sender, bytes) or len(sender) != NODE_ID_BYTES:
        raise DecodeError("no sender's id")
    return sender


def _external(data: Value | None) -> Address | None:
    """Some implementations put other things here; what is no address is no vote."""
    if not isinstance(data, bytes) or len(data) not in (6, 18):
        return None
    return unpack_address(data)
