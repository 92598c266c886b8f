from __future__ import annotations

from dht.counters import Counters


def test_counts_by_word() -> None:
    counters = Counters()
    for _ in range(2):
        counters.drop("malformed")
        counters.answer("get")
        counters.refuse(302)
        counters.end_lookup("found")
        counters.end_put("stored")

    assert counters.dropped == {"malformed": 2}
    assert counters.answered == {"get": 2}
    assert counters.refused == {302: 2}
    assert counters.lookups == {"found": 2}
    assert counters.puts == {"stored": 2}


def test_nodes_do_not_share_counters() -> None:
    Counters().drop("malformed")

    assert Counters().dropped == {}
