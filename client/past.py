"""A device's way to what was before it, and its part in that of others. Pure.

    came in, policy not none ─▶ WANTED ── ask ──▶ parts of a member's answer ──▶ GRANTED ──▶ the log is read ─▶ READ
                                  ▲                                                │ false, or does not open
                                  └────────────────────────────────────────────────┘          (at last: FAILED)

Others' asks wait here until somebody answered: whoever reads the log sees both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec

import mls
from client import limits
from client.archive import Archive, HistoryPolicy
from client.granting import (
    ID_BYTES,
    Ask,
    encode_grant,
    open_grant,
    read_ask,
    read_grant,
    read_part,
    seal_grant,
    to_text,
)
from client.payload import MESSAGE_ID_BYTES, Payload, PayloadKind
from client.room_state import Cursor, Outgoing, Quest, QuestState
from mls import Entropy
from wire.errors import DecodeError
from wire.ids import RoomEpoch, RoomId

_KEYS_PER_PART: Final = 64
"""Askers served by one answer: 6 KB beside the first part."""


class Past:
    """See the module. `archive` is this device's own; `quest` its way, None if it has all that it may have."""

    def __init__(self, room_id: RoomId, archive: Archive, quest: Quest | None) -> None:
        self.archive = archive
        self.quest = quest
        self.is_quest_new = False
        self.asks: dict[bytes, Ask] = {}
        """Asks of others that nobody has answered, by their ids; the oldest first."""
        self._room_id = room_id
        self._heard: Counter[bytes] = Counter()
        """How often each device asked, as far as we remember."""

    @property
    def is_whole(self) -> bool:
        """Tell whether we have all that there is to hand on: somebody who still waits would give too little."""
        return self.quest is None or self.quest.state is QuestState.READ

    def stored(self) -> None:
        """What is new was taken to be stored."""
        self.is_quest_new = False
        self.archive.added.clear()
        self.archive.dropped.clear()

    # Our own way

    def came_in(self, group: mls.Group, policy: HistoryPolicy, place: Cursor) -> None:
        """This device is in the room since the entry at `place`, which began the group's epoch."""
        state = QuestState.WANTED if policy.is_kept and group.epoch > 0 else QuestState.READ
        context = mls.PublicGroup.of(group).context
        self._set(Quest(epoch=RoomEpoch(group.epoch), cursor=place, context=context, state=state))

    def inherit(self, grant: bytes) -> None:
        """Read with what another device of ours kept; what is missing then is asked for as before."""
        if self.quest is not None:
            read_grant(grant)
            self._set(msgspec.structs.replace(self.quest, state=QuestState.GRANTED, grant=grant, is_own=True))

    @property
    def occasion(self) -> tuple[int, bytes] | None:
        """Names the next time that we may ask: asks so far, and the last one, if that still waits; None if nothing is to be asked."""
        quest = self.quest
        if quest is None or quest.state is not QuestState.WANTED or quest.asks >= limits.HISTORY_ASKS_MAX:
            return None
        return quest.asks, quest.ask_id

    def wait_s(self, now_s: int) -> float:
        """Seconds until it is time to ask. There is an `occasion`."""
        quest = self.quest
        assert quest is not None, "it has an occasion"
        return (
            max(quest.asked_s + limits.HISTORY_ASK_AGAIN_S * 2 ** (quest.asks - 1) - now_s, 0.0)
            if quest.ask_id
            else 0.0
        )

    def may_ask(self, now_s: int) -> bool:
        """Tell whether it is time to ask, for the first time or again."""
        return self.occasion is not None and self.wait_s(now_s) <= 0

    def ask(self, now_s: int, entropy: Entropy) -> Outgoing:
        """The message that asks."""
        quest = self.quest
        assert quest is not None, "may_ask comes before"
        keys, ask_id = mls.generate_key_pair(entropy), entropy(ID_BYTES)
        self._set(
            msgspec.structs.replace(
                quest, ask_id=ask_id, private=keys.private, asked_s=now_s, asks=quest.asks + 1, parts=(), giver=b""
            )
        )
        return _outgoing(PayloadKind.HISTORY_ASK, to_text(Ask(ask_id, keys.public, quest.epoch)), entropy)

    def done(self, policy: HistoryPolicy) -> None:
        """All that was granted is read: nothing secret of the way is kept."""
        quest = self.quest
        asks_others = quest is not None and quest.is_own and policy.is_kept
        self._end(QuestState.WANTED if asks_others else QuestState.READ)

    def refuse_giver(self) -> None:
        """What was granted is false: ask others, if that has not been done often enough."""
        quest = self.quest
        assert quest is not None, "only what was granted can be false"
        if quest.is_own:
            self._end(QuestState.WANTED)
            return
        refused = (*quest.refused, quest.giver)
        if len(refused) >= limits.HISTORY_GIVERS_MAX:
            self._end(QuestState.FAILED)
        else:
            self._set(
                msgspec.structs.replace(
                    quest, state=QuestState.WANTED, ask_id=b"", parts=(), giver=b"", grant=b"", refused=refused
                )
            )

    def _end(self, state: QuestState) -> None:
        quest = self.quest
        assert quest is not None, "it was begun"
        self._set(Quest(epoch=quest.epoch, cursor=quest.cursor, context=quest.context, state=state))

    def _set(self, quest: Quest) -> None:
        self.quest = quest
        self.is_quest_new = True

    # What others say

    def heard(self, payload: Payload, member: mls.Member) -> None:
        """A member asks or answers.

        Raises:
            DecodeError: malformed.
        """
        if payload.kind == PayloadKind.HISTORY_ASK:
            self._hear_ask(read_ask(payload.text), member)
        else:
            self._hear_part(payload.text, member)

    def _hear_ask(self, ask: Ask, member: mls.Member) -> None:
        self._heard[member.signature_public_key] += 1
        if len(self._heard) > limits.HISTORY_ASKS_OPEN_MAX:
            del self._heard[next(iter(self._heard))]
        if self._heard[member.signature_public_key] > limits.HISTORY_ASKS_MAX:
            return
        self.asks[ask.ask_id] = ask
        if len(self.asks) > limits.HISTORY_ASKS_OPEN_MAX:
            del self.asks[next(iter(self.asks))]

    def _hear_part(self, text: str, member: mls.Member) -> None:
        part = read_part(text)
        for ask_id, _ in part.keys:
            self.asks.pop(ask_id, None)
        quest, giver = self.quest, member.signature_public_key
        if quest is None or quest.state is not QuestState.WANTED or giver in quest.refused:
            return
        if part.number == 0:
            if quest.ask_id not in {ask_id for ask_id, _ in part.keys}:
                return
            quest = msgspec.structs.replace(quest, giver=giver, parts=())
        elif (giver, part.number) != (quest.giver, len(quest.parts)) or part.grant_id != _grant_id(quest):
            return
        self._set(msgspec.structs.replace(quest, parts=(*quest.parts, text)))
        if part.number + 1 == part.count:
            self._open()

    def _open(self) -> None:
        quest = self.quest
        assert quest is not None, "its last part came just now"
        try:
            opened = open_grant(quest, self._room_id)
            read_grant(opened)
        except DecodeError:
            self.refuse_giver()
        else:
            self._set(msgspec.structs.replace(quest, state=QuestState.GRANTED, grant=opened, parts=()))

    # What we answer

    def answer(self, policy: HistoryPolicy, *, now_us: int, entropy: Entropy) -> list[Outgoing]:
        """Answer all who wait and whom we can serve; nothing if there is nothing to give."""
        if not policy.is_kept or not self.is_whole:
            return []
        # Who came in earlier needs less than who came in last, and was there when the rest was said.
        before = max((ask.epoch for ask in self.asks.values() if self.archive.has(RoomEpoch(ask.epoch - 1))), default=0)
        records = self.archive.grant(RoomEpoch(before), policy.since_us(now_us))
        together = [ask for ask in self.asks.values() if records and records[0].epoch < ask.epoch <= before]
        del together[_KEYS_PER_PART:]
        for ask in together:
            del self.asks[ask.ask_id]
        return self._sealed(encode_grant(records), together, entropy) if together else []

    def _sealed(self, grant: bytes, asks: Sequence[Ask], entropy: Entropy) -> list[Outgoing]:
        try:
            parts = seal_grant(grant, asks, self._room_id, entropy)
        except DecodeError:
            return []  # Of a room with thousands of members and epochs.
        return [_outgoing(PayloadKind.HISTORY_PART, to_text(part), entropy) for part in parts]


def _grant_id(quest: Quest) -> bytes:
    return read_part(quest.parts[0]).grant_id


def _outgoing(kind: PayloadKind, text: str, entropy: Entropy) -> Outgoing:
    return Outgoing(entropy(MESSAGE_ID_BYTES), kind, text)
