"""Alerts ask for families that exist, and lead to a page that helps."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from room_server.metrics import NodeMetrics
from samtala.operate.probe import ProbeMetrics

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "prometheus"
RULES = FOLDER / "samtala.rules.yml"
SECTIONS = ("**What people notice.**", "## Look", "## Fix", "## Then")


def alerts() -> list[dict[str, Any]]:
    document = yaml.safe_load(RULES.read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def exported() -> set[str]:
    text = (NodeMetrics(version="0", peers=["b"]).render() + ProbeMetrics().render()).decode()
    return {line.split("{")[0].split(" ")[0] for line in text.splitlines() if not line.startswith("#")}


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: str(alert["alert"]))
def test_an_alert_asks_for_what_a_node_exports(alert: dict[str, Any]) -> None:
    names = set(re.findall(r"\b(?:samtala|process)_[a-z0-9_]+", alert["expr"]))

    assert names or "up{" in alert["expr"]
    assert names <= exported()


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: str(alert["alert"]))
def test_an_alert_leads_to_a_page_that_says_what_to_do(alert: dict[str, Any]) -> None:
    page = (ROOT / alert["annotations"]["runbook"]).read_text()

    assert alert["labels"]["severity"] in {"page", "ticket"}
    assert page.startswith(f"# {alert['alert']} ({alert['labels']['severity']})\n")
    assert all(section in page for section in SECTIONS)


def test_every_page_has_its_alert_and_no_link_leads_nowhere() -> None:
    pages = {path.name for path in (ROOT / "docs" / "runbooks").glob("*.md")}
    linked = {
        link for name in pages for link in re.findall(r"\]\(([^)]+)\)", (ROOT / "docs" / "runbooks" / name).read_text())
    }

    assert pages == {Path(alert["annotations"]["runbook"]).name for alert in alerts()}
    assert {link for link in linked if not (ROOT / "docs" / "runbooks" / link).is_file()} == set()


def test_pages_name_only_families_that_exist() -> None:
    text = "".join(path.read_text() for path in (ROOT / "docs" / "runbooks").glob("*.md"))
    known = {re.sub(r"_(bucket|sum|count)$", "", name) for name in exported()} | exported()

    assert set(re.findall(r"\bsamtala_[a-z0-9_]+", text)) <= known


@pytest.mark.parametrize(
    "words",
    [
        ("check", "rules", "samtala.rules.yml"),
        ("test", "rules", "samtala.tests.yml"),
        ("test", "rules", "samtala.days.tests.yml"),
    ],
)
def test_promtool_finds_nothing(words: tuple[str, ...]) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: apt install prometheus")
    run = subprocess.run([promtool, *words], cwd=FOLDER, capture_output=True, text=True, timeout=60, check=False)

    assert run.returncode == 0, run.stdout + run.stderr
