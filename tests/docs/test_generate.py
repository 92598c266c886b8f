"""The pages that are read off the code say what the code says; looked at without Sphinx."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from room_server.config import known_keys
from room_server.metrics import ROOM_STATES
from samtala.cli import cli
from wire.frames import FrameDecoder
from wire.messages import decode

DOCS = Path(__file__).parents[2] / "docs"


def load() -> ModuleType:
    specification = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


GENERATE = load()
PAGES: dict[str, str] = GENERATE.pages()


def test_every_command_has_its_help() -> None:
    page = PAGES["cli.md"]

    for name in cli.commands or cli.list_commands(None):  # type: ignore[arg-type]  # the lazy group needs no context
        assert f"\n### samtala {name}\n" in page
    assert "### samtala config show" in page
    assert "| 130 | interrupted |" in page
    assert "/root" not in page
    assert str(Path.home()) not in page


def test_every_option_and_signal_is_there() -> None:
    page = PAGES["configuration.md"]

    assert all(f"| `{key}` |" in page for key in known_keys())
    assert "| HUP |" in page
    assert "| `DRAIN_S_MAX` | 60.0 | Seconds that a node" in page


def test_every_family_is_there_once() -> None:
    rows = [line for line in PAGES["metrics.md"].splitlines() if line.startswith("| `samtala_")]

    assert len(rows) == len({row.split("`")[1] for row in rows}) > 30
    assert f"| `samtala_rooms` | gauge | `state`: {', '.join(sorted(ROOM_STATES))} |" in PAGES["metrics.md"]
    assert any("samtala_probe_success" in row for row in rows)


@pytest.mark.parametrize("struct", GENERATE.message_types(), ids=lambda struct: str(struct.__name__))
def test_example_of_each_message_decodes_to_what_it_shows(struct: type) -> None:
    section = PAGES["wire-protocol.md"].partition(f"### {struct.__name__}\n")[2].partition("\n### ")[0]
    example = re.search(r"An example as a frame:\n\n```text\n([0-9a-f\n]+)```", section)

    assert example is not None, section
    [payload] = FrameDecoder().feed(bytes.fromhex(example[1]))
    assert decode(payload) == GENERATE.sample_of(struct)


def test_no_page_has_an_open_code_block() -> None:
    for name, page in PAGES.items():
        assert page.count("```") % 2 == 0, name


def test_writing_twice_changes_nothing(tmp_path: Path) -> None:
    GENERATE.write(tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    GENERATE.write(tmp_path)

    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    assert set(before) == set(PAGES)
