"""Strict bencode (BEP 3): exactly one spelling for each value, so that re-encoding gives the same bytes.

    value := "i" integer "e" | length ":" bytes | "l" value* "e" | "d" (bytes value)* "e"

Refused: unsorted or repeated keys, leading zeros, minus zero, more than 64 bits of integer, bytes after the value, and
nesting deeper than `BENCODE_DEPTH_MAX`. Signatures of BEP 44 are over encoded values; with one spelling only, a value
that was decoded and encoded again still verifies.

The decoder keeps its own stack. The encoder recurses, but only into what the decoder let in or we built.
"""

from __future__ import annotations

import re
from typing import Final, TypeAlias

from dht.errors import DecodeError
from dht.limits import BENCODE_DEPTH_MAX, INTEGER_DIGITS_MAX

Value: TypeAlias = "int | bytes | list[Value] | dict[bytes, Value]"

_INTEGER: Final = re.compile(rb"i(0|-?[1-9][0-9]{0,%d})e" % (INTEGER_DIGITS_MAX - 1))
_LENGTH: Final = re.compile(rb"(0|[1-9][0-9]{0,9}):")
_END, _INT, _LIST, _DICT = b"eild"


def encode(value: Value) -> bytes:
    """Return the one encoding of `value`; keys are sorted as raw bytes."""
    parts: list[bytes] = []
    _write(value, parts)
    return b"".join(parts)


def _write(value: Value, parts: list[bytes]) -> None:
    match value:
        case bytes():
            parts.append(b"%d:%b" % (len(value), value))
        case int():
            parts.append(b"i%de" % value)
        case list():
            parts.append(b"l")
            for element in value:
                _write(element, parts)
            parts.append(b"e")
        case dict():
            parts.append(b"d")
            for key in sorted(value):
                parts.append(b"%d:%b" % (len(key), key))
                _write(value[key], parts)
            parts.append(b"e")


def decode(data: bytes) -> Value:
    """Return the value that `data` is the encoding of, all of it.

    Raises:
        DecodeError: not strict bencode, or nested too deep.
    """
    decoder = _Decoder(data)
    value = decoder.run()
    if decoder.position != len(data):
        raise DecodeError("bytes after the value")
    return value


class _Decoder:
    """One pass over the bytes. `open` holds the containers around the position, `keys` the key each waits to fill."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0
        self.open: list[list[Value] | dict[bytes, Value]] = []
        self.keys: list[bytes | None] = []

    def run(self) -> Value:
        data = self.data
        while True:
            if self.position >= len(data):
                raise DecodeError("cut short")
            byte = data[self.position]
            if byte in (_LIST, _DICT):
                self._enter(byte)
                continue
            value = self._leave() if byte == _END else self._integer() if byte == _INT else self._string()
            if not self.open:
                return value
            self._place(value)

    def _enter(self, byte: int) -> None:
        if len(self.open) >= BENCODE_DEPTH_MAX:
            raise DecodeError("nested too deep")
        if self.open and isinstance(self.open[-1], dict) and self.keys[-1] is None:
            raise DecodeError("a key is no string")
        self.open.append([] if byte == _LIST else {})
        self.keys.append(None)
        self.position += 1

    def _leave(self) -> Value:
        if not self.open:
            raise DecodeError("an end without a beginning")
        if self.keys.pop() is not None:
            raise DecodeError("a key without a value")
        self.position += 1
        return self.open.pop()

    def _place(self, value: Value) -> None:
        container = self.open[-1]
        if isinstance(container, list):
            container.append(value)
        elif (key := self.keys[-1]) is not None:
            container[key] = value
            self.keys[-1] = None
        elif isinstance(value, bytes):
            # Dictionaries remember insertion order, so the last key is the largest so far.
            if container and value <= next(reversed(container)):
                raise DecodeError("keys unsorted or repeated")
            self.keys[-1] = value
        else:
            raise DecodeError("a key is no string")

    def _integer(self) -> int:
        found = _INTEGER.match(self.data, self.position)
        if found is None:
            raise DecodeError("not an integer")
        value = int(found[1])
        if not -(1 << 63) <= value < 1 << 64:
            raise DecodeError("an integer of more than 64 bits")
        self.position = found.end()
        return value

    def _string(self) -> bytes:
        found = _LENGTH.match(self.data, self.position)
        if found is None:
            raise DecodeError("not a value")
        end = found.end() + int(found[1])
        if end > len(self.data):
            raise DecodeError("cut short")
        self.position = end
        return self.data[found.end() : end]
