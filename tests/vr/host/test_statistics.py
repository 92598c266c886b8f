from __future__ import annotations

from vr.host.statistics import HostStatistics


def test_counters_begin_at_nothing() -> None:
    statistics = HostStatistics()

    assert not any(getattr(statistics, name) for name in HostStatistics.__struct_fields__)
