"""A router that speaks UPnP, in a network of the test's own: found, asked for both protocols, given back."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys

import pytest

from room_server import upnp
from tests.client.test_lan import run_in_a_network


@pytest.fixture
def network() -> None:
    if sys.platform != "linux" or shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip("needs unshare and ip")
    if importlib.util.find_spec("miniupnpc") is None:
        pytest.skip("miniupnpc is not installed")
    if run_in_a_network("true").returncode:
        pytest.skip("network namespaces are not permitted here")


def told(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run_in_a_network(sys.executable, "-m", "tests.room_server.upnp_story", *arguments)


def test_a_router_that_speaks_nothing_else_is_asked_for_both_protocols_and_again_at_the_end(network: None) -> None:
    done = told("10.77.1.1", "granted")

    assert done.returncode == 0, done.stderr


def test_a_router_that_refuses_is_told(network: None) -> None:
    done = told("10.77.1.1", "refused")

    assert done.returncode == 0, done.stderr


def test_without_the_library_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    assert not upnp.is_installed()
