"""A support bundle: what helps others to help, without what is nobody's business.

    findings, report, rooms, metrics, tasks, configuration, versions, file sizes ─▶ redact ─▶ one tar.gz, mode 0600

No keys, no addresses, no names of hosts or people: hosts become host-1, host-2, …, the same in every file; rooms are short
hashes already. Nothing of the log, the history or the key file is read.
"""

from __future__ import annotations

import importlib.metadata
import io
import ipaddress
import os
import platform
import re
import sys
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from room_server.config import NodeConfig, parse_endpoint
from wire.identity import parse_node_address

_KEY: Final = re.compile(r"#[a-z2-7]{40,}|\b[a-z2-7]{52}\b|\b[0-9a-f]{32,}\b")
_ADDRESS: Final = re.compile(r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F:]{2,39})(?![\w])")
_LINK: Final = re.compile(r"SAMTALA:[A-Z0-9]+|https?://\S+", re.IGNORECASE)
_HARMLESS: Final = frozenset({"127.0.0.1", "0.0.0.0", "localhost", "::", "::1"})  # noqa: S104 - not bound
_LIBRARIES: Final = ("trio", "msgspec", "pynacl", "h11", "apsw-sqlite3mc", "structlog", "prometheus-client", "click")
_FILES_MAX: Final = 1000


class Redactor:
    """Replaces what must not leave; the same thing by the same word everywhere."""

    def __init__(self, config: NodeConfig) -> None:
        self._words: dict[str, str] = {}
        self._places = ((config.data, "DATA"), (str(Path.home()), "HOME"))
        for host in _hosts(config):
            self._word(host)

    def _word(self, host: str) -> str:
        if host in _HARMLESS:
            return host
        return self._words.setdefault(host, f"host-{len(self._words) + 1}")

    def __call__(self, text: str) -> str:
        """The text without links, keys, addresses, names of hosts and folders of people."""
        for place, word in self._places:
            text = text.replace(place, word)
        text = _LINK.sub("[link]", text)
        text = _KEY.sub("[key]", text)
        for host in sorted(self._words, key=len, reverse=True):
            text = re.sub(rf"(?<![\w.-]){re.escape(host)}(?![\w-])", self._words[host], text)
        return _ADDRESS.sub(self._address, text)

    def _address(self, found: re.Match[str]) -> str:
        """A time of day looks much like an IPv6 address, and is none."""
        try:
            ipaddress.ip_address(found[0])
        except ValueError:
            return found[0]
        return self._word(found[0])


def _hosts(config: NodeConfig) -> Iterable[str]:
    for text in (config.listen, config.advertise, config.metrics.listen, config.dht.listen, config.dht.listen_also):
        if text:
            yield parse_endpoint(text).host
    for text in (*config.dht.bootstrap, *config.dht.allow):
        yield parse_endpoint(text).host
    for peer in config.peers:
        yield parse_node_address(peer.address).host
    yield platform.node()


def machine_facts(data: Path) -> dict[str, object]:
    """Versions, limits of the machine, and names and sizes in the data folder."""
    return {
        "python": sys.version,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "memory": _memory(),
        "libraries": {name: _version(name) for name in ("samtala", *_LIBRARIES)},
        "files": _files(data),
    }


def _memory() -> list[str]:
    try:
        return Path("/proc/meminfo").read_text().splitlines()[:3]
    except OSError:
        return []


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def _files(data: Path) -> list[tuple[str, int, str]]:
    """Name, bytes and mode of what is in the data folder, so many at most."""
    found = []
    try:
        for path in sorted(data.rglob("*"))[:_FILES_MAX]:
            status = path.lstat()
            found.append((str(path.relative_to(data)), status.st_size, f"{status.st_mode:o}"))
    except OSError as error:
        found.append((f"unreadable: {error.strerror}", 0, ""))
    return found


def write_bundle(path: Path, contents: Mapping[str, object], redact: Redactor) -> None:
    """Write texts as they are and other values as JSON, redacted, into a new file that only its owner can read.

    Raises:
        OSError: it exists, or cannot be written.
    """
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as bundle:
        for name, value in contents.items():
            text = value if isinstance(value, str) else msgspec.json.format(msgspec.json.encode(value)).decode()
            data = redact(text).encode()
            entry = tarfile.TarInfo(f"samtala-bundle/{name}")
            entry.size = len(data)
            entry.mode = 0o600
            bundle.addfile(entry, io.BytesIO(data))
