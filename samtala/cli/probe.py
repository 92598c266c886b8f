"""`samtala probe`: measure from sending to reading, once for a script or again and again for Prometheus."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import click
import msgspec
import trio

from client.errors import SamtalaError, UnavailableError, UsageError
from client.profile import profile_folder
from room_server.config import parse_endpoint
from room_server.errors import ConfigError
from room_server.health import EXPOSITION
from room_server.http import Answer, serve_http
from samtala.cli.run import explained, run, with_json
from samtala.cli.settings import Settings
from samtala.cli.show import put, put_json
from samtala.operate.probe import Outcome, Pair, ProbeMetrics, open_pair
from samtala.operate.units import milliseconds

JOIN_S_MAX = 60.0
"""For two members to come in: each waits for a commit of the other on a slow link."""


@click.command()
@click.argument("link", required=False)
@click.option("--link-file", type=click.Path(dir_okay=False, path_type=Path),
              help="File whose first line is the link; nobody sees it among the processes then.")  # fmt: skip
@click.option("--every", "period_s", type=click.FloatRange(min=1), metavar="SECONDS", help="Again and again.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0.1), default=10.0, show_default=True,
              help="Seconds after which a probe has failed.")  # fmt: skip
@click.option("--metrics", metavar="HOST:PORT", help="With --every: where Prometheus asks.")
@click.option("--textfile", type=click.Path(dir_okay=False, path_type=Path),
              help="Write metrics there after each probe, for node_exporter's textfile collector.")  # fmt: skip
@with_json
@click.pass_obj
def probe(
    settings: Settings,
    link: str | None,
    *,
    link_file: Path | None,
    period_s: float | None,
    timeout_s: float,
    metrics: str | None,
    textfile: Path | None,
    as_json: bool,
) -> None:
    """Measure how long a message takes from one member to another through the room behind LINK.

    \b
    samtala room create probes --node HOST:PORT#KEY        # a room of its own, once
    samtala probe LINK
    samtala probe --link-file probe.link --every 30 --metrics 127.0.0.1:7613

    Two members, `probe` and `probe-reader`, join on first use. Exit code 0: read in time; 5: not.
    """  # noqa: D301 - click reads the backspace as "keep these lines"
    if metrics is not None and period_s is None:
        raise click.UsageError("--metrics needs --every: nobody could scrape a command that has ended")
    if (link is None) == (link_file is None):
        raise click.UsageError("a LINK is needed, or --link-file with one")
    with explained():
        prober = _Prober(
            settings, link or _first_line(link_file), timeout_s=timeout_s, textfile=textfile, as_json=as_json
        )
    run(prober.once if period_s is None else partial(prober.forever, period_s, metrics))


def _first_line(path: Path | None) -> str:
    try:
        return "" if path is None else path.read_text(encoding="utf-8").partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error


class _Prober:
    """The command with its options."""

    def __init__(
        self, settings: Settings, link: str, *, timeout_s: float, textfile: Path | None, as_json: bool
    ) -> None:
        folder = profile_folder(settings.profile or "probe")
        self._profiles = (folder, folder.with_name(f"{folder.name}-reader"))
        self._link = link
        self._timeout_s = timeout_s
        self._textfile = textfile
        self._as_json = as_json
        self._metrics = ProbeMetrics()

    async def once(self) -> None:
        """Measure once; a failure is the command's."""
        async with open_pair(self._profiles, self._link, JOIN_S_MAX) as pair:
            outcome = await pair.measure(self._timeout_s)
        await self._tell(outcome)
        if not outcome.success:
            raise UnavailableError(f"the probe failed: {outcome.reason}")

    async def forever(self, period_s: float, metrics: str | None) -> None:
        """Measure every `period_s` seconds; who cannot get in has failed too, and tries again."""
        async with trio.open_nursery() as nursery:
            if metrics is not None:
                nursery.start_soon(serve_http, await _listen(metrics), {b"/metrics": self._exposition})
            while True:
                try:
                    async with open_pair(self._profiles, self._link, JOIN_S_MAX) as pair:
                        await self._rounds(pair, period_s)
                except UsageError:
                    raise
                except SamtalaError as error:
                    await self._tell(Outcome(success=False, duration_s=JOIN_S_MAX, reason=str(error)))
                await trio.sleep(period_s)

    async def _rounds(self, pair: Pair, period_s: float) -> None:
        """Until a round finds the room over; the next pair opens it anew."""
        while not pair.is_over:
            due = trio.current_time() + period_s
            await self._tell(await pair.measure(self._timeout_s))
            await trio.sleep_until(due)

    async def _exposition(self, _query: bytes) -> Answer:
        return Answer(self._metrics.render(), EXPOSITION)

    async def _tell(self, outcome: Outcome) -> None:
        self._metrics.note(outcome)
        if self._textfile is not None:
            await trio.to_thread.run_sync(_replace, self._textfile, self._metrics.render())
        if self._as_json:
            put_json(msgspec.to_builtins(outcome))
        elif outcome.success:
            put(f"read after {milliseconds(outcome.duration_s * 1e3)}")
        else:
            put(f"failed after {milliseconds(outcome.duration_s * 1e3)}: {outcome.reason}")


def _replace(path: Path, text: bytes) -> None:
    """Readers see the old file or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(text)
        temporary.replace(path)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error


async def _listen(metrics: str) -> trio.SocketListener:
    try:
        endpoint = parse_endpoint(metrics)
        listeners = await trio.open_tcp_listeners(endpoint.port, host=endpoint.host)
    except (ConfigError, OSError) as error:
        raise UsageError(f"--metrics {metrics}: {error}") from error
    for surplus in listeners[1:]:
        await surplus.aclose()
    return listeners[0]
