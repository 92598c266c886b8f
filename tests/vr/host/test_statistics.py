from __future__ import annotations

from vr.host.statistics import HostStatistics


def test_counters_begin_at_nothing() -> None:
    statistics = HostStatistics()

    assert all(getattr(statistics, name) == 0 for name in HostStatistics.__struct_fields__)
