from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import samtala


def test_every_public_name_exists() -> None:
    assert set(samtala._HOMES) == set(samtala.__all__)
    for name in samtala.__all__:
        assert getattr(samtala, name) is not None
        assert name in dir(samtala)


def test_a_wrong_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'open_clinet'"):
        _ = samtala.open_clinet


def test_importing_samtala_imports_nothing_else() -> None:
    script = "import sys, samtala; print([name for name in ('trio', 'client', 'nacl', 'click') if name in sys.modules])"

    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)

    assert done.stdout == "[]\n"


async def test_the_example_opens_a_profile(tmp_path: Path) -> None:
    async with samtala.open_client(tmp_path / "me", name="me") as me:
        assert isinstance(me, samtala.Client)
        with pytest.raises(samtala.UsageError):
            await me.join("SAMTALA:…")
