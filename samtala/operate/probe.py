"""A synthetic pair of members that measures what people feel: one sends, the other reads, end to end encrypted.

    sender ── append ──▶ servers ── deliver ──▶ reader: decrypted, and it is the very text
       └────────────────── duration ─────────────┘   success 1; nothing within the time limit, or an error: success 0

The text is a random word, so that an old message or somebody else's never counts. It belongs into a room of its own.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec
import prometheus_client
import trio
from prometheus_client import CollectorRegistry, Counter, Gauge

from client.client import Client, open_client
from client.errors import SamtalaError, UnavailableError
from client.room import Room
from client.room_readers import MessageReader

SENDER_NAME: Final = "probe"
READER_NAME: Final = "probe-reader"
_NONCE_BYTES: Final = 16
_WITHDRAW_S_MAX: Final = 1.0


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement. `duration_s`: from sending until read, or until given up. `reason`: empty if it succeeded."""

    success: bool
    duration_s: float
    reason: str = ""


class ProbeMetrics:
    """What Prometheus is told: the last measurement, and how many there were."""

    def __init__(self) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # untyped there; halves the text
        self.registry = CollectorRegistry()
        self._success = Gauge(
            "samtala_probe_success", "1 if the last probe was read by the other member in time", registry=self.registry
        )
        self._duration = Gauge(
            "samtala_probe_duration_seconds", "Sending until read by the other member", registry=self.registry
        )
        rounds = Counter("samtala_probe_rounds", "Probes by result", ("result",), registry=self.registry)
        self._rounds = {success: rounds.labels("ok" if success else "failed") for success in (True, False)}

    def note(self, outcome: Outcome) -> None:
        """A measurement was made."""
        self._success.set(outcome.success)
        self._duration.set(outcome.duration_s)
        self._rounds[outcome.success].inc()

    def render(self) -> bytes:
        """The exposition text."""
        return prometheus_client.generate_latest(self.registry)


class Pair:
    """Both members in the room. Made by `open_pair`; rounds one at a time."""

    def __init__(self, sender: Room, reader: Room) -> None:
        self._sender = sender
        self._reader = reader
        self._messages: MessageReader = reader.messages(since=reader.sequence)

    @property
    def is_over(self) -> bool:
        """One of the two is in the room no more."""
        return self._sender.is_over or self._reader.is_over

    async def measure(self, timeout_s: float) -> Outcome:
        """Send a word and wait until the other member reads it."""
        begun_at = trio.current_time()
        reason = f"not read within {timeout_s:g} s"
        success = False
        with trio.move_on_after(timeout_s):
            try:
                await self._round()
                success, reason = True, ""
            except SamtalaError as error:
                reason = str(error)
        return Outcome(success=success, duration_s=trio.current_time() - begun_at, reason=reason)

    async def _round(self) -> None:
        word = f"probe {secrets.token_hex(_NONCE_BYTES)}"
        pending = await self._sender.post(word)
        try:
            async for message in self._messages:
                if message.text == word:
                    return
        finally:
            # A word that comes late would only be counted as a message nobody wants.
            if not pending.is_done:
                with trio.move_on_after(_WITHDRAW_S_MAX, shield=True):
                    await self._sender.withdraw(pending)
        raise UnavailableError("the reader is in the room no more")


@asynccontextmanager
async def open_pair(profiles: tuple[Path, Path], link: str, timeout_s: float) -> AsyncIterator[Pair]:
    """Two members of the room behind a link, in the profiles of sender and reader; they join on first use.

    Raises:
        SamtalaError: one of them cannot get in, or not in time.
    """
    async with (
        open_client(profiles[0], name=SENDER_NAME) as sender,
        open_client(profiles[1], name=READER_NAME) as reader,
    ):
        yield await _open(sender, reader, link=link, timeout_s=timeout_s)


async def _open(sender: Client, reader: Client, *, link: str, timeout_s: float) -> Pair:
    with trio.move_on_after(timeout_s):
        sending, reading = await sender.join(link), await reader.join(link)
        await sending.caught_up()
        await reading.caught_up()
        return Pair(sending, reading)
    raise UnavailableError(f"not in the room within {timeout_s:g} s; tried:", (*sender.tried, *reader.tried))
