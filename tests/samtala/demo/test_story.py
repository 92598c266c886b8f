"""The demo's promise, end to end: real servers, real encryption, the primary killed, and nothing lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from samtala.demo.story import run_headless


@pytest.mark.process
async def test_two_people_talk_through_the_death_of_the_primary(tmp_path: Path) -> None:
    report = await run_headless(tmp_path, seconds=6)

    assert report.is_clean
    assert report.kills == 1
    assert report.view_changes >= 1
    assert report.acked == report.sent > 10
    assert report.delivered == 2 * report.acked
