from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest
import structlog

from room_server.config import LogConfig
from room_server.logs import configure_logs, room_label


@pytest.fixture(autouse=True)
def clean_structlog() -> Iterator[None]:
    yield
    structlog.reset_defaults()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_are_json_with_event_level_time_and_node_unless_on_a_terminal() -> None:
    stream = io.StringIO()

    configure_logs(LogConfig(), node="a", stream=stream)
    structlog.get_logger().info("node_started", port=7)

    line = json.loads(stream.getvalue())
    assert (line["event"], line["level"], line["node"], line["port"]) == ("node_started", "info", "a", 7)
    assert "timestamp" in line


def test_terminal_gets_lines_for_people() -> None:
    stream = Terminal()

    configure_logs(LogConfig(), node="a", stream=stream)
    structlog.get_logger().info("node_started")

    assert "node_started" in stream.getvalue()
    assert "{" not in stream.getvalue()


def test_terminal_gets_json_when_asked_to() -> None:
    stream = Terminal()

    configure_logs(LogConfig(format="json"), node="a", stream=stream)
    structlog.get_logger().info("node_started")

    assert json.loads(stream.getvalue())["event"] == "node_started"


def test_levels_below_the_configured_one_are_silent() -> None:
    stream = io.StringIO()

    configure_logs(LogConfig(level="warning"), node="a", stream=stream)
    structlog.get_logger().info("room_created")
    structlog.get_logger().warning("peer_lost")

    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["peer_lost"]


def test_room_label_tells_rooms_apart_without_showing_them() -> None:
    first, second = bytes(16), bytes([1]) + bytes(15)

    assert room_label(first) != room_label(second)
    assert first.hex()[:8] != room_label(first)
    assert len(room_label(first)) == 8
