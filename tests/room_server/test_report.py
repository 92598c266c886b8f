from __future__ import annotations

import subprocess
import sys

import msgspec

from room_server.report import NodeReport
from tests.samtala.operate.reports import node_report


def test_report_crosses_the_socket_unchanged() -> None:
    report = node_report(dht=None)

    assert msgspec.json.decode(msgspec.json.encode(report), type=NodeReport) == report


def test_whoever_reads_reports_need_not_import_a_server() -> None:
    code = "import sys, room_server.report; print(sorted({'trio', 'structlog', 'vr.host'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert run.stdout == "[]\n"
