"""Writes dashboard.json: nine rows, from "are users fine?" down to the process.

    python deploy/grafana/make_dashboard.py > deploy/grafana/dashboard.json

Every panel's description names the runbook that helps when it looks wrong. No panel asks for a room, a person or an address:
nodes do not export them. The JSON is made here because sixty copies of the same thirty lines cannot be reviewed.
"""

from __future__ import annotations

import json
import sys
from typing import Any

SOURCE = {"type": "prometheus", "uid": "${source}"}
NODES = 'job="samtala",instance=~"$node"'
WIDTH, HEIGHT, COLUMNS = 8, 7, 3
Query = tuple[str, str]
"""A PromQL expression and the legend of its series."""


def rate(name: str, by: str = "") -> str:
    """Events a second of a counter."""
    return f"sum by ({by}) (rate({name}{{{NODES}}}[$__rate_interval]))"


def gauge(name: str, by: str, condition: str = "") -> str:
    """A gauge, summed over everything but `by`."""
    return f"sum by ({by}) ({name}{{{NODES}{condition}}})"


def quantiles(name: str, by: str = "") -> list[Query]:
    """Median and 99th percentile of a histogram."""
    group = f"{by}, le" if by else "le"
    legend = f" {{{{{by}}}}}" if by else ""
    return [
        (
            f"histogram_quantile({q}, sum by ({group}) (rate({name}_bucket{{{NODES}}}[$__rate_interval])))",
            f"p{q * 100:g}{legend}",
        )
        for q in (0.5, 0.99)
    ]


ROWS: list[tuple[str, list[tuple[str, str, str, list[Query]]]]] = [
    ("Are users fine?", [
        ("Probe, sent until read", "s", "probe-failing", [("samtala_probe_duration_seconds", "{{instance}}")]),
        ("Probes that arrive", "percentunit", "probe-failing",
         [("avg_over_time(samtala_probe_success[5m])", "{{instance}}")]),
        ("Acknowledgement", "s", "ack-slow", quantiles("samtala_ack_duration_seconds")),
        ("Delivery", "s", "ack-slow", quantiles("samtala_delivery_duration_seconds")),
        ("Rooms by state", "short", "rooms-unavailable", [(gauge("samtala_rooms", "state"), "{{state}}")]),
        ("Servers that rooms may still lose", "short", "next-failure-stops-rooms",
         [(gauge("samtala_rooms_by_spare_failures", "spare"), "{{spare}} more")]),
        ("What needs a person", "short", "diverged-rooms",
         [(gauge("samtala_diverged_rooms", "instance"), "states differ, {{instance}}"),
          (gauge("samtala_undecidable_rooms", "instance"), "cannot decide, {{instance}}"),
          (gauge("samtala_storage_full", "instance"), "disk full, {{instance}}"),
          (gauge("samtala_damaged_rooms", "instance"), "damaged, {{instance}}"),
          (gauge("samtala_scrub_findings", "instance"), "found by a scrub, {{instance}}"),
          (rate("samtala_checksum_errors_total", "instance, where"), "met in {{where}}, {{instance}}")]),
    ]),
    ("Commit pipeline", [
        ("Operations committed", "ops", "ack-slow", [(rate("samtala_ops_committed_total", "instance"), "{{instance}}")]),
        ("Commit at the primary", "s", "ack-slow", quantiles("samtala_commit_duration_seconds")),
        ("Blocks per operation", "short", "ack-slow", quantiles("samtala_batch_ops")),
        ("Sync of the log", "s", "fsync-slow", quantiles("samtala_wal_fsync_duration_seconds", "instance")),
        ("Uncommitted", "short", "rooms-unavailable", [(gauge("samtala_uncommitted_ops", "instance"), "{{instance}}")]),
    ]),
    ("View changes and repair", [
        ("Views begun", "ops", "view-changes-frequent", [(rate("samtala_view_changes_total", "instance"), "{{instance}}")]),
        ("Length of a view change", "s", "view-changes-frequent", quantiles("samtala_view_change_duration_seconds")),
        ("Recovering or catching up", "short", "repair-stalled",
         [(gauge("samtala_rooms", "instance, state", ',state=~"recovering|catching_up"'), "{{instance}} {{state}}")]),
        ("Rooms led, and rooms asleep", "short", "view-changes-frequent",
         [(gauge("samtala_rooms_led", "instance"), "led, {{instance}}"),
          (gauge("samtala_rooms_cold", "instance"), "cold, {{instance}}")]),
    ]),
    ("Peers", [
        ("Links that stand, and who is reached", "short", "peer-unreachable",
         [(f"samtala_peer_up{{{NODES}}}", "{{instance}} to {{peer}}"),
          (f"samtala_reachable{{{NODES}}}", "others to {{instance}}")]),
        ("Operations a peer lacks", "short", "peer-lagging", [(f"samtala_peer_lag_ops_max{{{NODES}}}", "{{peer}} of {{instance}}")]),
        ("To a peer and back", "s", "peer-slow", [(f"samtala_peer_rtt_seconds{{{NODES}}}", "{{instance}} to {{peer}}")]),
    ]),
    ("Clients", [
        ("Connections", "short", "requests-refused", [(gauge("samtala_client_sessions", "instance"), "{{instance}}")]),
        ("Connections that ended", "ops", "requests-refused", [(rate("samtala_client_disconnects_total", "reason"), "{{reason}}")]),
        ("Refused", "ops", "requests-refused", [(rate("samtala_requests_rejected_total", "reason"), "{{reason}}")]),
        ("Waiting to be sent", "bytes", "requests-refused", [(gauge("samtala_send_queue_bytes", "instance"), "{{instance}}")]),
        ("Handshakes", "ops", "requests-refused", [(rate("samtala_handshakes_total", "result"), "{{result}}")]),
    ]),
    ("Discovery", [
        ("Nodes known", "short", "links-go-stale", [(gauge("samtala_dht_nodes", "instance"), "{{instance}}")]),
        ("Age of the oldest record", "s", "links-go-stale", [(f"samtala_dht_oldest_record_age_seconds{{{NODES}}}", "{{instance}}")]),
        ("Publications", "ops", "links-go-stale", [(rate("samtala_dht_publications_total", "result"), "{{result}}")]),
    ]),
    ("Disk", [
        ("Free", "bytes", "disk-full-soon", [(f"samtala_storage_free_bytes{{{NODES}}}", "{{instance}}")]),
        ("Used", "bytes", "disk-full-soon", [(gauge("samtala_storage_bytes", "kind"), "{{kind}}")]),
        ("Age of the copy", "s", "backup-stale",
         [(f"time() - samtala_backup_last_success_timestamp_seconds{{{NODES}}}", "{{instance}}"),
          (f"time() - samtala_backup_verified_timestamp_seconds{{{NODES}}}", "found whole, {{instance}}")]),
        ("Written to the log", "Bps", "fsync-slow", [(rate("samtala_wal_bytes_total", "instance"), "{{instance}}")]),
    ]),
    ("Process", [
        ("CPU", "percentunit", "loop-lag", [(rate("process_cpu_seconds_total", "instance"), "{{instance}}")]),
        ("Memory", "bytes", "restarts-frequent", [(f"process_resident_memory_bytes{{{NODES}}}", "{{instance}}")]),
        ("Lateness of the loop", "s", "loop-lag", quantiles("samtala_loop_lag_seconds", "instance")),
        ("Versions", "short", "version-skew", [(gauge("samtala_build_info", "version"), "{{version}}")]),
    ]),
]  # fmt: skip


def panel(
    number: int, place: tuple[int, int], title: str, unit: str, runbook: str, queries: list[Query]
) -> dict[str, Any]:
    """One graph."""
    return {
        "id": number,
        "type": "timeseries",
        "title": title,
        "description": f"When this looks wrong: docs/runbooks/{runbook}.md",
        "datasource": SOURCE,
        "gridPos": {"x": place[0], "y": place[1], "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": SOURCE, "expr": expression, "legendFormat": legend}
            for index, (expression, legend) in enumerate(queries)
        ],
    }


def dashboard() -> dict[str, Any]:
    """All rows, top to bottom."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, graphs in ROWS:
        panels.append(
            {"id": len(panels) + 1, "type": "row", "title": title, "collapsed": False, "panels": [],
             "gridPos": {"x": 0, "y": top, "w": WIDTH * COLUMNS, "h": 1}}
        )  # fmt: skip
        top += 1
        for index, (name, unit, runbook, queries) in enumerate(graphs):
            place = (index % COLUMNS * WIDTH, top + index // COLUMNS * HEIGHT)
            panels.append(panel(len(panels) + 1, place, name, unit, runbook, queries))
        top += (len(graphs) + COLUMNS - 1) // COLUMNS * HEIGHT
    return {
        "uid": "samtala",
        "title": "Samtala",
        "tags": ["samtala"],
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {
            "list": [
                {"name": "source", "type": "datasource", "query": "prometheus", "label": "Prometheus"},
                {"name": "node", "type": "query", "label": "Node", "datasource": SOURCE, "multi": True, "includeAll": True,
                 "query": 'label_values(samtala_build_info{job="samtala"}, instance)', "refresh": 2},
            ]
        },
        "panels": panels,
    }  # fmt: skip


if __name__ == "__main__":
    json.dump(dashboard(), sys.stdout, indent=1, ensure_ascii=False)
    sys.stdout.write("\n")
