from __future__ import annotations

import subprocess
import sys

import msgspec

from room_server.cluster_report import ClusterView, JoiningReport


def test_report_crosses_the_socket_unchanged() -> None:
    view = ClusterView(joining=JoiningReport(is_under_way=True, cluster="makers", words="a-b-c", trouble=""))

    assert msgspec.json.decode(msgspec.json.encode(view), type=ClusterView) == view


def test_whoever_reads_reports_need_not_import_a_server() -> None:
    code = "import sys, room_server.cluster_report; print(sorted({'trio', 'structlog', 'vr.host'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert run.stdout == "[]\n"
