"""Every option of node.toml, read off the structs of `room_server.config`: what `samtala config` and the manual show.

There is no second list of options anywhere: a field without a description is a failing test.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, get_type_hints

import msgspec
from msgspec import Meta, inspect

from room_server.config import NodeConfig, environment_name

_PLAIN: Final = {inspect.StrType: "text", inspect.IntType: "number", inspect.BoolType: "true or false"}


class Option(msgspec.Struct, frozen=True, kw_only=True):
    """One option. `default`: None if it must be given. `variable`: empty for keys inside a list of tables."""

    key: str
    kind: str
    default: str | None
    description: str
    variable: str


def options() -> list[Option]:
    """All options in the order of the structs, those of the top level first."""
    found = list(_options(NodeConfig, ""))
    return sorted(found, key=lambda option: "." in option.key)


def _options(struct: type[msgspec.Struct], prefix: str, *, in_list: bool = False) -> Iterator[Option]:
    hints = get_type_hints(struct, include_extras=True)
    for field in msgspec.structs.fields(struct):
        key = prefix + field.encode_name
        kind = inspect.type_info(field.type)
        bare = kind.type if isinstance(kind, inspect.Metadata) else kind
        if isinstance(bare, inspect.StructType):
            yield from _options(bare.cls, f"{key}.")
            continue
        yield Option(
            key=key,
            kind=_kind(bare),
            default=None if field.default is msgspec.NODEFAULT else msgspec.json.encode(field.default).decode(),
            description=_description(hints[field.name]),
            variable="" if in_list else environment_name(key),
        )
        if isinstance(bare, inspect.VarTupleType) and isinstance(bare.item_type, inspect.StructType):
            yield from _options(bare.item_type.cls, f"{key}[].", in_list=True)


def _description(hint: object) -> str:
    notes = [note for note in getattr(hint, "__metadata__", ()) if isinstance(note, Meta)]
    return next((note.description for note in notes if note.description), "")


def _kind(kind: inspect.Type) -> str:
    match kind:
        case inspect.LiteralType():
            return " or ".join(f"`{value}`" for value in kind.values)
        case inspect.VarTupleType():
            inner = kind.item_type
            return "list of tables" if isinstance(inner, inspect.StructType) else f"list of {_kind(inner)}"
        case _:
            return _PLAIN[type(kind)]


def markdown() -> str:
    """The options as a table for the manual."""
    lines = ["| key | kind | default | meaning |", "|---|---|---|---|"]
    for option in options():
        default = "required" if option.default is None else f"`{option.default}`"
        lines.append(f"| `{option.key}` | {option.kind} | {default} | {option.description} |")
    return "\n".join(lines) + "\n"


def json_schema() -> dict[str, object]:
    """JSON Schema (2020-12) of node.toml, for editors and deployment tools."""
    return msgspec.json.schema(NodeConfig)
