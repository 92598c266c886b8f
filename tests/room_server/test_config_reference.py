from __future__ import annotations

from room_server.config import known_keys
from room_server.config_reference import json_schema, markdown, options


def test_every_option_is_described_and_none_is_forgotten() -> None:
    found = {option.key: option for option in options()}

    assert set(known_keys()) == {key for key in found if "[]" not in key}
    assert {"peers[].name", "peers[].address"} <= set(found)
    for option in found.values():
        assert option.description.endswith("."), option.key
        assert option.kind
    assert found["dht.private"].variable == "SAMTALA_DHT__PRIVATE"
    assert (found["name"].default, found["log.level"].default) == (None, '"info"')
    assert found["log.level"].kind == "`debug` or `error` or `info` or `warning`"


def test_there_are_few_enough_options_to_read_them_all() -> None:
    assert len(options()) <= 50


def test_table_has_a_row_for_each_option() -> None:
    rows = markdown().splitlines()

    assert len(rows) == 2 + len(options())
    assert "| `limits.rooms` | number | `10000` | Rooms hosted. |" in rows


def test_schema_refuses_what_the_node_refuses() -> None:
    definitions = json_schema()["$defs"]

    assert isinstance(definitions, dict)
    assert definitions["NodeConfig"]["required"] == ["name", "data"]
    assert definitions["NodeConfig"]["additionalProperties"] is False
