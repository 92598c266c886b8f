from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing
import urwid

from room_server.report import NodeReport, RoomOrder, RoomReport
from samtala.cli import main
from samtala.cli.top import Top, watch
from tests.samtala.cli.admin_double import serving_answers
from tests.samtala.operate.reports import node_report, peer, rooms


def room(name: str = "74a0df41", *, margin: int = 1, state: str = "normal", lag_ops: int = 0) -> RoomReport:
    return RoomReport(
        room=name,
        state=state,
        led=True,
        view=4,
        op=18_231,
        commit=18_231,
        margin=margin,
        lag_ops=lag_ops,
        subscribers=3,
        ops_per_s=12.0,
        bytes_per_s=34_200.0,
    )


def shown(screen: Top, *, columns: int = 100) -> list[str]:
    urwid.set_encoding("utf-8")
    canvas = screen.widget.render((columns, 14), focus=True)
    return [line.decode().rstrip() for line in canvas.text]


def screen_of(report: NodeReport, *shown_rooms: RoomReport) -> Top:
    screen = Top(RoomOrder.RATE)
    screen.show(report, list(shown_rooms))
    return screen


def test_screen_has_the_node_above_its_rooms() -> None:
    lines = shown(screen_of(node_report(), room()))

    assert lines[0] == "a · ready · up 3 h 12 min · samtala 1.2.3"
    assert lines[1].startswith("3 rooms, 1 led here · every room survives 1 more · 3 connections · disk 50% free")
    assert lines[2] == "peers  b up 0.4 ms   c up 0.4 ms"
    assert "▼OPS/S" in lines[5]
    assert lines[6].split() == ["74a0df41", "normal", "led", "4", "18231", "12.0", "34", "kB", "0", "1", "3"]
    assert lines[-1].strip().startswith("r rate")


def test_values_stand_under_their_titles() -> None:
    lines = shown(screen_of(node_report(), room()))

    assert lines[5].index("OPS/S") + len("OPS/S") == lines[6].index("12.0") + len("12.0")
    assert lines[5].index("SPARE") + len("SPARE") == lines[6].rindex(" 1 ") + 2


def test_trouble_is_shown_where_one_looks() -> None:
    report = node_report(rooms=rooms(margin=-1), peers=(peer("b", up=False), peer("c", lag_ops=7)))
    lines = shown(screen_of(report, room(margin=-1, state="no_quorum")))

    assert "no room has a majority" in lines[1]
    assert "b DOWN" in lines[2]
    assert "lag 7" in lines[2]
    assert lines[3] == "3 rooms without a majority of the servers: read-only (and 1 more: samtala doctor)"
    assert "no quorum" in lines[6]
    assert "none" in lines[6]


@pytest.mark.parametrize("columns", [20, 60, 200])
def test_any_width_is_drawn(columns: int) -> None:
    assert shown(screen_of(node_report(), room()), columns=columns)


def test_keys_sort_and_end() -> None:
    screen = screen_of(node_report(), room())

    screen.keypress("l")
    assert screen.order is RoomOrder.LAG
    assert "▼LAG" in shown(screen)[5]
    assert screen.reordered.is_set()
    screen.keypress("x")
    assert not screen.stopped.is_set()
    screen.keypress("q")
    assert screen.stopped.is_set()


def test_node_that_is_gone_leaves_its_last_rows(tmp_path: Path) -> None:
    screen = screen_of(node_report(), room())
    screen.show_gone("no node answers")

    lines = shown(screen)
    assert lines[0] == "no node answers"
    assert any("74a0df41" in line for line in lines)


async def test_screen_follows_the_node(tmp_path: Path) -> None:
    answers = {"/status": msgspec.json.encode(node_report()), "/rooms": msgspec.json.encode([room()])}
    screen = Top(RoomOrder.RATE)
    drawn = trio.Event()
    with serving_answers(tmp_path / "s", answers) as path:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch, path, screen, drawn.set)
            await drawn.wait()
            nursery.cancel_scope.cancel()

    assert "74a0df41" in "\n".join(shown(screen))


async def test_node_that_does_not_answer_is_asked_again(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    screen = Top(RoomOrder.RATE)
    drawn = 0

    def draw() -> None:
        nonlocal drawn
        drawn += 1
        if drawn == 3:
            scope.cancel()

    with trio.CancelScope() as scope:
        await watch(tmp_path / "nobody", screen, draw)

    assert "no node answers" in shown(screen)[0]


def test_rooms_go_into_pipes_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving_answers(tmp_path / "s", {"/rooms": msgspec.json.encode([room()])}) as path:
        assert main(["top", "--socket", str(path), "--once"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert main(["top", "--socket", str(path), "--json"]) == 0

    assert [line.split()[0] for line in lines] == ["ROOM", "74a0df41"]
    assert json.loads(capsys.readouterr().out)["op"] == 18_231
