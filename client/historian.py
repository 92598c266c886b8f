"""The history beside a room's owner task: answers newcomers, asks for what was before us, reads it from the servers.

    driver, after each step ─▶ plan: asks of others ─ a pause ─▶ act: answer
                                     our way WANTED ───────────▶ act: ask                     (again after a while)
                                     our way GRANTED ──▶ read the log (`client.reading`) ──▶ store ──▶ act: done
    every hour ────────────────────▶ act: drop what newcomers may not read any more

Acts run in the owner's task, as all that touches the core; the reading has a connection of its own.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Final

import trio

from client import limits
from client.connection import Deliveries, Keys, RoomConnection, open_room_connection
from client.facts import policy_of
from client.granting import read_grant
from client.plan import Give, Plan
from client.reading import HistoryError, Reading
from client.room_core import RoomCore
from client.room_state import Phase, Quest, QuestState
from client.store import StoreError
from client.store_access import StoreAccess
from client.timeline import ItemKind
from wire.certificate import RoomServers
from wire.errors import DecodeError
from wire.identity import ServerAddress
from wire.ids import CLIENT_ID_BYTES, ClientId, RoomEpoch

_FORGET_S: Final = 3600.0
"""Seconds between two looks at what has become too old to be kept."""


class ReadKeys:
    """The keys of a member who only reads (`client.connection.Keys`)."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    @property
    def epoch(self) -> RoomEpoch | None:
        return self._keys.epoch

    def read_seed(self) -> bytes | None:
        return self._keys.read_seed()

    def write_seed(self) -> bytes | None:
        return None

    def join_seed(self) -> bytes | None:
        return None

    def admin_seed(self) -> bytes | None:
        return None


class Historian:
    """See the module.

    Args:
        core: the room's; touched by acts only, and looked at in `plan`.
        store: the profile's.
        keys: what the device can prove.
        give: takes acts for the owner's task.
        servers: where the room is now, and whom to believe where it moves.
    """

    def __init__(
        self,
        core: RoomCore,
        store: StoreAccess,
        keys: Keys,
        *,
        give: Give,
        servers: Callable[[], tuple[list[ServerAddress], RoomServers | None]],
    ) -> None:
        self._core = core
        self._store = store
        self._keys = ReadKeys(keys)
        self._give = give
        self._servers = servers
        self._answering, self._asking = Plan(), Plan()
        self._is_reading = False
        self._unanswerable: set[bytes] = set()
        """Asks that wait for somebody who has more than we have."""
        self._connection: RoomConnection | None = None
        self._epoch = core.epoch

    async def run(self) -> None:
        """Forget in time, until cancelled."""
        while True:
            await trio.sleep(_FORGET_S)
            await self._give(self._forget)

    def _forget(self) -> None:
        self._core.past.archive.keep(policy_of(self._core.group), self._now_us())

    def _now_us(self) -> int:
        """The servers' time, or ours if that is later: a room where nobody speaks forgets as well."""
        return max(self._core.notes.time_us, time.time_ns() // 1000)

    def plan(self, nursery: trio.Nursery) -> None:
        """Start what is to be done. Called in the owner's task after each step that left the room read to its end."""
        core, past = self._core, self._core.past
        if core.phase is not Phase.LIVE:
            return
        if self._connection is not None and self._epoch != core.epoch:
            self._connection.keys_changed()
        self._epoch = core.epoch
        self._unanswerable &= past.asks.keys()
        asked = bool(past.asks.keys() - self._unanswerable) and past.is_whole
        if self._answering.is_new(asked) and asked:
            pause = (limits.HISTORY_ANSWER_S[0], self._answer_s_max())
            nursery.start_soon(self._answering.later, self._give, pause, self._answer)
        occasion = past.occasion
        if self._asking.is_new(occasion) and occasion is not None:
            wait_s = past.wait_s(int(time.time()))
            nursery.start_soon(self._asking.later, self._give, (wait_s, wait_s), self._ask)
        if past.quest is not None and past.quest.state is QuestState.GRANTED and not self._is_reading:
            self._is_reading = True
            nursery.start_soon(self._read, past.quest)

    def _answer_s_max(self) -> float:
        return max(limits.HISTORY_ANSWER_S[1], len(self._core.group.members()) * limits.HISTORY_ANSWER_SPREAD_S)

    # Acts

    def _ask(self) -> None:
        now_s = int(time.time())
        if self._core.phase is Phase.LIVE and self._core.past.may_ask(now_s) and not self._core.is_full:
            self._core.post(self._core.past.ask(now_s, secrets.token_bytes))

    def _answer(self) -> None:
        core = self._core
        if core.phase is not Phase.LIVE:
            return
        answer = core.past.answer(policy_of(core.group), now_us=self._now_us(), entropy=secrets.token_bytes)
        for outgoing in answer:
            if not core.is_full:
                core.post(outgoing)
        # What is left waits for somebody who has more, or for our next step.
        self._unanswerable |= set() if answer else core.past.asks.keys()
        self._answering.is_new(None)

    def _finish(self, quest: Quest, reading: Reading) -> None:
        core = self._core
        self._is_reading = False
        core.past.done(policy_of(core.group))
        core.past.archive.take(reading.records)
        core.past.archive.keep(policy_of(core.group), self._now_us())
        core.notes.word(core.cursor.sequence, ItemKind.HISTORY_READ, str(len(reading.items)), is_own=quest.is_own)

    def _refuse(self, reason: str) -> None:
        self._is_reading = False
        quest = self._core.past.quest
        who = "our own archive has" if quest is not None and quest.is_own else "a member gave"
        self._core.past.refuse_giver()
        text = f"{who} keys of a history that is not this room's: {reason}"
        self._core.notes.alarm(self._core.cursor.sequence, text)

    # Reading

    async def _read(self, quest: Quest) -> None:
        try:
            reading = await self._read_all(quest)
            await self._store.run(lambda store: store.add_history(self._core.keys.room_id, reading.items))
        except (HistoryError, DecodeError) as error:
            reason = str(error)
            await self._give(lambda: self._refuse(reason))
        except StoreError:
            return  # The owner's next step fails in the same way, and says so; the reading begins anew after that.
        else:
            await self._give(lambda: self._finish(quest, reading))

    async def _read_all(self, quest: Quest) -> Reading:
        grant, public = read_grant(quest.grant)
        reading = Reading(
            grant, public, self._core.keys.room_id,
            until=quest.cursor, context=None if quest.is_own else quest.context,
            since_us=0 if quest.is_own else policy_of(self._core.group).since_us(self._now_us()),
            is_strict=not quest.is_own and len(quest.refused) + 1 < limits.HISTORY_GIVERS_MAX,
        )  # fmt: skip
        servers, known = self._servers()
        client_id = ClientId(secrets.token_bytes(CLIENT_ID_BYTES))
        failure: HistoryError | None = None
        async with open_room_connection(
            self._core.keys.room_id, servers, self._keys,
            client_id=client_id, after=reading.after, is_chain_tracked=False, known=known,
        ) as connection:  # fmt: skip
            self._connection = connection
            try:
                await _read_through(connection, reading)
            except HistoryError as error:
                # Carried out by hand: the connection's nursery would wrap it into a group.
                failure = error
            finally:
                self._connection = None
        if failure is not None:
            raise failure
        return reading


async def _read_through(connection: RoomConnection, reading: Reading) -> None:
    async with connection.reading() as events:
        async for event in events:
            if isinstance(event, Deliveries):
                await trio.to_thread.run_sync(reading.feed, event.deliveries)
                if reading.is_done:
                    return
