"""Numbers for people: bytes, durations, milliseconds, rates, views."""

from __future__ import annotations

from typing import Final

_PREFIXES: Final = ("B", "kB", "MB", "GB", "TB")
_SPANS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def view_name(view: int) -> str:
    """A view for people: its number, and the room's epoch (how often it got other servers) once that is not the first."""
    epoch, number = view >> 32, view & 0xFFFF_FFFF
    return f"{epoch}.{number}" if epoch else str(number)


def size(count_bytes: float) -> str:
    """Bytes, decimal: `17 MB`."""
    amount = count_bytes
    for prefix in _PREFIXES[:-1]:
        if abs(amount) < 1000:
            return f"{amount:.0f} {prefix}"
        amount /= 1000
        if abs(amount) < 10:
            return f"{amount:.1f} {_PREFIXES[_PREFIXES.index(prefix) + 1]}"
    return f"{amount:.0f} {_PREFIXES[-1]}"


def span(seconds: float) -> str:
    """A duration by its two largest units: `3 h 12 min`."""
    left = int(seconds)
    words: list[str] = []
    for length, name in _SPANS:
        count, left = divmod(left, length)
        if count or (words and len(words) < 2):
            words.append(f"{count} {name}")
    return " ".join(words[:2]) or "0 s"


def milliseconds(value: float | None) -> str:
    """Milliseconds: `0.4 ms`; empty if unknown."""
    if value is None:
        return ""
    return f"{value:.1f} ms" if value < 10 else f"{value:.0f} ms"


def counted(count: int, word: str) -> str:
    """`1 room`, `2 rooms`."""
    return f"{count} {word}{'' if count == 1 else 's'}"
