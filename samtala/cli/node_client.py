"""Questions to a running node over its admin socket (`room_server.admin`): HTTP over a Unix socket, one at a time."""

from __future__ import annotations

import http.client
import socket
from pathlib import Path
from typing import TypeVar

import msgspec

from client.errors import RefusedError, UnavailableError
from room_server.config import ADMIN_SOCKET_BYTES_MAX

_T = TypeVar("_T")
PATIENCE_S = 15.0
"""Seconds for one answer: more than a node gives itself."""


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=PATIENCE_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(PATIENCE_S)
        self.sock.connect(str(self._path))


def fetch(path: Path, target: str, *, method: str = "GET") -> bytes:
    """Ask the node whose admin socket is at `path`, or (POST) have it do something.

    Raises:
        UnavailableError: no node listens there.
        RefusedError: it may not be asked, or not that.
    """
    if len(bytes(path)) > ADMIN_SOCKET_BYTES_MAX:
        raise UnavailableError(f"{path} is too long a name for a socket; set admin.socket in node.toml")
    connection = _Connection(path)
    try:
        connection.request(method, target)
        answer = connection.getresponse()
        body = answer.read()
    except PermissionError as error:
        raise RefusedError(f"{path} is not yours to open; ask as the user that runs the node, or with sudo") from error
    except (OSError, http.client.HTTPException) as error:
        raise UnavailableError(
            f"no node answers at {path} ({error}). Is it running? `samtala node serve` starts it; --config or --socket"
            " name another one"
        ) from error
    finally:
        connection.close()
    if answer.status == http.HTTPStatus.CONFLICT:
        raise RefusedError(body.decode(errors="replace").strip())
    if answer.status != http.HTTPStatus.OK:
        raise RefusedError(f"the node at {path} does not answer {target}: {body.decode(errors='replace').strip()}")
    return body


def ask(path: Path, target: str, kind: type[_T]) -> _T:
    """Ask for a value.

    Raises:
        UnavailableError: no node listens there, or one of another version.
        RefusedError: it may not be asked, or not that.
    """
    return _decoded(path, fetch(path, target), kind)


def tell(path: Path, target: str, kind: type[_T]) -> _T:
    """Have the node do something; returns what it answers.

    Raises:
        UnavailableError: no node listens there, or one of another version.
        RefusedError: it may not be told, or refuses; the text says why.
    """
    return _decoded(path, fetch(path, target, method="POST"), kind)


def _decoded(path: Path, body: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise UnavailableError(f"the node at {path} is of another version than this command: {error}") from error
