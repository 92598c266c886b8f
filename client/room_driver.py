"""The task that owns a room's core, and what it needs: connection, store, waiters.

    callers ──acts──▶ ┌───────┐ ──▶ core ──▶ effects: 1. store (a thread, one transaction)
    connection ─────▶ │ inbox │                       2. connection.append
    answers ────────▶ └───────┘                       3. waiters, readers

One act at a time. The inbox is bounded: when the disk is slow, the connection stops reading and the servers stop sending.
If the store fails, the core is dead and with it the room: everybody who waits gets the store's error. What others may know
of the core is `view`, as of the last stored step.
"""

from __future__ import annotations

import functools
import secrets
import time

import msgspec
import trio

import mls
from client import limits
from client.commits import MemberChange
from client.connection import (
    Alarm,
    ConnectionState,
    Deliveries,
    Event,
    PendingAppend,
    RoomConnection,
    ServersMoved,
    StateChanged,
    open_room_connection,
)
from client.errors import OutcomeUnknownError, RefusedError, SamtalaError, UnavailableError
from client.historian import Historian, ReadKeys
from client.letting_in import Knock
from client.pending import PendingChange, PendingMessage
from client.plan import Act, Plan
from client.room_core import RoomCore
from client.room_state import Effects, Outgoing, Phase, QuestState
from client.seals import EpochSecrets
from client.store import StoreError
from client.store_access import StoreAccess
from client.verification import Verdict, read_all
from wire.certificate import RoomServers
from wire.identity import ServerAddress
from wire.ids import CLIENT_ID_BYTES, ClientId, RoomEpoch, Sequence
from wire.room import BlockResult, Delivery, ResultKind


def _nothing() -> None:
    """An act for the sake of the step after it, which looks at the connection again."""


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What outsiders may know of the core: as of the last stored step. `group` is for looking at members only."""

    phase: Phase
    epoch: RoomEpoch
    secrets: EpochSecrets
    group: mls.Group
    sequence: Sequence
    undecryptable: int
    alarms: int
    is_in_flight: bool
    knocks: tuple[Knock, ...]
    quest: QuestState | None


class _Keys:
    """The keys that the connection proves (`client.connection.Keys`): those of the last stored step."""

    def __init__(self, driver: RoomDriver, join_secret: bytes) -> None:
        self.admin: bytes | None = None
        self._driver = driver
        self._join_secret = join_secret

    @property
    def epoch(self) -> RoomEpoch | None:
        return self._driver.view.epoch

    def read_seed(self) -> bytes | None:
        return self._driver.view.secrets.read_seed

    def write_seed(self) -> bytes | None:
        return self._driver.view.secrets.write_seed

    def join_seed(self) -> bytes | None:
        return self._join_secret

    def admin_seed(self) -> bytes | None:
        return self.admin


def owes_commit(group: mls.Group) -> bool:
    """Tell whether others pay for it, with every commit, that we never made one (RFC 9420 7.4: unmerged leaves)."""
    return not group.has_committed and len(group.members()) > 1


class RoomDriver:
    """See the module."""

    def __init__(self, core: RoomCore, store: StoreAccess, *, join_secret: bytes) -> None:
        self.room_id = core.keys.room_id
        self.user_key = core.identity.user_key
        self.is_current = False
        self._is_awaiting_level = False
        """We are connected, and have read all that our server had then."""
        self.state = StateChanged(ConnectionState.CONNECTING, None, "not connected yet")
        self.failure: SamtalaError | None = None
        self.connection: RoomConnection | None = None
        self.news = trio.Event()
        """Set and replaced after each step: there may be something to read, or the room has ended."""
        self.state_news = trio.Event()
        self._core = core
        self._store = store
        self._keys = _Keys(self, join_secret)
        self._waiters: dict[bytes, PendingMessage] = {}
        self._change: PendingChange | None = None
        self._alarm: Alarm | None = None
        self._ack = Plan()
        self._reopening = Plan()
        self._renewal = Plan()
        self._letting_in = Plan()
        self._renewed: tuple[RoomEpoch, int] | None = None
        """The last epoch that we began, and when; None until it is known."""
        self._scope = trio.CancelScope()
        self.known: RoomServers | None = None
        """Whom to believe where the room is; None while it was not looked for."""
        self._is_closed = False
        self._closed = trio.Event()
        self._acts, self._inbox = trio.open_memory_channel[Act | tuple[Delivery, ...]](limits.INBOX_MAX)
        self._historian = Historian(core, store, self._keys, give=self._acts.send, servers=self._places)
        self.view = self._look()

    @property
    def is_over(self) -> bool:
        """Tell whether nothing will come any more."""
        return self._is_closed or self.failure is not None or self.view.phase not in {Phase.LIVE, Phase.JOINING}

    async def aclose(self) -> None:
        """End `run`, and wait for its end."""
        self._scope.cancel()
        await self._closed.wait()

    # For callers

    async def post(self, outgoing: Outgoing) -> PendingMessage:
        """Send a message."""
        pending = PendingMessage(outgoing.message_id)

        def act() -> None:
            if self._core.is_full:
                text = f"{limits.OUTBOX_MAX} messages are waiting to be sent already: {self.state.text}"
                pending.fail(UnavailableError(text))
            else:
                self._waiters[outgoing.message_id] = pending
                self._core.post(outgoing)

        await self._ask(act)
        return pending

    async def withdraw(self, message_id: bytes) -> bool:
        """Take a message back; False if it may have left."""
        done = trio.Event()
        taken: list[bool] = []

        def act() -> None:
            taken.append(self._withdraw(message_id))
            done.set()

        await self._ask(act)
        await done.wait()
        return taken[0]

    def withdraw_soon(self, message_id: bytes) -> None:
        """Take a message back if it can be done without waiting."""

        def act() -> None:
            self._withdraw(message_id)

        try:
            self._acts.send_nowait(act)
        except (trio.WouldBlock, trio.BrokenResourceError):
            return

    async def propose(self, change: MemberChange) -> PendingChange:
        """Change members or keys, after all earlier changes."""
        while self._change is not None:
            await self._change.wait()
        pending = self._change = PendingChange()
        await self._ask(functools.partial(self._core.propose, change))
        return pending

    async def deny(self, device_keys: tuple[bytes, ...]) -> None:
        """Turn away people who knocked."""
        await self._stepped(lambda: self._core.knocks.deny(device_keys))

    async def inherit(self, grant: bytes) -> None:
        """Take what another device of ours kept; returns when it is stored."""
        await self._stepped(lambda: self._core.past.inherit(grant))

    async def read_all(self, verdict: Verdict, chain: bytes) -> Verdict:
        """Read all of one server's log (`client.verification.read_all`)."""
        return await read_all(self.room_id, verdict, ReadKeys(self._keys), chain=chain, known=self.known)

    async def _stepped(self, act: Act) -> None:
        """Act, and return after the step that stores what came of it."""
        stepped: list[trio.Event] = []

        def acted() -> None:
            act()
            stepped.append(self.news)
            done.set()

        done = trio.Event()
        await self._ask(acted)
        await done.wait()
        await stepped[0].wait()

    def act_as_owner(self, admin_seed: bytes) -> None:
        """Prove to servers that the room is ours; not done before it is needed, because they learn who owns it."""
        self._keys.admin = admin_seed
        if self.connection is not None:
            self.connection.keys_changed()

    async def _ask(self, act: Act) -> None:
        try:
            await self._acts.send(act)
        except trio.BrokenResourceError as error:
            raise self.failure or UnavailableError("the room is closed") from error

    def _withdraw(self, message_id: bytes) -> bool:
        taken = self._core.withdraw(message_id)
        pending = self._waiters.pop(message_id, None) if taken else None
        if pending is not None:
            pending.fail(UnavailableError("taken back before it was sent"))
        return taken

    # The owner

    async def run(self, servers: list[ServerAddress], *, known: RoomServers | None = None) -> None:
        """Be in the room until cancelled, removed or failed.

        Args:
            servers: where to begin.
            known: whom to believe where the room moves; it is stored then.
        """
        client_id = ClientId(secrets.token_bytes(CLIENT_ID_BYTES))
        after, chain = self._core.cursor.sequence, self._core.cursor.chain
        try:
            with self._scope:
                async with (
                    open_room_connection(
                        self.room_id, servers, self._keys, client_id=client_id, after=after, chain=chain, known=known
                    ) as connection,
                    trio.open_nursery() as nursery,
                ):
                    self.connection = connection
                    self.known = known
                    nursery.start_soon(self._historian.run)
                    nursery.start_soon(self._listen, connection, nursery)
                    await self._own(connection, nursery)
                    nursery.cancel_scope.cancel()
        finally:
            self._close()

    async def _own(self, connection: RoomConnection, nursery: trio.Nursery) -> None:
        await self._recall_renewal()
        await self._step(connection, nursery)
        while not self.is_over:
            act = await self._inbox.receive()
            if isinstance(act, tuple):
                await self._read(act)
            else:
                act()
            await self._step(connection, nursery)

    async def _recall_renewal(self) -> None:
        try:
            self._renewed = await self._store.run(lambda store: store.renewed(self.room_id))
            if self._renewed is None:
                # Whoever knows of none has joined or founded the room just now, and that was one.
                await self._remember_renewal()
        except StoreError as error:
            self.failure = error

    async def _note_renewal(self) -> None:
        core = self._core
        if self._renewed is not None and core.is_committer and core.epoch != self._renewed[0]:
            await self._remember_renewal()

    async def _remember_renewal(self) -> None:
        renewed = self._renewed = (self._core.epoch, int(time.time()))
        await self._store.run(lambda store: store.set_renewed(self.room_id, *renewed))

    def _renew(self) -> None:
        if self._change is None and self._core.phase is Phase.LIVE:
            self._change = PendingChange()
            self._core.propose(MemberChange())

    async def _read(self, deliveries: tuple[Delivery, ...]) -> None:
        if sum(len(delivery.block) for delivery in deliveries) <= limits.INLINE_BYTES_MAX:
            self._core.on_deliveries(deliveries)
        else:
            # The owner waits for the thread, so nobody else touches the core meanwhile.
            await trio.to_thread.run_sync(self._core.on_deliveries, deliveries)

    async def _step(self, connection: RoomConnection, nursery: trio.Nursery) -> None:
        """Do what the core wants done: store, then send, then tell."""
        is_current = self._is_level(connection)
        if is_current:
            self._core.on_caught_up()
        effects = self._core.take_effects(int(time.time()), may_send=is_current)
        if not effects.change.is_empty:
            try:
                await self._store.run(lambda store: store.apply(self.room_id, effects.change))
                await self._note_renewal()
            except StoreError as error:
                self.failure = error
                return
        proven = self.view.epoch
        self.view = self._look()
        # Not before the view: whoever waits for it looks there.
        self.is_current = is_current
        if self.view.epoch != proven:
            connection.keys_changed()
        for block in effects.appends:
            nursery.start_soon(self._await_result, block.digest, connection.append(block.data))
        self._tell(effects)
        self._plan(nursery)
        if is_current:
            self._historian.plan(nursery)

    def _places(self) -> tuple[list[ServerAddress], RoomServers | None]:
        assert self.connection is not None, "the historian works while there is one"
        return self.connection.servers, self.known

    def _plan(self, nursery: trio.Nursery) -> None:
        """What is to be done later, if it is still needed then (e2ee.md §3.1, R3)."""
        core = self._core
        epoch, stalled = core.unacknowledged, core.stalled
        if self._ack.is_new(epoch) and epoch is not None:
            pause = limits.ACK_OWN_S if core.is_committer else limits.ACK_S
            nursery.start_soon(self._ack.later, self._acts.send, pause, functools.partial(core.acknowledge, epoch))
        if self._reopening.is_new(stalled) and stalled is not None:
            act = functools.partial(self._reopen, stalled[0])
            nursery.start_soon(self._reopening.later, self._acts.send, limits.REOPEN_S, act)
        waiting = core.epoch if core.knocks.opens_itself else None
        if self._letting_in.is_new(waiting) and waiting is not None:
            pause = limits.LET_IN_DUTY_S if core.knocks.is_on_duty else limits.LET_IN_S
            nursery.start_soon(self._letting_in.later, self._acts.send, pause, core.knocks.be_due)
        renewal = (self._renewed, owes_commit(core.group))
        if self._renewal.is_new(renewal) and self._renewed is not None:
            pause = self._until_renewal(self._renewed[1])
            nursery.start_soon(self._renewal.later, self._acts.send, pause, self._renew)

    def _until_renewal(self, renewed_s: int) -> tuple[float, float]:
        due_s, spread_s = max(renewed_s + limits.RENEW_S - time.time(), 0.0), limits.RENEW_SPREAD_S
        group = self._core.group
        if owes_commit(group) and due_s > limits.FIRST_COMMIT_S:
            due_s = limits.FIRST_COMMIT_S
            spread_s = max(len(group.members()) * limits.FIRST_COMMIT_SPREAD_S, limits.FIRST_COMMIT_S)
        return due_s, due_s + spread_s

    def _reopen(self, epoch: RoomEpoch) -> None:
        self._core.reopen(epoch, int(time.time()))

    def _is_level(self, connection: RoomConnection) -> bool:
        is_live = connection.state is ConnectionState.LIVE and connection.is_caught_up
        # Whoever joins knows of one entry at least that is still to come: the commit that lets them in.
        is_in = self._core.phase is not Phase.JOINING
        return is_live and is_in and self._core.cursor.sequence >= connection.after

    def _tell(self, effects: Effects) -> None:
        for outcome in effects.outcomes:
            pending = self._waiters.pop(outcome.message_id, None)
            if pending is not None:
                pending.settle(outcome)
        if effects.change_outcome is not None and self._change is not None:
            change, self._change = self._change, None
            change.settle(effects.change_outcome)
        self._spread_news()

    def _spread_news(self) -> None:
        self.news.set()
        self.news = trio.Event()

    def _look(self) -> View:
        core = self._core
        return View(
            phase=core.phase, epoch=core.epoch, secrets=core.secrets, group=core.group, sequence=core.cursor.sequence,
            undecryptable=core.undecryptable, alarms=core.alarms, is_in_flight=core.is_in_flight,
            knocks=core.knocks.waiting, quest=None if core.past.quest is None else core.past.quest.state,
        )  # fmt: skip

    def _close(self) -> None:
        """Nobody owns the core any more: tell everybody who waits what is known."""
        self.connection = None
        self._is_closed = True
        self._drain()
        for message_id, pending in self._waiters.items():
            pending.fail(self.failure or self._last_word(message_id))
        self._waiters.clear()
        if self._change is not None:
            self._change.fail(
                self.failure
                or OutcomeUnknownError("closed before the change was seen in the room; look at its members")
            )
        self.state = StateChanged(ConnectionState.CLOSED, None, "closed")
        self.state_news.set()
        self._spread_news()
        self._closed.set()

    def _drain(self) -> None:
        """Take the acts that nobody will get to, so that whoever brought them is told below."""
        while True:
            try:
                act = self._inbox.receive_nowait()
            except trio.WouldBlock:
                break
            if not isinstance(act, tuple):
                act()
        self._inbox.close()

    def _last_word(self, message_id: bytes) -> SamtalaError:
        if self._core.withdraw(message_id):
            if self._core.phase is Phase.REMOVED:
                return RefusedError("not sent: this device was removed from the room")
            return UnavailableError("closed before it was sent")
        identifier = message_id.hex()
        text = f"it was sent, and no answer came; find out with: samtala send ROOM --retry {identifier}"
        return OutcomeUnknownError(text, identifier)

    # Beside the owner

    async def _listen(self, connection: RoomConnection, nursery: trio.Nursery) -> None:
        async with connection.reading() as events:
            async for event in events:
                await self._take_event(event)
                if connection.state is ConnectionState.LIVE and not self._is_awaiting_level:
                    self._is_awaiting_level = True
                    nursery.start_soon(self._await_level, connection)

    async def _take_event(self, event: Event) -> None:
        if isinstance(event, Deliveries):
            await self._acts.send(event.deliveries)
            return
        if isinstance(event, ServersMoved):
            await self._remember_servers(event.known)
            return
        self.state = event
        self.state_news.set()
        self.state_news = trio.Event()
        await self._acts.send(functools.partial(self._on_state, event))

    async def _await_level(self, connection: RoomConnection) -> None:
        """Step once more when the connection has caught up: no delivery need come with that."""
        await connection.wait_caught_up()
        self._is_awaiting_level = False
        await self._acts.send(_nothing)

    async def _remember_servers(self, known: RoomServers) -> None:
        self.known = known
        try:
            await self._store.run(lambda store: store.set_servers(self.room_id, known))
        except StoreError as error:
            self.failure = error
        self.state_news.set()
        self.state_news = trio.Event()

    def _on_state(self, event: StateChanged) -> None:
        # A server that contradicts the room is tried again and again; it is one alarm.
        if event.alarm is not None and event.alarm != self._alarm:
            self._core.on_alarm(event.alarm.sequence, event.alarm.text)
            self._alarm = event.alarm

    async def _await_result(self, digest: bytes, pending: PendingAppend) -> None:
        try:
            result = await pending.result()
        except (OutcomeUnknownError, UnavailableError):
            await self._acts.send(functools.partial(self._core.on_unknown, digest))
            return
        except RefusedError:
            result = BlockResult(ResultKind.FORBIDDEN, Sequence(0), self.view.epoch)
        await self._acts.send(functools.partial(self._core.on_result, digest, result))
