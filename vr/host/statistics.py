"""Counters of the host, for whoever draws metrics from them. Plain numbers: vr knows no metrics library."""

from __future__ import annotations

from collections import deque

import msgspec

from vr.host.limits import DURATIONS_KEPT_MAX


class HostStatistics(msgspec.Struct, kw_only=True):
    """Totals since start. Times are seconds: of a write from hand-over until it is durable, of a view change until NORMAL.

    The last DURATIONS_KEPT_MAX of each are kept until somebody takes them out.
    """

    turns: int = 0
    frames_sent: int = 0
    bytes_sent: int = 0
    frames_received: int = 0
    messages_received: int = 0
    messages_for_unknown_groups: int = 0
    frames_dropped_inbox_full: int = 0
    writes: int = 0
    records_written: int = 0
    bytes_written: int = 0
    epochs_begun: int = 0
    operations_committed: int = 0
    checkpoints: int = 0
    groups_cooled: int = 0
    snapshots_offered: int = 0
    snapshots_installed: int = 0
    history_reads_dropped: int = 0
    submits_refused: int = 0
    writes_s: deque[float] = msgspec.field(default_factory=lambda: deque(maxlen=DURATIONS_KEPT_MAX))
    view_changes_s: deque[float] = msgspec.field(default_factory=lambda: deque(maxlen=DURATIONS_KEPT_MAX))
