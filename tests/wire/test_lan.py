from __future__ import annotations

from wire.lan import TARGET_BYTES, TARGETS_MAX, lan_properties, lan_targets

TARGETS = [bytes([place]) * TARGET_BYTES for place in range(TARGETS_MAX + 1)]


def test_targets_survive_the_network_up_to_a_bound() -> None:
    told = {key.encode(): value for key, value in lan_properties(TARGETS).items()}

    assert lan_targets(told) == TARGETS[:TARGETS_MAX]
    assert sum(1 + len(key) + 1 + len(value) for key, value in told.items()) < 900


def test_what_strangers_announce_is_passed_over() -> None:
    assert lan_targets({b"t0": b"short", b"t1": None, b"t2": TARGETS[2], b"t32": TARGETS[3], b"x": b""}) == [TARGETS[2]]
