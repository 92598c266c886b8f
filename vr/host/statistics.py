"""Counters of the host, for whoever draws metrics from them. Plain numbers: vr knows no metrics library."""

from __future__ import annotations

import msgspec


class HostStatistics(msgspec.Struct, kw_only=True):
    """Totals since start. Sync times are seconds, measured from hand-over to completion."""

    turns: int = 0
    frames_sent: int = 0
    bytes_sent: int = 0
    frames_received: int = 0
    messages_received: int = 0
    messages_for_unknown_groups: int = 0
    frames_dropped_inbox_full: int = 0
    writes: int = 0
    records_written: int = 0
    last_write_s: float = 0.0
    slowest_write_s: float = 0.0
    operations_committed: int = 0
    checkpoints: int = 0
    history_reads_dropped: int = 0
    submits_refused: int = 0
