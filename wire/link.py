"""The link of a room: all that a newcomer needs, short enough for a QR code.

    SAMTALA: base32( version 1 ‖ root key 32 ‖ secret 16 ‖ hints ‖ check 2 )        upper case, no padding
    https://any.host/#…                                                             the same, never sent to the host

    hint = 1 ‖ IPv4 4 ‖ port 2  |  2 ‖ IPv6 16 ‖ port 2  |  0x80 + n ‖ host name n ‖ port 2

The check is BLAKE2b of two bytes over everything before it: it catches slips of copying, not attackers. A hint is any
replica's address; it needs no trust, because what it answers is signed. From the link come, in one direction only: the
room id by which servers know the room, and the seed of the right to join. Neither gives away root key or secret, so
`Link` keeps both out of its `repr`, and they belong in no log.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import itertools
import re
from enum import Enum
from typing import Final

import msgspec

from wire.errors import LocalError, WireError
from wire.ids import ROOM_ID_BYTES, RoomId

VERSION: Final = 1
SCHEME: Final = "SAMTALA:"
HINTS_MAX: Final = 8
"""Hints of one link: more make a QR code that phones read badly."""
TEXT_CHARACTERS_MAX: Final = 2_048
"""Characters looked at when parsing; the longest link has fewer."""
HOST_CHARACTERS_MAX: Final = 100
"""Characters of a hint's host name."""
REPAIRS_MAX: Final = 16
"""Spellings tried when a link holds characters that base32 does not have."""

_ROOT_BYTES, _SECRET_BYTES, _CHECK_BYTES = 32, 16, 2
_SHORTEST_BYTES: Final = 1 + _ROOT_BYTES + _SECRET_BYTES + _CHECK_BYTES
_SHORTEST_CHARACTERS: Final = 82
_IPV4, _IPV6, _HOST = 1, 2, 0x80
_HOST_NAME: Final = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))*")
_LOOKALIKES: Final = {"0": "O", "1": "IL", "8": "B"}


class LinkFault(Enum):
    """What is wrong with a text that should be a link."""

    NOT_A_LINK = "not_a_link"
    BAD_CHARACTER = "bad_character"
    TRUNCATED = "truncated"
    BAD_CHECK = "bad_check"
    WRONG_VERSION = "wrong_version"
    BAD_HINT = "bad_hint"
    TOO_LONG = "too_long"


class LinkError(WireError):
    """A text is no link. `fault` is for programs, the text for people; `suggestion` is the likeliest right spelling."""

    def __init__(self, fault: LinkFault, text: str, *, suggestion: str | None = None) -> None:
        super().__init__(text if suggestion is None else f"{text}. Did you mean {suggestion} ?")
        self.fault = fault
        self.suggestion = suggestion


class Hint(msgspec.Struct, frozen=True, kw_only=True):
    """Where a replica may be reached: IPv4, IPv6 or host name, and the port (TCP and UDP)."""

    host: str
    port: int


class Link(msgspec.Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """A room's root key (32 bytes), link secret (16 bytes) and hints."""

    root_public: bytes
    secret: bytes
    hints: tuple[Hint, ...] = ()

    def __repr__(self) -> str:
        return f"Link(room_id={self.room_id.hex()}, hints={len(self.hints)})"

    @property
    def room_id(self) -> RoomId:
        """The 16 bytes by which servers know the room."""
        digest = hashlib.blake2b(self.root_public, digest_size=ROOM_ID_BYTES, person=b"samtala-room-id").digest()
        return RoomId(digest)

    @property
    def join_secret(self) -> bytes:
        """The 32-byte seed of the right to join (ADR 0004). Servers see only public keys derived from it."""
        return hashlib.blake2b(self.root_public, digest_size=32, key=self.secret, person=b"samtala-join").digest()

    def to_text(self) -> str:
        """Return `SAMTALA:…` in the alphabet that QR codes pack best.

        Raises:
            LocalError: a size, a port or a host is out of bounds.
        """
        return SCHEME + self._body()

    def to_web(self, host: str) -> str:
        """Return `https://host/#…`. Browsers do not send what follows `#`.

        Raises:
            LocalError: a size, a port or a host is out of bounds.
        """
        return f"https://{host}/#{self._body()}"

    def _body(self) -> str:
        if len(self.root_public) != _ROOT_BYTES or len(self.secret) != _SECRET_BYTES or len(self.hints) > HINTS_MAX:
            raise LocalError(f"a link has a key of 32 bytes, a secret of 16 and at most {HINTS_MAX} hints")
        data = bytes([VERSION]) + self.root_public + self.secret + b"".join(map(_encode_hint, self.hints))
        return base64.b32encode(data + _check_bytes(data)).decode().rstrip("=")


def parse_link(text: str) -> Link:
    """Return the link that a person pasted: either case, white space anywhere, `SAMTALA:` or the web form.

    Raises:
        LinkError: says what is wrong and, where it can tell, what was probably meant.
    """
    if len(text) > TEXT_CHARACTERS_MAX:
        raise LinkError(LinkFault.TOO_LONG, f"a link has fewer than {TEXT_CHARACTERS_MAX} characters")
    body = _find_body("".join(text.split()).strip("<>\"'.,"))
    strange = sorted(set(body) - set("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"))
    if strange:
        raise LinkError(
            LinkFault.BAD_CHARACTER,
            f"links hold only letters and the digits 2 to 7, not {' '.join(strange[:8])}",
            suggestion=_repaired(body),
        )
    return _parse_data(_decode_body(body))


def _find_body(text: str) -> str:
    """Return the base32 part of any form, in upper case."""
    upper = text.upper()
    if upper.startswith(SCHEME):
        return upper[len(SCHEME) :].removeprefix("//")
    if upper.startswith(("HTTPS://", "HTTP://")) and "#" in upper:
        return upper.partition("#")[2].removeprefix(SCHEME)
    body = re.split("[:#/]", upper)[-1]
    raise LinkError(
        LinkFault.NOT_A_LINK,
        "a link begins with SAMTALA: or is a web address with # in it",
        suggestion=SCHEME + body if _is_good(body) else None,
    )


def _is_good(body: str) -> bool:
    try:
        _parse_data(_decode_body(body))
    except LinkError:
        return False
    return True


def _repaired(body: str) -> str | None:
    """Try O for 0, I or L for 1, B for 8: the check tells whether that was it."""
    choices = [_LOOKALIKES.get(character, character) for character in body]
    for spelling in itertools.islice(itertools.product(*choices), REPAIRS_MAX):
        if _is_good("".join(spelling)):
            return SCHEME + "".join(spelling)
    return None


def _decode_body(body: str) -> bytes:
    if len(body) < _SHORTEST_CHARACTERS:
        missing = f"{len(body)} of at least {_SHORTEST_CHARACTERS} characters"
        raise LinkError(LinkFault.TRUNCATED, f"the link is cut short: {missing}; copy it whole")
    try:
        data = base64.b32decode(body + "=" * (-len(body) % 8))
    except (binascii.Error, ValueError) as error:
        raise LinkError(LinkFault.BAD_CHECK, "a character of the link is missing or one too many") from error
    wrong = base64.b32encode(data).decode().rstrip("=") != body
    if wrong or _check_bytes(data[:-_CHECK_BYTES]) != data[-_CHECK_BYTES:]:
        raise LinkError(LinkFault.BAD_CHECK, "a character of the link is wrong or missing; copy it again")
    return data[:-_CHECK_BYTES]


def _parse_data(data: bytes) -> Link:
    assert len(data) >= _SHORTEST_BYTES - _CHECK_BYTES, "shorter ones were refused"
    if data[0] != VERSION:
        raise LinkError(LinkFault.WRONG_VERSION, f"the link is of version {data[0]}; a newer Samtala may read it")
    hints_at = 1 + _ROOT_BYTES + _SECRET_BYTES
    return Link(
        root_public=data[1 : 1 + _ROOT_BYTES],
        secret=data[1 + _ROOT_BYTES : hints_at],
        hints=_decode_hints(data[hints_at:]),
    )


def _encode_hint(hint: Hint) -> bytes:
    if not 0 < hint.port < 1 << 16:
        raise LocalError(f"a port is from 1 to 65535, not {hint.port}")
    port = hint.port.to_bytes(2, "big")
    try:
        address = ipaddress.ip_address(hint.host)
    except ValueError:
        return _encode_host(hint.host) + port
    kind = _IPV4 if address.version == 4 else _IPV6
    return bytes([kind]) + address.packed + port


def _encode_host(host: str) -> bytes:
    name = host.lower()
    if len(name) > HOST_CHARACTERS_MAX or not _HOST_NAME.fullmatch(name):
        raise LocalError(f"{host!r} is neither an address nor a host name of at most {HOST_CHARACTERS_MAX} characters")
    return bytes([_HOST + len(name)]) + name.encode()


def _decode_hints(data: bytes) -> tuple[Hint, ...]:
    hints: list[Hint] = []
    while data:
        hint, data = _decode_hint(data)
        hints.append(hint)
    if len(hints) > HINTS_MAX:
        raise LinkError(LinkFault.BAD_HINT, f"a link has at most {HINTS_MAX} hints")
    return tuple(hints)


def _decode_hint(data: bytes) -> tuple[Hint, bytes]:
    kind = data[0]
    size = {_IPV4: 4, _IPV6: 16}.get(kind, kind - _HOST)
    if not 0 < size <= HOST_CHARACTERS_MAX or len(data) < 1 + size + 2:
        raise LinkError(LinkFault.BAD_HINT, "an address in the link is of a kind that only a newer Samtala knows")
    where, port = data[1 : 1 + size], int.from_bytes(data[1 + size : 3 + size], "big")
    host = where.decode("ascii", "replace") if kind >= _HOST else str(ipaddress.ip_address(where))
    if port == 0 or (kind >= _HOST and not _HOST_NAME.fullmatch(host)):
        raise LinkError(LinkFault.BAD_HINT, "an address in the link is wrong")
    return Hint(host=host, port=port), data[3 + size :]


def _check_bytes(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_CHECK_BYTES).digest()
