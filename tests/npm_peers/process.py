"""Installing a peer outside the repository, and talking to it."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

__all__ = ["PeerMissingError", "PeerProcess", "PeerRefusalError", "open_peer"]

_LINES: Final = Path(__file__).parent / "lines.mjs"
INSTALL_TIMEOUT_S: Final = 180
NODE_MAJOR_MIN: Final = 20


class PeerMissingError(Exception):
    """The peer cannot run here; the text says why."""


class PeerRefusalError(Exception):
    """The peer refused a request; the text is its stack."""


def _files(peer: Path) -> list[Path]:
    return [_LINES, *sorted(peer.iterdir())]


@cache
def install(peer: Path) -> Path:
    """Install a peer into the user's cache, named by what is installed; returns its folder.

    Raises:
        PeerMissingError: no node, no npm, or no registry.
    """
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise PeerMissingError("node and npm are not installed")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.removeprefix("v").split(".")[0]) < NODE_MAJOR_MIN:
        raise PeerMissingError(f"node {version} is older than {NODE_MAJOR_MIN}")
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in _files(peer))).hexdigest()[:16]
    cache_folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "samtala-tests"
    target = cache_folder / f"{peer.name}-{digest}"
    if target.exists():
        return target
    building = cache_folder / f"{peer.name}-{digest}.{os.getpid()}"
    building.mkdir(parents=True)
    try:
        for path in _files(peer):
            shutil.copy(path, building)
        _npm_ci(building)
        with contextlib.suppress(OSError):  # another test process was faster
            building.rename(target)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return target


def _npm_ci(folder: Path) -> None:
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--omit-lockfile-registry-resolved=true"]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise PeerMissingError("npm did not finish in time: no registry?") from error
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("npm error")]
        raise PeerMissingError(f"npm could not install it: {'; '.join(errors[:3])}")


class PeerProcess:
    """A running peer with all its devices."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._numbers = itertools.count()

    def call(self, op: str, **request: Any) -> dict[str, Any]:
        """Ask for one operation and wait.

        Raises:
            PeerRefusalError: the peer refused, or died.
        """
        requests, answers = self._process.stdin, self._process.stdout
        assert requests is not None, "the process was started with pipes"
        assert answers is not None, "the process was started with pipes"
        number = next(self._numbers)
        requests.write(json.dumps({"id": number, "op": op, **request}) + "\n")
        requests.flush()
        line = answers.readline()
        if not line:
            raise PeerRefusalError(f"the peer died with {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        assert answer.pop("id") == number, "peers answer in order"
        if not answer.pop("ok"):
            raise PeerRefusalError(answer["error"])
        return answer


@contextlib.contextmanager
def open_peer(peer: Path) -> Iterator[PeerProcess]:
    """Start the peer of a folder.

    Raises:
        PeerMissingError: it cannot run here.
    """
    folder = install(peer)
    process = subprocess.Popen(
        ["node", "peer.mjs"], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            yield PeerProcess(process)
        finally:
            process.kill()
