"""The metrics port: `/metrics`, `/livez` and `/readyz`, for scrapers and orchestrators.

`/livez`: the loop turns. `/readyz`: 200 when the node listens and has caught up, else 503 with the reason; never "has a
quorum", or an orchestrator would kill the survivors. Meant for loopback or a management network: no TLS, no secrets.
"""

from __future__ import annotations

from functools import partial
from typing import Final, Protocol

import trio

from room_server.http import Answer, Routes, serve_http

EXPOSITION: Final = "text/plain; version=0.0.4; charset=utf-8"


class HealthSource(Protocol):
    """What the port tells about."""

    def not_ready_because(self) -> str | None:
        """Why this node is not ready; None when it is."""

    async def render_metrics(self) -> bytes:
        """The exposition text."""


async def metrics_answer(source: HealthSource, _query: bytes) -> Answer:
    """The exposition text, whatever was asked."""
    return Answer(await source.render_metrics(), EXPOSITION)


async def _livez(_query: bytes) -> Answer:
    return Answer(b"ok\n")


async def _readyz(source: HealthSource, _query: bytes) -> Answer:
    reason = source.not_ready_because()
    return Answer(b"ok\n") if reason is None else Answer(f"{reason}\n".encode(), status=503)


async def serve_health(listener: trio.SocketListener, source: HealthSource) -> None:
    """Answer on `listener` until cancelled."""
    routes: Routes = {
        b"/metrics": partial(metrics_answer, source),
        b"/livez": _livez,
        b"/readyz": partial(_readyz, source),
    }
    await serve_http(listener, routes)
