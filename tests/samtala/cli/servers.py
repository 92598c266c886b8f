"""Three `samtala node serve` processes, and the command line as people run it."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import msgspec

from samtala.cli import main
from samtala.demo.cluster import free_port

START_TRIES_MAX = 600
COMMAND_S_MAX = 60.0
ROOT = Path(__file__).parent.parent.parent.parent


class Done(msgspec.Struct, frozen=True):
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, object]]:
        """Standard output as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


class Community:
    """Three servers on loopback, and a folder for people's profiles."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.addresses: list[str] = []
        self._metrics: list[int] = []
        self._processes: list[subprocess.Popen[bytes]] = []

    def samtala(self, *arguments: str, person: str = "alice", text: str | None = None) -> Done:
        """Run one command for a person, in this process: starting an interpreter takes longer than most commands."""
        out, err, before = io.StringIO(), io.StringIO(), sys.stdin
        sys.stdin = io.StringIO(text or "")
        try:
            with redirect_stdout(out), redirect_stderr(err):
                code = main(["--profile", str(self.folder / person), *arguments])
        finally:
            sys.stdin = before
        assert "Traceback" not in err.getvalue(), err.getvalue()
        return Done(code, out.getvalue(), err.getvalue())

    def command(self, *arguments: str, person: str = "alice") -> list[str]:
        """The words of a command."""
        return [sys.executable, "-m", "samtala", "--profile", str(self.folder / person), *arguments]

    def start(self) -> None:
        """Set up and start the servers, and wait until each says that it is ready."""
        self._init("abc")
        for name in "abc":
            with (self.folder / name / "node.toml").open("a") as file:
                for peer, address in zip("abc", self.addresses, strict=True):
                    if peer != name:
                        file.write(f'\n[[peers]]\nname = "{peer}"\naddress = "{address}"\n')
        for name in "abc":
            self._processes.append(self._serve(name))
        for place in range(3):
            self.wait_ready(place)

    def start_strangers(self, names: str) -> None:
        """Set up and start servers of which none knows another."""
        self._init(names)
        for name in names:
            self._processes.append(self._serve(name))
        for place in range(len(names)):
            self.wait_ready(place)

    def _init(self, names: str) -> None:
        ports = [free_port() for _ in names]
        self._metrics = [free_port() for _ in names]
        for name, port, metrics in zip(names, ports, self._metrics, strict=True):
            done = self.samtala(
                "node", "init", "--name", name, "--data", str(self.folder / name),
                "--listen", f"127.0.0.1:{port}", "--metrics", f"127.0.0.1:{metrics}",
            )  # fmt: skip
            assert done.code == 0, done.err
            self.addresses.append(done.out.strip())

    def _serve(self, name: str) -> subprocess.Popen[bytes]:
        log = (self.folder / f"{name}.log").open("ab")
        config = str(self.folder / name / "node.toml")
        with log:
            return subprocess.Popen(self.command("node", "serve", "--config", config), cwd=ROOT, stdout=log, stderr=log)

    def wait_ready(self, place: int) -> None:
        """Return when a server's own health check says that it is ready."""
        address = f"http://127.0.0.1:{self._metrics[place]}/readyz"
        for _ in range(START_TRIES_MAX):
            assert self._processes[place].poll() is None, (self.folder / f"{'abcd'[place]}.log").read_text()
            try:
                with urllib.request.urlopen(address, timeout=2) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                try:
                    self._processes[place].wait(0.05)
                except subprocess.TimeoutExpired:
                    continue
        raise AssertionError("the server did not become ready")

    @property
    def pids(self) -> list[int]:
        """Process ids of the servers."""
        return [process.pid for process in self._processes]

    def metrics(self, place: int) -> bytes:
        """What a server tells Prometheus."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._metrics[place]}/metrics", timeout=5) as answer:
            body: bytes = answer.read()
            return body

    def kill(self, place: int) -> None:
        """SIGKILL a server."""
        self._processes[place].kill()
        self._processes[place].wait()

    def restart(self, place: int) -> None:
        """Start a killed server again."""
        self._processes[place] = self._serve("abc"[place])
        self.wait_ready(place)

    def take_over(self, name: str, lost: str) -> str:
        """Set up another server with the key of one that is lost; its configuration file. `start_as` starts it."""
        place = "abc".index(lost)
        listen = self.addresses[place].partition("#")[0]
        folder = self.folder / name
        done = self.samtala(
            "node", "init", "--name", name, "--data", str(folder), "--listen", listen,
            "--metrics", f"127.0.0.1:{self._metrics[place]}",
        )  # fmt: skip
        assert done.code == 0, done.err
        (folder / "identity.key").write_bytes((self.folder / lost / "identity.key").read_bytes())
        return str(folder / "node.toml")

    def start_as(self, place: int, name: str) -> None:
        """Start a server that took over from the one of this place."""
        self._processes[place] = self._serve(name)
        self.wait_ready(place)

    def terminate(self, place: int) -> int:
        """SIGTERM a server; its exit code."""
        self._processes[place].send_signal(signal.SIGTERM)
        return self._processes[place].wait(COMMAND_S_MAX)

    def end(self) -> None:
        """Kill what is still running."""
        for process in self._processes:
            process.kill()
            process.wait()


@contextmanager
def open_strangers(folder: Path, names: str) -> Iterator[Community]:
    """Servers of which none knows another, for the time of the block."""
    os.environ.pop("SAMTALA_PROFILE", None)
    community = Community(folder)
    try:
        community.start_strangers(names)
        yield community
    finally:
        community.end()


@contextmanager
def open_community(folder: Path) -> Iterator[Community]:
    """A community for the time of the block."""
    os.environ.pop("SAMTALA_PROFILE", None)
    community = Community(folder)
    try:
        community.start()
        yield community
    finally:
        community.end()
