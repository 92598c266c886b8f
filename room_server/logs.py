"""Log set-up: one JSON object per line, or coloured lines on a terminal. Events are snake_case and past tense.

Fields that may appear: `node`, `room` (short hash, see `room_label`), `view`, `op`, `peer`, `cause`. Never content, keys
or client addresses. A loop never logs per message.
"""

from __future__ import annotations

import hashlib
import logging
import sys
from typing import TextIO

import structlog
from structlog.typing import Processor

from room_server.config import LogConfig

ROOM_LABEL_BYTES = 4


def configure_logs(config: LogConfig, *, node: str, stream: TextIO | None = None) -> None:
    """Set structlog up for this process; every line carries `node`. Call once, before the node starts."""
    target = stream if stream is not None else sys.stderr
    people = config.format == "console" or (config.format == "auto" and target.isatty())
    renderer: list[Processor] = (
        [structlog.dev.ConsoleRenderer(colors=target.isatty())]
        if people
        else [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _named(node),
            *renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[config.level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(target),
        cache_logger_on_first_use=False,
    )


def _named(node: str) -> Processor:
    def add_node(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event.setdefault("node", node)
        return event

    return add_node


def room_label(room_id: bytes) -> str:
    """A short name of a room for logs: tells rooms apart, and cannot be turned back into the id."""
    return hashlib.blake2b(room_id, digest_size=ROOM_LABEL_BYTES, person=b"samtala-label").hexdigest()
