"""Configuration of a node: node.toml, the environment and flags become one checked `NodeConfig`.

    flag > SAMTALA_A__B > node.toml > default

An unknown key is an error that names the nearest right one, wherever it came from: a typing mistake must not silently
leave a default in place. Environment names without `__` that resemble no key are left alone, because orchestrators
put names like SAMTALA_SERVICE_HOST there themselves. Values in the environment are text; lists and tables are TOML.
"""

from __future__ import annotations

import difflib
import ipaddress
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Final, Literal, cast, get_type_hints

import msgspec
from msgspec import Meta

from dht.limits import PUBLIC_BOOTSTRAP
from room_server.errors import ConfigError
from wire import limits as wire_limits
from wire.errors import AddressError
from wire.identity import parse_node_address

ENVIRONMENT_PREFIX: Final = "SAMTALA_"
REPLICA_ID_BYTES: Final = 16
ADMIN_SOCKET_NAME: Final = "admin.sock"
ADMIN_SOCKET_BYTES_MAX: Final = 100
"""Of its path: Linux has room for 107 in an address, others for 103."""
PORT_MAX: Final = 65535
_SINGLE_WORD_LIKENESS: Final = 0.75


class Endpoint(msgspec.Struct, frozen=True, order=True):
    """A host name or address, and a port. Text form `host:port`, `[ipv6]:port`."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class PeerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Another server of this cluster."""

    name: Annotated[str, Meta(description="What operators call it; short.")]
    address: Annotated[str, Meta(description="`HOST:PORT#KEY`, as `samtala node init` printed it there.")]


class DhtConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The discovery network, in which links are looked up."""

    enabled: Annotated[bool, Meta(description="Take part in it. Without, links must name a server that is up.")] = True
    listen: Annotated[str, Meta(description="`HOST:PORT`, UDP; empty: as `listen`.")] = ""
    listen_also: Annotated[
        str,
        Meta(description="`HOST:PORT` of the other address family, UDP, to be found over IPv4 and IPv6; empty: none."),
    ] = ""
    bootstrap: Annotated[
        tuple[str, ...], Meta(description="`HOST:PORT` of nodes to find the first neighbours with; empty: the peers.")
    ] = ()
    private: Annotated[
        bool, Meta(description="Only this cluster's servers and `allow` enter the routing table; anyone may ask.")
    ] = True
    allow: Annotated[tuple[str, ...], Meta(description="`HOST:PORT` of further nodes in a private network.")] = ()
    lan: Annotated[
        bool,
        Meta(
            description="Announce on the local network (multicast DNS) which records are here, for links without internet."
        ),
    ] = False
    public: Annotated[
        bool,
        Meta(
            description="Publish rooms in the public BitTorrent DHT as well, through a second node: strangers keep sealed records."
        ),
    ] = False
    public_listen: Annotated[str, Meta(description="`HOST:PORT` of that node, UDP.")] = "0.0.0.0:7613"
    public_bootstrap: Annotated[
        tuple[str, ...], Meta(description="`HOST:PORT` of nodes to find the first neighbours there with.")
    ] = PUBLIC_BOOTSTRAP


class MetricsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """For Prometheus and orchestrators."""

    listen: Annotated[
        str,
        Meta(
            description="`HOST:PORT` of `/metrics`, `/livez` and `/readyz`; empty: nowhere. Keep it off public addresses."
        ),
    ] = "127.0.0.1:7612"


class AdminConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """For `samtala status`, `top`, `check` and `doctor`."""

    socket: Annotated[
        str, Meta(description="Unix socket that `samtala status` and the like ask; empty: `admin.sock` in `data`.")
    ] = ""


class LimitsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a node holds at most."""

    connections: Annotated[int, Meta(description="Connections at once, peers included.")] = 10_000
    rooms: Annotated[int, Meta(description="Rooms hosted.")] = 10_000
    ring_mb: Annotated[int, Meta(description="Recent deliveries kept in memory, MiB.")] = 256
    relays: Annotated[
        int, Meta(description="Connections at once that are carried for peers that name this server as their `relay`.")
    ] = 256
    address_connections: Annotated[
        int, Meta(description="Connections at once from one address (of IPv6: one /64).")
    ] = 256
    address_connects_per_min: Annotated[
        int, Meta(description="New connections a minute from one address, after as many as may be at once.")
    ] = 600
    address_requests_per_s: Annotated[
        int, Meta(description="Calls and blocks a second from one address, after ten seconds' worth at once.")
    ] = 500
    room_blocks_per_s: Annotated[
        int,
        Meta(
            description="Blocks a second of one room's members that are attached here, after ten seconds' worth at once; 0: any."
        ),
    ] = 0
    room_mb: Annotated[
        int, Meta(description="MiB that one room may store; then it takes no messages. 0: as long as there is disk.")
    ] = 0
    exempt: Annotated[
        tuple[str, ...], Meta(description="Networks without limits per address, as those of proxies.")
    ] = ("127.0.0.0/8", "::1/128")


class LogConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is logged to standard error, and how."""

    level: Annotated[Literal["debug", "info", "warning", "error"], Meta(description="From which level on.")] = "info"
    format: Annotated[
        Literal["auto", "json", "console"],
        Meta(description="`auto`: lines for people on a terminal, JSON otherwise."),
    ] = "auto"


class NodeConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything a node is told."""

    name: Annotated[str, Meta(description="What operators call this server; short, unlike its peers' names.")]
    data: Annotated[str, Meta(description="The data folder.")]
    listen: Annotated[
        str, Meta(description="`HOST:PORT`, TCP, for clients and peers; the DHT uses the same port over UDP.")
    ] = "0.0.0.0:7610"
    advertise: Annotated[str, Meta(description="`HOST:PORT` that others dial; empty: as `listen`.")] = ""
    replica_id: Annotated[
        str,
        Meta(
            description="32 hex digits, written by `samtala node init`: the node refuses a data folder of another node."
        ),
    ] = ""
    router: Annotated[
        Literal["off", "auto"],
        Meta(description="`auto`: ask the home router to forward our port (PCP, NAT-PMP); for servers at home."),
    ] = "off"
    relay: Annotated[
        str,
        Meta(
            description="Name of the peer that carries connections to this server, which nobody can dial; `advertise` is its address."
        ),
    ] = ""
    scrub_days: Annotated[
        int, Meta(description="Days between two readings of the whole data folder, in search of damage; 0: never.")
    ] = 7
    peers: Annotated[tuple[PeerConfig, ...], Meta(description="The other servers of this cluster.")] = ()
    dht: DhtConfig = DhtConfig()
    metrics: MetricsConfig = MetricsConfig()
    admin: AdminConfig = AdminConfig()
    limits: LimitsConfig = LimitsConfig()
    log: LogConfig = LogConfig()


RELOADABLE: Final = frozenset(
    {
        "log.level", "log.format", "peers", "limits.connections", "limits.rooms", "limits.address_connections",
        "limits.address_connects_per_min", "limits.address_requests_per_s", "limits.exempt", "limits.relays", "limits.room_blocks_per_s", "limits.room_mb",
    }
)  # fmt: skip
"""What a running node takes over on SIGHUP; the rest needs a restart."""


def changed_keys(old: NodeConfig, new: NodeConfig) -> list[str]:
    """The dotted keys in which two configurations differ."""
    return [key for key in known_keys() if attrgetter(key)(old) != attrgetter(key)(new)]


def admin_socket(config: NodeConfig) -> Path:
    """Where the admin socket is."""
    return Path(config.admin.socket or Path(config.data) / ADMIN_SOCKET_NAME)


def parse_endpoint(text: str) -> Endpoint:
    """Read `host:port` or `[ipv6]:port`.

    Raises:
        ConfigError: no port, or one out of range, or no host.
    """
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ConfigError(f"{text!r}: an IPv6 address needs brackets, as in [::1]:7610")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > PORT_MAX:
        raise ConfigError(f"{text!r} is not HOST:PORT")
    return Endpoint(host, int(port))


def load_config(
    path: Path | None, *, overrides: Mapping[str, object] | None = None, environ: Mapping[str, str] | None = None
) -> NodeConfig:
    """Read and check the configuration of a node.

    Args:
        path: node.toml, or None for none.
        overrides: dotted keys from flags, for example `{"log.level": "debug"}`.
        environ: the environment, whole; only names that begin with SAMTALA_ count.

    Raises:
        ConfigError: an unreadable file, an unknown key, a wrong type or value; the text names key and origin.
    """
    return load_with_origins(path, overrides=overrides, environ=environ)[0]


def load_with_origins(
    path: Path | None, *, overrides: Mapping[str, object] | None = None, environ: Mapping[str, str] | None = None
) -> tuple[NodeConfig, dict[str, str]]:
    """As `load_config`; also where each dotted key that was set comes from: a file, a variable or `flag`.

    Raises:
        ConfigError: as `load_config`.
    """
    merged: dict[str, object] = {}
    origins: dict[str, str] = {}
    if path is not None:
        _merge(merged, origins, _read_file(path), origin=str(path))
    for variable, value in sorted((environ or {}).items()):
        key = _environment_key(variable)
        if key is not None:
            _set(merged, origins, key, _from_text(key, value, variable), origin=variable)
    for key, setting in (overrides or {}).items():
        _check_key(key, origin="flag")
        _set(merged, origins, key, setting, origin="flag")
    try:
        config = msgspec.convert(merged, NodeConfig)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(error, origins)) from error
    _check_values(config)
    return config, origins


def _read_file(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}. `samtala node init` writes a first one.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error


def _merge(merged: dict[str, object], origins: dict[str, str], settings: dict[str, object], *, origin: str) -> None:
    for key, value in settings.items():
        if isinstance(value, dict) and key in _sections():
            for inner, inner_value in value.items():
                _check_key(f"{key}.{inner}", origin=origin)
                _set(merged, origins, f"{key}.{inner}", inner_value, origin=origin)
        else:
            _check_key(key, origin=origin)
            _set(merged, origins, key, value, origin=origin)
            _check_peer_keys(key, value, origin=origin)


def _set(merged: dict[str, object], origins: dict[str, str], key: str, value: object, *, origin: str) -> None:
    section, dot, inner = key.partition(".")
    if dot:
        table = merged.setdefault(section, {})
        assert isinstance(table, dict), "sections are only ever set key by key"
        table[inner] = value
    else:
        merged[key] = value
    origins[key] = origin


@cache
def _sections() -> dict[str, type[msgspec.Struct]]:
    hints = get_type_hints(NodeConfig)
    return {name: hint for name, hint in hints.items() if isinstance(hint, type) and issubclass(hint, msgspec.Struct)}


@cache
def known_keys() -> dict[str, object]:
    """Every key that may be set, dotted, with its type."""
    sections = _sections()
    keys: dict[str, object] = {name: hint for name, hint in get_type_hints(NodeConfig).items() if name not in sections}
    for section, struct in sections.items():
        keys.update({f"{section}.{name}": hint for name, hint in get_type_hints(struct).items()})
    return keys


def _check_key(key: str, *, origin: str) -> None:
    known = known_keys()
    if key not in known:
        raise ConfigError(f"{origin}: unknown key {key!r}{_suggestion(key, [*known, *_sections()])}")


def _check_peer_keys(key: str, value: object, *, origin: str) -> None:
    if key != "peers" or not isinstance(value, list):
        return
    known = list(get_type_hints(PeerConfig))
    for peer in value:
        for inner in peer if isinstance(peer, dict) else ():
            if inner not in known:
                raise ConfigError(f"{origin}: unknown key {'peers.' + inner!r}{_suggestion(inner, known)}")


def _suggestion(key: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(key, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(sorted(known))}"


def _environment_key(variable: str) -> str | None:
    if not variable.startswith(ENVIRONMENT_PREFIX):
        return None
    key = variable.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".")
    known = known_keys()
    if key in known:
        return key
    if "." in key or difflib.get_close_matches(key, list(known), n=1, cutoff=_SINGLE_WORD_LIKENESS):
        near = difflib.get_close_matches(key, list(known), n=1, cutoff=0.5)
        spelled = f"; did you mean {environment_name(near[0])}?" if near else ""
        raise ConfigError(f"environment: unknown key {variable}{spelled}")
    return None


def environment_name(key: str) -> str:
    """The variable that sets a dotted key."""
    return ENVIRONMENT_PREFIX + key.upper().replace(".", "__")


def _from_text(key: str, text: str, variable: str) -> object:
    hint = known_keys()[key]
    if hint is int or hint is bool:
        literal = text.strip().lower()
    elif getattr(hint, "__origin__", None) is tuple:
        literal = text
    else:
        return text
    try:
        return cast("object", tomllib.loads(f"value = {literal}")["value"])
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{variable}: {text!r} is no value for {key}") from error


def _explain(error: msgspec.ValidationError, origins: Mapping[str, str]) -> str:
    text, _, place = str(error).partition(" - at `$.")
    key = place.rstrip("`")
    origin = next(
        (origins[known] for known in origins if key == known or key.startswith((f"{known}[", f"{known}."))), None
    )
    if key:
        return f"{origin or 'configuration'}: {key}: {text}"
    return f"configuration: {text}"


def _check_values(config: NodeConfig) -> None:
    if not 0 < len(config.name) <= wire_limits.NAME_CHARACTERS_MAX:
        raise ConfigError(f"name: 1 to {wire_limits.NAME_CHARACTERS_MAX} characters, not {len(config.name)}")
    if not config.data:
        raise ConfigError("data: a folder is needed")
    for key, text in _endpoints(config):
        try:
            parse_endpoint(text)
        except ConfigError as error:
            raise ConfigError(f"{key}: {error}") from error
    _check_peers(config)
    if len(config.admin.socket.encode()) > ADMIN_SOCKET_BYTES_MAX:
        raise ConfigError(f"admin.socket: a path of at most {ADMIN_SOCKET_BYTES_MAX} bytes is needed")
    _check_limits(config.limits)
    if config.scrub_days < 0:
        raise ConfigError("scrub_days: must be at least 0")
    if config.replica_id:
        replica_id(config)


def _check_limits(limits: LimitsConfig) -> None:
    for key, value in msgspec.structs.asdict(limits).items():
        least = 0 if key.startswith("room_") else 1
        if isinstance(value, int) and value < least:
            raise ConfigError(f"limits.{key}: must be at least {least}")
    for index, network in enumerate(limits.exempt):
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            raise ConfigError(f"limits.exempt[{index}]: {error}; a network is written as 10.0.0.0/8") from error


def _check_peers(config: NodeConfig) -> None:
    for index, peer in enumerate(config.peers):
        try:
            parse_node_address(peer.address)
        except AddressError as error:
            raise ConfigError(f"peers[{index}].address: {error}") from error
    _check_relay(config)
    names = [config.name, *(peer.name for peer in config.peers)]
    if len(set(names)) != len(names):
        raise ConfigError(f"peers: names must differ from each other and from this node's: {', '.join(names)}")


def _check_relay(config: NodeConfig) -> None:
    if not config.relay:
        return
    found = [parse_node_address(peer.address) for peer in config.peers if peer.name == config.relay]
    if not found:
        raise ConfigError(
            f"relay: no peer is called {config.relay!r}; known: {', '.join(p.name for p in config.peers)}"
        )
    place = Endpoint(found[0].host, found[0].port)
    if parse_endpoint(config.advertise or config.listen) != place:
        raise ConfigError(f'relay: others reach this server where {config.relay!r} is, so set advertise = "{place}"')


def _endpoints(config: NodeConfig) -> list[tuple[str, str]]:
    texts = [("listen", config.listen), ("advertise", config.advertise), ("metrics.listen", config.metrics.listen)]
    texts += [("dht.listen", config.dht.listen), ("dht.listen_also", config.dht.listen_also)]
    texts += [(f"dht.bootstrap[{index}]", text) for index, text in enumerate(config.dht.bootstrap)]
    texts += [("dht.public_listen", config.dht.public_listen)] if config.dht.public else []
    texts += [(f"dht.public_bootstrap[{index}]", text) for index, text in enumerate(config.dht.public_bootstrap)]
    return [(key, text) for key, text in texts if text or key == "listen"]


def replica_id(config: NodeConfig) -> bytes | None:
    """The replica id that the data folder must have, 16 bytes; None when the configuration does not say.

    Raises:
        ConfigError: not 32 hex digits.
    """
    if not config.replica_id:
        return None
    try:
        value = bytes.fromhex(config.replica_id)
    except ValueError as error:
        raise ConfigError(f"replica_id: {config.replica_id!r} is not hex") from error
    if len(value) != REPLICA_ID_BYTES:
        raise ConfigError(f"replica_id: {2 * REPLICA_ID_BYTES} hex digits, not {len(config.replica_id)}")
    return value


def default_toml(*, name: str, data: str, listen: str, advertise: str, replica: bytes) -> str:
    """The text of a first node.toml for `samtala node init`; `load_config` reads it back."""
    quote = _quoted
    return f"""\
# A Samtala node. An environment variable SAMTALA_A__B overrides key a.b, a flag overrides both.
name = {quote(name)}
data = {quote(data)}
replica_id = {quote(replica.hex())}  # this data folder's; a node with another folder refuses to start

listen = {quote(listen)}  # TLS over TCP for clients and peers; the DHT uses the same port over UDP
advertise = {quote(advertise)}  # what clients and peers dial

# Servers of one cluster know each other by its roster: samtala cluster create, samtala cluster join.
# Others, which belong to none or to another one, are named here, as `samtala node init` printed them there:
# [[peers]]
# name = "b"
# address = "b.example:7610#…"

[metrics]
listen = {quote(MetricsConfig().listen)}  # /metrics, /livez, /readyz; keep it off public addresses

[log]
level = {quote(LogConfig().level)}
format = {quote(LogConfig().format)}
"""


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()
