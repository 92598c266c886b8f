"""People who look back: they ask for what was before them, are answered, and read it. The historian's part, without I/O."""

from __future__ import annotations

from client import limits
from client.archive import HistoryPolicy
from client.facts import policy_of
from client.granting import read_grant
from client.payload import PayloadKind
from client.reading import HistoryError, Reading
from client.room_state import Phase, Quest, QuestState
from client.timeline import ItemKind, TimelineItem
from tests.client.builders import NOW_S, ROOM_ID, Device, entropy_of, settle

NOW_US = (NOW_S + 1_000_000) * 1_000_000
"""Later than all that the log of a test says."""


def quest_of(device: Device) -> Quest:
    quest = device.core.past.quest
    assert quest is not None
    return quest


def ask(device: Device, now_s: int = NOW_S) -> bool:
    """Ask, if it is time; tells whether it was."""
    past = device.core.past
    if device.core.phase is not Phase.LIVE or not past.may_ask(now_s):
        return False
    device.core.post(past.ask(now_s, entropy_of((device.name, "ask", now_s, quest_of(device).asks))))
    return True


def answer(device: Device, now_us: int = NOW_US) -> int:
    """Answer; tells in how many parts."""
    past = device.core.past
    entropy = entropy_of((device.name, "answer", device.core.cursor.sequence))
    parts = past.answer(policy_of(device.core.group), now_us=now_us, entropy=entropy)
    for part in parts:
        assert part.kind == PayloadKind.HISTORY_PART
        device.core.post(part)
    return len(parts)


def reading_of(device: Device, policy: HistoryPolicy | None = None, now_us: int = NOW_US) -> Reading:
    """The reading that a granted quest leads to, at its beginning."""
    quest = quest_of(device)
    assert quest.state is QuestState.GRANTED
    grant, public = read_grant(quest.grant)
    policy = policy or policy_of(device.core.group)
    return Reading(
        grant, public, ROOM_ID, until=quest.cursor, context=None if quest.is_own else quest.context,
        since_us=0 if quest.is_own else policy.since_us(now_us),
        is_strict=not quest.is_own and len(quest.refused) + 1 < limits.HISTORY_GIVERS_MAX,
    )  # fmt: skip


def look_back(device: Device, now_us: int = NOW_US) -> list[TimelineItem]:
    """Read what was granted, to its end; what is not true is refused and raised."""
    past = device.core.past
    try:
        reading = reading_of(device, now_us=now_us)
        reading.feed(device.log.after(reading.after))
        assert reading.is_done
    except HistoryError:
        past.refuse_giver()
        raise
    past.done(policy_of(device.core.group))
    past.archive.take(reading.records)
    known = {item.sequence for item in device.disk.items if item.kind is ItemKind.HISTORY}
    device.disk.items = [*(item for item in reading.items if item.sequence not in known), *device.disk.items]
    return list(reading.items)


def history_of(device: Device) -> list[tuple[int, str]]:
    """(sequence, text) of what was read from before."""
    return [(item.sequence, item.text) for item in device.items(ItemKind.HISTORY)]


def served(newcomer: Device, *others: Device, now_us: int = NOW_US) -> list[tuple[int, str]]:
    """A newcomer asks, the first of the others that can answers, and the newcomer reads."""
    assert ask(newcomer)
    settle(newcomer, *others)
    for other in others:
        if answer(other, now_us):
            break
    settle(newcomer, *others)
    look_back(newcomer, now_us)
    return history_of(newcomer)
