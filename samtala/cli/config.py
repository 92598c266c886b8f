"""`samtala config check|show|schema`: what a server is told, where each setting comes from, what can be set."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeGuard

import click
import msgspec

from room_server.config import NodeConfig, load_with_origins
from room_server.config_reference import json_schema, markdown
from room_server.errors import ConfigError
from samtala.cli.lazy import LazyGroup
from samtala.cli.node_settings import default_config, fail, overrides, with_config, with_settings
from samtala.cli.run import with_json
from samtala.cli.show import put, put_json, say
from samtala.operate.units import counted

_COMMENT_COLUMN = 48


@click.group(
    cls=LazyGroup,
    lazy_commands={
        "check": ("samtala.cli.config:check", "Say whether a server would start with it."),
        "schema": ("samtala.cli.config:schema", "Print every option."),
        "show": ("samtala.cli.config:show", "Print every setting as it is, defaults included."),
    },
)
def config() -> None:
    """What a server is told."""


def _load(path: Path | None, settings: Sequence[str]) -> tuple[Path, NodeConfig, dict[str, str]]:
    chosen = path or default_config()
    try:
        return chosen, *load_with_origins(chosen, overrides=overrides(settings), environ=os.environ)
    except ConfigError as error:
        fail(error)


@click.command()
@with_config
@with_settings
def check(*, config: Path | None, settings: Sequence[str]) -> None:
    """Say whether a server would start with this configuration; exit code 2 if not.

    samtala config check --config /etc/samtala/node.toml
    """
    path, loaded, origins = _load(config, settings)
    say(f"{path}: good. {counted(len(origins), 'setting')}, {counted(len(loaded.peers), 'peer')}.")


@click.command()
@with_config
@with_settings
@click.option("--origin", is_flag=True, help="Say where each setting comes from.")
@with_json
def show(*, config: Path | None, settings: Sequence[str], origin: bool, as_json: bool) -> None:
    """Print every setting as it is, defaults included, as TOML.

    samtala config show --origin
    """
    _, loaded, origins = _load(config, settings)
    flat = _flat(msgspec.to_builtins(loaded))
    if as_json:
        put_json({key: {"value": value, "origin": origins.get(key, "default")} for key, value in flat.items()})
        return
    for line in toml_lines(flat, origins if origin else None):
        put(line)


@click.command()
@click.option("--markdown", "as_markdown", is_flag=True, help="A table for people instead of JSON Schema.")
def schema(*, as_markdown: bool) -> None:
    """Print every option: JSON Schema for editors and deployment tools, or a table."""
    put(markdown().rstrip() if as_markdown else msgspec.json.format(msgspec.json.encode(json_schema())).decode())


def _flat(values: Mapping[str, object]) -> dict[str, object]:
    """By dotted key; the top level first, as TOML wants it."""
    top = {key: value for key, value in values.items() if not isinstance(value, Mapping)}
    for section, value in values.items():
        if isinstance(value, Mapping):
            top.update({f"{section}.{inner}": setting for inner, setting in value.items()})
    return top


def toml_lines(flat: Mapping[str, object], origins: Mapping[str, str] | None) -> list[str]:
    """TOML that `load_config` reads back; with `origins`, each line says where its setting comes from."""
    lines: list[str] = []
    tables: list[str] = []
    section = ""
    for key, value in flat.items():
        origin = origins.get(key, "default") if origins is not None else None
        if _is_list_of_tables(value):
            tables += [line for table in value for line in ("", _noted(f"[[{key}]]", origin), *_pairs(table))]
            continue
        table, dot, name = key.rpartition(".")
        if dot and table != section:
            lines += ["", f"[{table}]"]
            section = table
        lines.append(_noted(f"{name} = {_toml(value)}", origin))
    return lines + tables


def _is_list_of_tables(value: object) -> TypeGuard[Sequence[Mapping[str, object]]]:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(one, Mapping) for one in value)


def _noted(line: str, origin: str | None) -> str:
    return line if origin is None else f"{line:<{_COMMENT_COLUMN}}  # {origin}"


def _pairs(table: Mapping[str, object]) -> list[str]:
    return [f"{key} = {_toml(value)}" for key, value in table.items()]


def _toml(value: object) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(inner) for inner in value) + "]"
    return msgspec.json.encode(value).decode()
