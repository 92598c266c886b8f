from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dht.rates import Proofs, Rates


def rates(**change: float) -> Rates[str]:
    how = {"per_s": 10.0, "burst": 50.0, "sources_max": 4.0} | change
    return Rates(per_s=how["per_s"], burst=how["burst"], sources_max=int(how["sources_max"]))


def test_an_idle_source_has_its_burst_and_then_its_rate() -> None:
    some = rates()

    assert sum(some.allows("a", 0.0) for _ in range(100)) == 50
    assert sum(some.allows("a", 1.0) for _ in range(100)) == 10
    assert sum(some.allows("a", 100.0) for _ in range(100)) == 50


def test_sources_do_not_share() -> None:
    some = rates(burst=1)

    assert some.allows("a", 0.0)
    assert not some.allows("a", 0.0)
    assert some.allows("b", 0.0)


def test_costs_count() -> None:
    some = rates()

    assert some.allows("a", 0.0, cost=50)
    assert not some.allows("a", 4.9, cost=50)
    assert some.allows("a", 5.0, cost=50)


def test_a_refusal_takes_nothing() -> None:
    some = rates(burst=1)
    some.take("a", 0.0)

    for _ in range(100):
        assert not some.allows("a", 0.05)
    assert some.allows("a", 0.1)


def test_the_delay_is_how_long_to_wait() -> None:
    some = rates(burst=1)
    some.take("a", 0.0)
    some.take("a", 0.0)

    assert abs(some.delay("a", 0.0) - 0.2) < 1e-9
    assert some.delay("a", 0.2) < 1e-9


def test_the_longest_idle_source_is_forgotten() -> None:
    some = rates(burst=1, sources_max=2)
    for source in ("a", "b", "a", "c"):
        some.take(source, 0.0)

    assert len(some) == 2
    assert some.allows("b", 0.0), "forgotten, so it begins anew"


@given(st.lists(st.floats(0, 5), min_size=1, max_size=300))
def test_never_more_than_burst_and_rate(gaps: list[float]) -> None:
    some, now, passed = rates(burst=5, per_s=2), 0.0, 0
    for gap in gaps:
        now += gap / 10
        passed += some.allows("a", now)

    assert passed <= 5 + 2 * now + 1e-6


def test_proofs_grow_old() -> None:
    proofs: Proofs[str] = Proofs(life_s=600, sources_max=2)
    proofs.prove("a", 0.0)

    assert proofs.is_proven("a", 600.0)
    assert not proofs.is_proven("a", 600.1)
    assert not proofs.is_proven("b", 0.0)
    proofs.prove("b", 0.0)
    proofs.prove("c", 0.0)
    assert not proofs.is_proven("a", 0.0)
