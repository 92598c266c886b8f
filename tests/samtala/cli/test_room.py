from __future__ import annotations

import base64
import json

import msgspec
import pytest

from samtala.cli import main
from samtala.cli.show import drawn
from tests.client.test_evidence import GOOD


def test_a_link_as_a_picture_for_phones() -> None:
    drawing = drawn("SAMTALA:" + "A" * 100)

    assert 15 < len(drawing.splitlines()) < 40


def test_a_room_needs_a_server(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["room", "create", "lobby"]) == 2
    assert "--node" in capsys.readouterr().err


def test_a_wrong_verb_names_the_right_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["room", "crate"]) == 2
    assert "did you mean 'create'?" in capsys.readouterr().err


def test_info_of_an_unknown_room(tmp_path: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--profile", f"{tmp_path}/me", "room", "info", "lobby"]) == 3
    assert main(["--profile", f"{tmp_path}/me", "room", "members", "lobby"]) == 3
    assert "samtala join LINK" in capsys.readouterr().err


def test_evidence_can_be_checked_by_anybody_without_a_room(capsys: pytest.CaptureFixture[str]) -> None:
    text = base64.urlsafe_b64encode(msgspec.msgpack.encode(GOOD)).decode()

    assert main(["room", "evidence", "--check", text]) == 0
    told = capsys.readouterr().out
    assert "TWO HISTORIES" in told
    assert "alice" in told
    assert "bob" in told
    assert main(["room", "evidence", "--check", text, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sequence"] == 7
    assert main(["room", "evidence", "--check", text[:-8]]) == 2
    assert "proves nothing" in capsys.readouterr().err
    assert main(["room", "evidence"]) == 2
