"""Every claim of docs/security.md has a test, and it exists under that name."""

from __future__ import annotations

import ast
import re

import pytest

from tests.defences import DEFENCES, ROOT, Defence, named_in, rows


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.split("|")[1].strip())
def test_every_claim_names_tests_that_exist(row: str) -> None:
    named = [test.split("::") for test in named_in(row)]
    assert named, "a claim without a test"
    assert len([cell for cell in row.split("|") if cell.strip()]) == 4
    for path, name in named:
        tree = ast.parse((ROOT / path).read_text())
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert name in functions, f"{path} has no {name}"


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.split("|")[1].strip())
def test_every_claim_has_a_defence_that_can_be_removed(row: str) -> None:
    assert {defence.test for defence in DEFENCES} & {*named_in(row)}


def test_every_defence_belongs_to_a_claim() -> None:
    claimed = {test for row in rows() for test in named_in(row)}
    assert [defence.test for defence in DEFENCES if defence.test not in claimed] == []


def test_table_covers_each_kind_of_attacker() -> None:
    text = (ROOT / "docs" / "security.md").read_text()

    assert len(rows()) >= 20
    for kind in ("## Servers", "## The network", "## Members", "## Devices", "## Strangers"):
        assert kind in text


@pytest.mark.parametrize("path", ["README.md", "SECURITY.md", "docs/security.md"])
def test_that_nobody_audited_it_is_said_plainly(path: str) -> None:
    assert re.search(r"\bunaudited\b|not audited", (ROOT / path).read_text(), re.IGNORECASE)


@pytest.mark.parametrize("defence", DEFENCES, ids=lambda defence: f"{defence.path}: {defence.line.strip()[:40]}")
def test_each_defence_can_be_removed_to_see_its_test_fail(defence: Defence) -> None:
    assert (ROOT / defence.path).read_text().count(defence.line) == 1
    path, name = defence.test.split("::")
    assert f"def {name}(" in (ROOT / path).read_text()
