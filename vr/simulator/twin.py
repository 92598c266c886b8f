"""Copying and comparing live objects of the core, so that a search can go on from one state in several ways.

`twin` copies what can change and shares what cannot; `essence` is the hashable content of an object: two replicas of equal
essence behave alike. Both dispatch on the type once and remember; an object of the core that has a `__dict__`, or is a
struct that is not frozen, counts as one that can change.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Any

import msgspec

from vr.jitter import Jitter
from vr.log import Entry, Log
from vr.state import Promise, ReplicaOptions, ReplicaState

# Chance, clocks and counts: they tell how a state was reached, not what it is.
UNESSENTIAL: dict[type, frozenset[str]] = {
    ReplicaState: frozenset(
        {"dropped", "jitter", "tokens", "attempts", "view_changes", "options", "configuration", "effects", "tick_at"}
    ),
    Promise: frozenset({"token"}),
}

_copiers: dict[type, Callable[[Any], Any]] = {}
_essences: dict[type, Callable[[Any], Any]] = {}


def twin(value: Any) -> Any:
    """An independent copy."""
    copier = _copiers.get(type(value))
    if copier is None:
        copier = _copiers[type(value)] = _choose_copier(type(value))
    return copier(value)


def essence(value: Any) -> Any:
    """The hashable content; tuples of tuples."""
    reader = _essences.get(type(value))
    if reader is None:
        reader = _essences[type(value)] = _choose_essence(type(value))
    return reader(value)


def _same(value: Any) -> Any:
    return value


def _is_mutable_struct(kind: type) -> bool:
    return issubclass(kind, msgspec.Struct) and not kind.__struct_config__.frozen


def _choose_copier(kind: type) -> Callable[[Any], Any]:
    if issubclass(kind, Counter):
        return kind
    if issubclass(kind, dict):
        return lambda value: {key: twin(item) for key, item in value.items()}
    if issubclass(kind, list | deque | set):
        return lambda value: kind([twin(item) for item in value])
    if _is_mutable_struct(kind):
        fields = kind.__struct_fields__  # type: ignore[attr-defined]  # msgspec makes it
        return lambda value: kind(**{name: twin(getattr(value, name)) for name in fields})
    if issubclass(kind, Entry | ReplicaOptions) or not hasattr(kind, "__dict__") or _is_plain(kind):
        return _same
    return _copy_attributes


def _is_plain(kind: type) -> bool:
    """Values, enums, frozen structs, functions: nothing in them changes."""
    return kind.__dictoffset__ == 0 or kind.__module__ in {"builtins", "functools"} or hasattr(kind, "__members__")


def _copy_attributes(value: Any) -> Any:
    copied = object.__new__(type(value))
    copied.__dict__.update((name, twin(item)) for name, item in value.__dict__.items())
    return copied


def _choose_essence(kind: type) -> Callable[[Any], Any]:
    if issubclass(kind, dict):
        return lambda value: tuple((key, essence(item)) for key, item in value.items())
    if issubclass(kind, set | frozenset):
        return frozenset
    if issubclass(kind, list | deque | tuple):
        return lambda value: tuple(essence(item) for item in value)
    if issubclass(kind, Entry):
        return lambda value: value.header.checksum
    if issubclass(kind, Log):
        return lambda value: (value.base_op, value.head_op, value.head_checksum)
    if issubclass(kind, Jitter):
        return lambda value: 0
    ignored = UNESSENTIAL.get(kind, frozenset())
    if _is_mutable_struct(kind):
        fields = tuple(name for name in kind.__struct_fields__ if name not in ignored)  # type: ignore[attr-defined]  # msgspec makes it
        return lambda value: tuple(essence(getattr(value, name)) for name in fields)
    if not hasattr(kind, "__dict__") or _is_plain(kind):
        return _same
    return lambda value: tuple(essence(item) for name, item in value.__dict__.items() if name not in ignored)
