"""Strategies and one example of each message, for property tests."""

from __future__ import annotations

import typing

import msgspec
from hypothesis import strategies as st

from wire.messages import Message
from wire.room import BlockResult, CommitBody, Delivery, Genesis

MESSAGE_TYPES: tuple[type[msgspec.Struct], ...] = typing.get_args(Message)
RECORD_TYPES: tuple[type[msgspec.Struct], ...] = (BlockResult, CommitBody, Delivery, Genesis)


def instances(kind: type[msgspec.Struct]) -> st.SearchStrategy[typing.Any]:
    """Any value of a struct that its annotations allow."""
    hints = typing.get_type_hints(kind)
    return st.builds(kind, **{name: _values(hints[name]) for name in kind.__struct_fields__})


def _values(annotation: typing.Any) -> st.SearchStrategy[typing.Any]:
    annotation = getattr(annotation, "__supertype__", annotation)
    if annotation is int:
        return st.integers(-(2**63), 2**64 - 1)
    if annotation is bytes:
        return st.binary(max_size=40)
    if annotation is float:
        return st.floats(allow_nan=False)
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return instances(annotation)
    if typing.get_origin(annotation) is tuple:
        inner = typing.get_args(annotation)
        if len(inner) == 2 and inner[1] is Ellipsis:
            return st.lists(_values(inner[0]), max_size=4).map(tuple)
        return st.tuples(*map(_values, inner))
    return st.from_type(annotation)
