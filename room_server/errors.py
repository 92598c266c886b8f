"""Errors of the node program.

NodeError
├── ConfigError           node.toml, a flag or the environment is wrong: says what, and the nearest right spelling
├── StartError            the node cannot start here: says what to do
├── SnapshotError         checkpoint bytes that are no room state
├── HistoryGapError       stored history lacks entries that it should have
├── BackupError           a copy cannot be made, is damaged, or cannot be brought back here
├── ClusterError          the cluster refuses, or cannot be asked now; the text is for its operator
├── RefusedError          a client's call is refused; carries the `RefusalCode`
└── ConnectionCutError    we end a connection; `cause` is fit for a metric label
"""

from __future__ import annotations

from wire.errors import RefusalCode


class NodeError(Exception):
    """Base of everything `room_server` raises."""


class ConfigError(NodeError):
    """The configuration is wrong; the text names the key, its origin and the nearest right spelling."""


class StartError(NodeError):
    """The node cannot start; the text says why and what to do."""


class SnapshotError(NodeError):
    """Checkpoint bytes that are no state of a room."""


class HistoryGapError(NodeError):
    """Stored history lacks entries between a subscriber's cursor and what it returned."""


class BackupError(NodeError):
    """A copy of a node's rooms cannot be made, is damaged, or cannot be brought back here; the text says why."""


class ClusterError(NodeError):
    """What an operator wants of the cluster is refused, or cannot be decided now; the text says why and what to do."""


class RefusedError(NodeError):
    """A call is refused and nothing changed."""

    def __init__(self, code: RefusalCode, text: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.retry_after_s = retry_after_s


class ConnectionCutError(NodeError):
    """This connection must end now. `cause` is a fixed snake_case word."""

    def __init__(self, cause: str, text: str) -> None:
        super().__init__(text)
        self.cause = cause
