from __future__ import annotations

import sys

import pytest
import trio

from room_server.lan import announce_on_lan


async def test_a_machine_without_multicast_serves_all_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "zeroconf", None)

    with trio.fail_after(5):
        await announce_on_lan(lambda: [b"t" * 20], listen_host="127.0.0.1", port=7610)

    assert "lan_announcement_off" in capsys.readouterr().out
