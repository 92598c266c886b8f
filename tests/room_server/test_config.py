from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from room_server.config import (
    RELOADABLE,
    Endpoint,
    NodeConfig,
    changed_keys,
    default_toml,
    known_keys,
    load_config,
    parse_endpoint,
    replica_id,
)
from room_server.errors import ConfigError

KEY = "a" * 52
MINIMAL = 'name = "a"\ndata = "/srv/a"\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "node.toml"
    path.write_text(text)
    return path


def test_minimal_file_gets_the_defaults(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, MINIMAL))

    assert config == NodeConfig(name="a", data="/srv/a")
    assert config.listen == "0.0.0.0:7610"
    assert config.metrics.listen == "127.0.0.1:7612"


def test_flag_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    path = written(tmp_path, MINIMAL + '[log]\nlevel = "error"\n[limits]\nrooms = 7\nconnections = 8\n')

    config = load_config(
        path,
        overrides={"log.level": "debug"},
        environ={"SAMTALA_LOG__LEVEL": "warning", "SAMTALA_LIMITS__ROOMS": "9"},
    )

    assert (config.log.level, config.limits.rooms, config.limits.connections) == ("debug", 9, 8)


def test_no_file_is_needed_when_flags_say_enough() -> None:
    config = load_config(None, overrides={"name": "a", "data": "x"})

    assert config.data == "x"


def test_lists_and_booleans_come_from_the_environment_as_toml() -> None:
    environ = {
        "SAMTALA_NAME": "a",
        "SAMTALA_DATA": "x",
        "SAMTALA_PEERS": '[{name = "b", address = "b:1#' + KEY + '"}]',
        "SAMTALA_DHT__ENABLED": "False",
        "SAMTALA_DHT__BOOTSTRAP": '["b:1"]',
    }

    config = load_config(None, environ=environ)

    assert config.peers[0].address == f"b:1#{KEY}"
    assert not config.dht.enabled
    assert config.dht.bootstrap == ("b:1",)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("nmae = 1\n", "unknown key 'nmae'; did you mean 'name'?"),
        ('[log]\nlevle = "info"\n', "unknown key 'log.levle'; did you mean 'log.level'?"),
        ("[lgo]\n", "unknown key 'lgo'; did you mean 'log'?"),
        ("zzzzzz = 1\n", "known are"),
        ('[[peers]]\nname = "b"\nadress = "b:1"\n', "unknown key 'peers.adress'; did you mean 'address'?"),
        ('[[peers]]\nname = "b"\n', "missing required field `address`"),
        ('[[peers]]\nname = "b"\naddress = "b"\n', "peers[0].address: 'b' has no key"),
        (f'[[peers]]\nname = "a"\naddress = "b:1#{KEY}"\n', "names must differ"),
        ("peers = 3\n", "peers: Expected `array`"),
        ("log = 3\n", "unknown key 'log'"),
        ("[limits]\nrooms = 0\n", "limits.rooms: must be at least 1"),
        ('[limits]\nrooms = "many"\n', "limits.rooms: Expected `int`, got `str`"),
        ('[log]\nlevel = "loud"\n', "log.level: Invalid enum value 'loud'"),
        ('listen = "7610"\n', "listen: '7610' is not HOST:PORT"),
        ('listen = "::1:7610"\n', "IPv6 address needs brackets"),
        ('listen = "a:70000"\n', "is not HOST:PORT"),
        ('listen = ""\n', "listen: '' is not HOST:PORT"),
        ('advertise = "x"\n', "advertise: 'x' is not HOST:PORT"),
        ('[metrics]\nlisten = "x"\n', "metrics.listen: 'x' is not HOST:PORT"),
        ('[dht]\nbootstrap = ["x"]\n', "dht.bootstrap[0]: 'x' is not HOST:PORT"),
        ('replica_id = "zz"\n', "is not hex"),
        ('replica_id = "00"\n', "32 hex digits, not 2"),
        ("= 3\n", "not TOML"),
    ],
)
def test_wrong_file_is_refused_with_what_is_wrong(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(written(tmp_path, MINIMAL + text))

    assert complaint in str(caught.value)


def test_wrong_value_names_the_file_that_holds_it(tmp_path: Path) -> None:
    path = written(tmp_path, MINIMAL + "[limits]\nrooms = 1.5\n")

    with pytest.raises(ConfigError, match=r"node\.toml: limits\.rooms"):
        load_config(path)


@pytest.mark.parametrize(
    "text", ['name = ""\ndata = "x"\n', f'name = "{"n" * 65}"\ndata = "x"\n', 'name = "a"\ndata = ""\n']
)
def test_empty_or_long_names_and_an_empty_folder_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        load_config(written(tmp_path, text))


def test_missing_file_names_the_next_command(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="samtala node init"):
        load_config(tmp_path / "none.toml")


def test_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_bytes(b"\xff\xfe")

    with pytest.raises(ConfigError, match="not TOML"):
        load_config(path)


@pytest.mark.parametrize(
    ("variable", "complaint"),
    [
        ("SAMTALA_LOG__LEVLE", "unknown key SAMTALA_LOG__LEVLE; did you mean SAMTALA_LOG__LEVEL?"),
        ("SAMTALA_LISTENN", "did you mean SAMTALA_LISTEN?"),
        ("SAMTALA_QQ__QQQQQQQQQ", "unknown key SAMTALA_QQ__QQQQQQQQQ"),
    ],
)
def test_unknown_environment_key_is_refused_with_the_nearest(variable: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, overrides={"name": "a", "data": "x"}, environ={variable: "x"})

    assert complaint in str(caught.value)


def test_names_that_orchestrators_inject_are_left_alone() -> None:
    environ = {"SAMTALA_SERVICE_HOST": "10.0.0.1", "SAMTALA_PORT": "tcp://10.0.0.1:7610", "PATH": "/bin"}

    assert load_config(None, overrides={"name": "a", "data": "x"}, environ=environ).name == "a"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SAMTALA_LIMITS__ROOMS", "many"),
        ("SAMTALA_DHT__ENABLED", "yes"),
        ("SAMTALA_PEERS", "[[["),
        ("SAMTALA_LIMITS__ROOMS", "1.5"),
    ],
)
def test_wrong_environment_value_names_its_variable(variable: str, value: str) -> None:
    with pytest.raises(ConfigError, match=variable):
        load_config(None, overrides={"name": "a", "data": "x"}, environ={variable: value})


def test_unknown_flag_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"flag: unknown key 'log\.leve'; did you mean 'log\.level'"):
        load_config(None, overrides={"log.leve": "info"})


def test_missing_name_is_said() -> None:
    with pytest.raises(ConfigError, match="missing required field `name`"):
        load_config(None)


def test_every_struct_field_is_a_known_key() -> None:
    assert {"name", "peers", "dht.listen", "metrics.listen", "limits.rooms", "log.format"} <= set(known_keys())


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("a.example:1", Endpoint("a.example", 1)),
        ("[::1]:65535", Endpoint("::1", 65535)),
        ("127.0.0.1:0", Endpoint("127.0.0.1", 0)),
    ],
)
def test_endpoint_round_trip(text: str, endpoint: Endpoint) -> None:
    assert parse_endpoint(text) == endpoint
    assert str(endpoint) == text


@given(st.text(max_size=30))
def test_any_text_is_an_endpoint_or_a_config_error(text: str) -> None:
    try:
        endpoint = parse_endpoint(text)
    except ConfigError:
        return
    assert parse_endpoint(str(endpoint)) == endpoint


@given(name=st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=64))
def test_first_file_reads_back(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    text = default_toml(
        name=name, data="/srv/a b", listen="0.0.0.0:1", advertise="a.example:1", replica=bytes(range(16))
    )

    config = load_config(written(tmp_path_factory.mktemp("first"), text))

    assert config == NodeConfig(
        name=name,
        data="/srv/a b",
        listen="0.0.0.0:1",
        advertise="a.example:1",
        replica_id=bytes(range(16)).hex(),
    )
    assert replica_id(config) == bytes(range(16))


def test_what_changed_is_told_by_key() -> None:
    old = NodeConfig(name="a", data="/srv/a")
    new = load_config(None, overrides={"name": "a", "data": "/srv/b", "log.level": "debug"})

    assert sorted(changed_keys(old, new)) == ["data", "log.level"]
    assert changed_keys(old, old) == []
    assert set(known_keys()) >= RELOADABLE
