"""The dashboard is what its script makes, every panel leads to a page, and every expression gives series of a live node."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.test_prometheus import exported

FOLDER = Path(__file__).parents[2] / "deploy" / "grafana"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text())
GRAPHS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def test_the_dashboard_is_what_its_script_makes() -> None:
    made = subprocess.run(
        [sys.executable, str(FOLDER / "make_dashboard.py")], capture_output=True, text=True, timeout=60, check=True
    )

    assert made.stdout == (FOLDER / "dashboard.json").read_text(), "run deploy/grafana/make_dashboard.py"


def test_panels_have_their_own_number_and_place_and_there_are_not_too_many() -> None:
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]]

    assert len(set(numbers)) == len(numbers)
    assert len(set(places)) == len(places)
    assert len(GRAPHS) <= 35


@pytest.mark.parametrize("panel", GRAPHS, ids=lambda panel: str(panel["title"]))
def test_a_panel_asks_for_what_a_node_exports_and_names_a_page(panel: dict[str, Any]) -> None:
    page = re.search(r"docs/runbooks/[a-z-]+\.md", panel["description"])
    names = {
        name for target in panel["targets"] for name in re.findall(r"\b(?:samtala|process)_[a-z_]+", target["expr"])
    }

    assert page is not None
    assert (FOLDER.parents[1] / page.group()).exists()
    assert names
    assert names <= exported()
