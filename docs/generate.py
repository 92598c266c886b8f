"""The pages of the manual that are read off the code: commands, configuration, metrics, wire protocol.

`docs/conf.py` writes them before each build, so that no page can be older than the program; nothing generated is kept in
the repository. `tests/docs/test_generate.py` looks at the texts without Sphinx.
"""

from __future__ import annotations

import ast
import enum
import inspect
import itertools
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

import samtala.cli
from room_server import config, config_reference, limits, process
from room_server.metrics import NodeMetrics
from samtala.operate.probe import ProbeMetrics
from wire import errors as wire_errors
from wire import frames, messages, room, versions
from wire import limits as wire_limits

WIDTH = 100


def pages() -> dict[str, str]:
    """Markdown by file name below docs/reference."""
    return {
        "cli.md": cli_page(),
        "configuration.md": configuration_page(),
        "metrics.md": metrics_page(),
        "reporting.md": reporting_page(),
        "wire-protocol.md": wire_page(),
    }


def reporting_page() -> str:
    """SECURITY.md, which stands where code hosts look for it; its links lead from here."""
    text = (Path(__file__).parent.parent / "SECURITY.md").read_text(encoding="utf-8")
    return text.replace("](docs/", "](../")


def write(folder: Path) -> None:
    """Write all pages whose text has changed."""
    for name, text in pages().items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


# --- commands --------------------------------------------------------------------------------------------------------


def cli_page() -> str:
    """Every command with its help."""
    parts = ["# Commands", "", _block(inspect.getdoc(samtala.cli) or "", begin="| exit |"), ""]
    for path, command, context in _commands(samtala.cli.cli, click.Context(samtala.cli.cli, info_name="samtala")):
        parts += [
            "#" * min(len(path) + 1, 3) + f" {' '.join(path)}",
            "",
            "```text",
            command.get_help(context),
            "```",
            "",
        ]
    return "\n".join(parts)


def _commands(
    command: click.Command, context: click.Context
) -> Iterator[tuple[tuple[str, ...], click.Command, click.Context]]:
    context.max_content_width = context.terminal_width = WIDTH
    path = tuple(context.command_path.split())
    yield path, command, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None, name
            yield from _commands(child, click.Context(child, info_name=name, parent=context))


def _block(text: str, *, begin: str) -> str:
    """The table of a docstring that begins with some words."""
    lines = text.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(begin))
    end = next((number for number in range(start, len(lines)) if not lines[number].startswith("|")), len(lines))
    return "\n".join(lines[start:end])


# --- configuration ---------------------------------------------------------------------------------------------------


def configuration_page() -> str:
    """Every option, where settings come from, what a running node takes over, what signals do."""
    reloadable = ", ".join(f"`{key}`" for key in sorted(config.RELOADABLE))
    return "\n".join(
        (
            "# Configuration",
            "",
            "A node reads `node.toml`. A flag `--set KEY=VALUE` overrides a variable `SAMTALA_SECTION__KEY`, which overrides"
            " the file, which overrides the default. An unknown key is an error that names the nearest right one."
            " `samtala config show --origin` says what holds and where it comes from, `samtala config check` whether a node"
            " would start, `samtala config schema` prints JSON Schema for editors.",
            "",
            config_reference.markdown(),
            f"Taken over by a running node on `systemctl reload` (SIGHUP): {reloadable}. The rest needs a restart.",
            "",
            "## Signals",
            "",
            _block(inspect.getdoc(process) or "", begin="| signal |"),
            "",
            "## Built-in bounds of a node",
            "",
            *_limits_table(limits),
            "",
        )
    )


def _limits_table(module: ModuleType) -> list[str]:
    """A table of the constants of a limits module with what is said of each."""
    body = ast.parse(inspect.getsource(module)).body
    rows = ["| bound | value | why |", "|---|---|---|"]
    for node, after in itertools.pairwise(body):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            assert isinstance(after, ast.Expr)
            assert isinstance(after.value, ast.Constant)
            name = node.target.id
            text = " ".join(str(after.value.value).split())
            rows.append(f"| `{name}` | {getattr(module, name):,} | {text} |")
    return rows


# --- metrics ---------------------------------------------------------------------------------------------------------


def metrics_page() -> str:
    """Every family with type, labels and meaning."""
    probe, node = ProbeMetrics().registry, NodeMetrics(version="0", peers=["b"]).registry
    return "\n".join(
        (
            "# Metrics",
            "",
            "A node answers `GET /metrics` at `metrics.listen` and on its admin socket. No label ever holds a room, a"
            " person, an address or a key; peers are called as the configuration calls them. What to alert on is in"
            " `deploy/prometheus`, what to look at in `deploy/grafana`.",
            "",
            *_families(node, lambda name: name.startswith("samtala_")),
            "",
            "Beside these there are `process_*` and `python_gc_*` as the Prometheus client library defines them.",
            "",
            "## Of the probe",
            "",
            "`samtala probe --every SECONDS --metrics HOST:PORT` answers with:",
            "",
            *_families(probe, lambda _: True),
            "",
        )
    )


def _families(registry: CollectorRegistry, wanted: Callable[[str], bool]) -> list[str]:
    rows = ["| family | type | labels | meaning |", "|---|---|---|---|"]
    found: list[Metric] = sorted(registry.collect(), key=lambda family: family.name)
    for family in found:
        if not wanted(family.name):
            continue
        names = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
        labels = "; ".join(f"`{name}`: {_values(family, name)}" for name in names)
        name = f"{family.name}_total" if family.type == "counter" else family.name
        rows.append(f"| `{name}` | {family.type} | {labels} | {family.documentation}. |")
    return rows


def _values(family: Metric, label: str) -> str:
    if label in {"peer", "version", "protocol"}:
        return "any"
    return ", ".join(sorted({sample.labels[label] for sample in family.samples if label in sample.labels}))


# --- wire protocol ---------------------------------------------------------------------------------------------------


def wire_page() -> str:
    """Frames, messages with an example each, refusals, what is inside blocks, bounds."""
    parts = [
        "# Wire protocol",
        "",
        f"Protocol version {versions.PROTOCOL_VERSION}, over TLS 1.3. This page is made from `wire/frames.py`,"
        " `wire/messages.py`, `wire/peer_messages.py`, `wire/room.py`, `wire/errors.py` and `wire/limits.py`.",
        "",
        "## Frames",
        "",
        _text(inspect.getdoc(frames) or ""),
        "",
        "## Messages",
        "",
        _text(inspect.getdoc(messages) or ""),
        "",
    ]
    for struct in sorted(message_types(), key=_tag):
        parts += _message(struct)
    parts += ["## Refusals", "", *_enum_table(wire_errors.RefusalCode), "", "## Inside a room", ""]
    for struct in _structs(room):
        parts += [f"### {struct.__name__}", "", _text(inspect.getdoc(struct) or ""), "", *_fields(struct), ""]
    for kinds in (room.Purpose, room.BlockKind, room.ResultKind):
        parts += [f"### {kinds.__name__}", "", *_enum_table(kinds), ""]
    return "\n".join([*parts, "## Bounds", "", *_limits_table(wire_limits), ""])


def message_types() -> list[type[msgspec.Struct]]:
    """All messages."""
    return list(typing.get_args(messages.Message))


def _tag(struct: type[msgspec.Struct]) -> int:
    tag = struct.__struct_config__.tag
    assert isinstance(tag, int), struct
    return tag


def _message(struct: type[msgspec.Struct]) -> list[str]:
    example = sample_of(struct)
    assert isinstance(example, msgspec.Struct)
    encoded = frames.encode_frame(messages.encode(typing.cast("Any", example)))
    return [
        f"### {struct.__name__}",
        "",
        f"Tag {_tag(struct)}. {_text(inspect.getdoc(struct) or '')}",
        "",
        *_fields(struct),
        "",
        "An example as a frame:",
        "",
        "```text",
        *[encoded.hex()[start : start + WIDTH] for start in range(0, 2 * len(encoded), WIDTH)],
        "```",
        "",
    ]


def _structs(module: ModuleType) -> list[type[msgspec.Struct]]:
    found = [one for one in vars(module).values() if inspect.isclass(one) and issubclass(one, msgspec.Struct)]
    return [one for one in found if one.__module__ == module.__name__ and not one.__name__.startswith("_")]


def _fields(struct: type[msgspec.Struct]) -> list[str]:
    rows = ["| field | type |", "|---|---|"]
    hints = typing.get_type_hints(struct)
    rows += [f"| `{name}` | {_type(hints[name])} |" for name in struct.__struct_fields__]
    return rows if len(rows) > 2 else ["No fields."]


def _type(hint: Any) -> str:
    arguments = [argument for argument in typing.get_args(hint) if argument is not Ellipsis]
    if typing.get_origin(hint) is tuple:
        inner = ", ".join(_type(argument) for argument in arguments)
        return f"list of {inner}" if Ellipsis in typing.get_args(hint) else f"({inner})"
    if arguments:
        return " or ".join(_type(argument) for argument in arguments)
    bare = getattr(hint, "__supertype__", None)
    if bare is not None:
        return f"{hint.__name__}: {_type(bare)}"
    return "nil" if hint is type(None) else hint.__name__


def _enum_table(kinds: type[enum.IntEnum]) -> list[str]:
    return ["| code | name |", "|---|---|", *(f"| {kind.value} | {kind.name} |" for kind in kinds)]


def sample_of(hint: Any) -> object:
    """A small value of a type: the numbers, texts and bytes of the examples."""
    hint = getattr(hint, "__supertype__", hint)
    if typing.get_origin(hint) is tuple:
        return tuple(sample_of(one) for one in typing.get_args(hint) if one is not Ellipsis)
    choices = typing.get_args(hint)
    if choices:
        return sample_of(choices[0])
    if inspect.isclass(hint) and issubclass(hint, msgspec.Struct):
        hints = typing.get_type_hints(hint)
        return hint(**{name: sample_of(hints[name]) for name in hint.__struct_fields__})
    if inspect.isclass(hint) and issubclass(hint, enum.Enum):
        return next(iter(hint))
    samples: dict[Any, object] = {int: 7, str: "a", bytes: b"\x01\x02", bool: True, float: 0.5}
    return samples[hint]


def _text(docstring: str) -> str:
    """A docstring as Markdown: what is indented is code; who calls a function is of no use here."""
    text = docstring.partition("\nArgs:")[0].partition("\nRaises:")[0].strip()
    lines: list[str] = []
    is_code = False
    for line in text.splitlines():
        indented = line.startswith("    ")
        if line.strip() and indented != is_code:
            while lines and not lines[-1] and is_code:
                lines.pop()
            lines += ["```text"] if indented else ["```", ""]
            is_code = indented
        lines.append(line[4:] if is_code else line)
    return "\n".join([*lines, "```"] if is_code else lines)
