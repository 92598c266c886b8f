"""A node as a process of its own: signals, logs, exit codes.

| signal | what happens |
|---|---|
| TERM, INT | drain: no new work, what is in flight is answered, the end; a second one ends at once |
| HUP | the configuration is read again; what can change in a running node does, what cannot is named in the log; from a terminal that closes: as TERM |
| USR1 | what every task waits for is written to standard error |

A service manager is told what happens (`room_server.service_manager`). A configuration that is refused on HUP changes nothing: the node goes on with the old one, and says so in the log and in
the metric `samtala_config_reload_success`.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Final

import structlog
import trio

from room_server.config import NodeConfig
from room_server.errors import ConfigError, NodeError
from room_server.logs import configure_logs
from room_server.node import RunningNode, run_node
from room_server.service_manager import ServiceManager
from room_server.tasks import task_tree
from vr.errors import VRError
from vr.storage.errors import StorageError

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2


def main(load: Callable[[], NodeConfig]) -> int:
    """Run a node as this process; returns its exit code. `load` reads the configuration, at start and again on SIGHUP."""
    code = EXIT_OK
    try:
        config = load()
        configure_logs(config.log, node=config.name)
        trio.run(_run, config, load)
    except* ConfigError as errors:
        code = _report("node_misconfigured", errors, EXIT_USAGE)
    except* StorageError as errors:
        code = _report("node_stopped_by_storage", errors, EXIT_FAILED)
    except* (NodeError, VRError) as errors:
        code = _report("node_not_started", errors, EXIT_FAILED)
    return code


def _report(event: str, errors: BaseExceptionGroup[Exception], code: int) -> int:
    """One clear line for each thing that went wrong."""
    for error in _leaves(errors):
        log.error(event, reason=str(error), kind=type(error).__name__)
    return code


def _leaves(group: BaseExceptionGroup[Exception]) -> Iterator[Exception]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


async def _run(config: NodeConfig, load: Callable[[], NodeConfig]) -> None:
    manager = ServiceManager(os.environ)
    async with trio.open_nursery() as nursery:

        async def serve(task_status: trio.TaskStatus[RunningNode]) -> None:
            await run_node(config, task_status=task_status)
            nursery.cancel_scope.cancel()

        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1) as signals:
            node = await nursery.start(serve)
            manager.ready()
            nursery.start_soon(manager.keep_alive)
            async for number in signals:
                log.info("signal_received", signal=signal.Signals(number).name)
                if number == signal.SIGUSR1:
                    sys.stderr.write(task_tree())
                elif number == signal.SIGHUP and not sys.stderr.isatty():
                    manager.reloading()
                    await _reload(node, load)
                    manager.ready()
                else:
                    manager.stopping()
                    if node.is_draining:
                        nursery.cancel_scope.cancel()
                    node.drain()


async def _reload(node: RunningNode, load: Callable[[], NodeConfig]) -> None:
    try:
        config = await trio.to_thread.run_sync(load)
    except ConfigError as error:
        node.reload_failed()
        log.error("config_refused", reason=str(error))  # noqa: TRY400 - whoever wrote it needs no traceback
        return
    configure_logs(config.log, node=config.name)
    later = node.reload(config)
    log.info("config_reloaded", needs_restart=later)
