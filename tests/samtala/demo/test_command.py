"""The account in sentences says plainly whether promises were kept."""

from __future__ import annotations

import pytest

from samtala.cli import main as run_command
from samtala.demo.command import summary
from samtala.demo.story import Report


def report(**changes: int) -> Report:
    figures = {
        "replicas": 3, "clients": 2, "sent": 9, "acked": 9, "delivered": 18, "lost": 0, "duplicated": 0,
        "reordered": 0, "undecryptable": 0, "kills": 1, "view_changes": 1, "plaintext_hits": 0,
    }  # fmt: skip
    return Report(**(figures | changes), longest_gap_s=0.1, ack_p50_ms=1.0, ack_p99_ms=2.0, metrics_url="")


def test_kept_promises_are_said_to_be_kept() -> None:
    assert report().is_clean
    assert "Every promise was kept" in summary(report())


@pytest.mark.parametrize("figure", ["lost", "duplicated", "reordered", "undecryptable", "plaintext_hits"])
def test_a_broken_promise_is_said_and_counts(figure: str) -> None:
    assert not report(**{figure: 1}).is_clean
    assert "BROKEN" in summary(report(**{figure: 1}))


def test_seconds_out_of_bounds_are_a_usage_error() -> None:
    assert run_command(["demo", "--headless", "--seconds", "0"]) == 2
