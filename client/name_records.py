"""A room's record from the domain name system: the same signed bytes that the DHT would give, where only names resolve.

    _samtala.HOST TXT "samtala=" "<the encoded signed item, base64url, in strings of 255 characters at most>"

A host may have records of several rooms. Who answers needs no trust, as with web servers (`client.well_known`): it can hide a
record but not forge one. The resolver sees the host that was asked for, not the room.

The library is an extra, `pip install samtala[dns]`: few rooms need this, and the system's resolver knows no TXT records.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

from client import limits
from client.errors import UnavailableError

_LABEL: Final = "_samtala"
_MARK: Final = b"samtala="
_STRING_BYTES_MAX: Final = 255
"""Of one string in a TXT record (RFC 1035 3.3.14)."""


def record_name(host: str) -> str:
    """The name that a host's records are found under."""
    return f"{_LABEL}.{host.rstrip('.')}."


def record_text(record: bytes) -> tuple[bytes, ...]:
    """The strings of a TXT record that holds an encoded signed item."""
    text = _MARK + base64.urlsafe_b64encode(record).rstrip(b"=")
    return tuple(text[start : start + _STRING_BYTES_MAX] for start in range(0, len(text), _STRING_BYTES_MAX))


def parse_record_text(strings: tuple[bytes, ...]) -> bytes | None:
    """The item of a TXT record's strings, unverified; None if it is something else's."""
    text = b"".join(strings)
    if not text.startswith(_MARK) or len(text) > limits.WEB_BYTES_MAX:
        return None
    encoded = text.removeprefix(_MARK)
    try:
        return base64.b64decode(encoded + b"=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        return None


async def resolve_records(host: str, name_server: tuple[str, int] | None) -> list[bytes]:
    """Return what a host's TXT records hold, unverified, `limits.NAME_RECORDS_MAX` at most.

    Args:
        host: a name.
        name_server: to ask instead of the system's, numeric address and port.

    Raises:
        UnavailableError: no such records, nobody answers within DNS_S_MAX, or the library is missing.
    """
    try:
        import dns.asyncresolver
        import dns.exception
    except ImportError as error:
        raise UnavailableError("this needs an extra: pip install 'samtala[dns]'") from error
    try:
        resolver = dns.asyncresolver.Resolver(configure=name_server is None)
        if name_server is not None:
            resolver.nameservers = [name_server[0]]
            resolver.port = name_server[1]
        answer: Any = await resolver.resolve(record_name(host), "TXT", lifetime=limits.DNS_S_MAX)
    except (dns.exception.DNSException, OSError) as error:
        raise UnavailableError(str(error).strip() or type(error).__name__) from error
    records = [parse_record_text(tuple(entry.strings)) for entry in answer]
    return [record for record in records if record is not None][: limits.NAME_RECORDS_MAX]
