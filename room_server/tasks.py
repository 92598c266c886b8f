"""What every trio task is doing right now: the answer to SIGUSR1 and `GET /tasks`, for a node that hangs or burns.

init
  room_server.process._run               room_server/process.py:84 in _run
    room_server.peers.PeerLinks.run      room_server/peers.py:151 in run
"""

from __future__ import annotations

import linecache
from collections.abc import Iterator
from pathlib import Path
from types import CoroutineType, FrameType

import trio

from room_server import limits

_ROOT = str(Path(__file__).parent.parent) + "/"
_NOT_OURS = "/site-packages/"
"""Part of paths below ours: an environment may lie in the folder of the source."""


def task_tree() -> str:
    """All tasks as an indented tree, each with the innermost line of ours that it waits at; the rest is counted."""
    lines: list[str] = []
    left = 0
    for depth, task in _walk():
        if len(lines) < limits.TASKS_SHOWN_MAX:
            lines.append(f"{'  ' * depth}{task.name}    {_where(task)}")
        else:
            left += 1
    if left:
        lines.append(f"… and {left} more")
    return "\n".join(lines) + "\n"


def _walk() -> Iterator[tuple[int, trio.lowlevel.Task]]:
    root = trio.lowlevel.current_root_task()
    waiting = [] if root is None else [(0, root)]
    while waiting:
        depth, task = waiting.pop()
        yield depth, task
        for nursery in reversed(task.child_nurseries):
            waiting.extend((depth + 1, child) for child in sorted(nursery.child_tasks, key=_name, reverse=True))


def _name(task: trio.lowlevel.Task) -> str:
    return task.name


def _where(task: trio.lowlevel.Task) -> str:
    """The innermost frame of our own code; of any code if there is none."""
    frames = list(_frames(task.coro))
    ours = [frame for frame in frames if _is_ours(frame.f_code.co_filename)]
    if not frames:
        return "(running)"
    frame = (ours or frames)[-1]
    code = frame.f_code
    source = linecache.getline(code.co_filename, frame.f_lineno).strip()
    return f"{code.co_filename.removeprefix(_ROOT)}:{frame.f_lineno} in {code.co_name}: {source}"


def _is_ours(path: str) -> bool:
    return path.startswith(_ROOT) and _NOT_OURS not in path.removeprefix(_ROOT)


def _frames(coroutine: object) -> Iterator[FrameType]:
    """From the outermost to the innermost; async generators on the way end it, for they do not say what they await."""
    while isinstance(coroutine, CoroutineType) and coroutine.cr_frame is not None:
        yield coroutine.cr_frame
        coroutine = coroutine.cr_await
