"""The screen shows what is there: rendered without a terminal from a real story."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import urwid

from samtala.demo.panes import Panes
from samtala.demo.story import PEOPLE, open_story


def rendered(panes: Panes) -> str:
    canvas = panes.widget.render((120, 30), focus=True)
    return "\n".join(line.decode() for line in canvas.text)


@pytest.mark.process
async def test_panes_show_people_servers_and_what_keys_do(tmp_path: Path) -> None:
    urwid.set_encoding("utf-8")
    async with open_story(tmp_path) as story, trio.open_nursery() as nursery:
        panes = Panes(story, nursery)
        for name in PEOPLE:
            nursery.start_soon(story.listen, name)
        await story.say("alice", "hej")
        await story.settle()
        panes.draw()
        alive = rendered(panes)

        panes.act("k")
        panes.act("h")
        panes.draw()
        wounded = rendered(panes)
        nursery.cancel_scope.cancel()

    assert "alice: hej" in alive
    assert "survives 1 more" in alive
    assert "kill primary" in alive
    assert "DOWN" not in alive
    assert "DOWN" in wounded
    assert "SIGKILL" in wounded
