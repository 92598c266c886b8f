from __future__ import annotations

from pathlib import Path

import pytest

from client.errors import RefusedError, UnavailableError
from samtala.cli.node_client import ask, fetch
from tests.samtala.cli.admin_double import serving_answers


def test_values_come_back_typed(tmp_path: Path) -> None:
    with serving_answers(tmp_path / "s", {"/numbers": b"[1, 2]", "/text": b"plain"}) as path:
        assert ask(path, "/numbers", list[int]) == [1, 2]
        assert fetch(path, "/text?top=3") == b"plain"
        with pytest.raises(UnavailableError, match="another version"):
            ask(path, "/numbers", list[str])
        with pytest.raises(RefusedError, match="no such thing"):
            fetch(path, "/other")


def test_nobody_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="Is it running"):
        fetch(tmp_path / "nobody", "/status")
    with pytest.raises(UnavailableError, match="too long"):
        fetch(tmp_path / ("x" * 200), "/status")
