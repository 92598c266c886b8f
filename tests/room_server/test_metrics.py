from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from room_server.metrics import DISCONNECT_REASONS, NodeMetrics
from wire.errors import RefusalCode


def series(metrics: NodeMetrics) -> dict[str, float]:
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }


def test_fresh_node_stays_within_its_budget_of_series() -> None:
    metrics = NodeMetrics(version="1", peers=["b", "c"])

    assert len(series(metrics)) <= 300


def test_the_public_network_has_series_of_its_own_where_it_is_used() -> None:
    metrics = NodeMetrics(version="1", peers=["b", "c"], has_public_dht=True)

    assert "samtala_public_dht_nodes[]" in series(metrics)
    assert not any("public_dht" in name for name in series(NodeMetrics(version="1", peers=[])))
    assert len(series(metrics)) <= 400


def test_no_creation_times_are_exported() -> None:
    assert "_created" not in NodeMetrics(version="1", peers=[]).render().decode()


def test_every_refusal_code_and_disconnect_reason_is_there_before_it_happens() -> None:
    found = series(NodeMetrics(version="1", peers=[]))

    for code in RefusalCode:
        assert found[f"samtala_requests_rejected_total[('reason', '{code.name.lower()}')]"] == 0
    for reason in DISCONNECT_REASONS:
        assert found[f"samtala_client_disconnects_total[('reason', '{reason}')]"] == 0


def test_disconnects_are_counted_by_cause_and_strange_causes_as_protocol() -> None:
    metrics = NodeMetrics(version="1", peers=[])

    metrics.disconnected("idle")
    metrics.disconnected("something_new")

    found = series(metrics)
    assert found["samtala_client_disconnects_total[('reason', 'idle')]"] == 1
    assert found["samtala_client_disconnects_total[('reason', 'protocol')]"] == 1


def test_two_nodes_in_one_process_do_not_share_series() -> None:
    first, second = NodeMetrics(version="1", peers=["b"]), NodeMetrics(version="1", peers=["b"])

    first.peer_up["b"].set(1)

    assert series(first)["samtala_peer_up[('peer', 'b')]"] == 1
    assert series(second)["samtala_peer_up[('peer', 'b')]"] == 0
