"""A room for programs: send, read, see who is there.

    room = await client.join("SAMTALA:…")
    sent = await room.send("hej")                  # a majority of the servers has it on disk: sent.sequence
    async for message in room.messages():          # each once, in the same order for everyone
        print(message.sequence, message.sender.name, message.text)

Readers are cursors into the store, so a slow reader holds nobody up, and one that remembers a sequence number goes on from
there after any restart. The work is done by `client.room_driver`; a room belongs to the client that opened it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection
from typing import Protocol, assert_never

import msgspec
import trio

import mls
from client import limits
from client.archive import HistoryPolicy
from client.commits import MemberChange, NewLink
from client.connection import StateChanged
from client.errors import ForkDetectedError, NotFoundError, RefusedError, UnavailableError, UsageError
from client.facts import current_link, facts_of, policy_of
from client.granting import read_grant
from client.identity import key_fingerprint, person_of
from client.payload import MESSAGE_ID_BYTES, PayloadKind
from client.pending import PendingMessage, SentMessage
from client.room_driver import RoomDriver
from client.room_readers import EventReader, MessageReader, StateReader
from client.room_state import Outgoing, Phase, QuestState
from client.store_access import StoreAccess
from client.verification import Agreement, Verdict, ask_where, judge
from wire.errors import DecodeError
from wire.ids import RoomEpoch, RoomId, Sequence
from wire.link import Link
from wire.messages import RoomStatus


class RoomMember(msgspec.Struct, frozen=True, kw_only=True):
    """One device in the room. `key` is the person's user key, `device_key` the device's (32 bytes each)."""

    name: str
    key: bytes
    device_key: bytes
    device_label: str
    is_verified: bool
    is_me: bool

    @property
    def fingerprint(self) -> str:
        """Short form of the user key, to tell equal names apart."""
        return key_fingerprint(self.key)


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who knocked; keys as in `RoomMember`."""

    name: str
    key: bytes
    device_key: bytes

    @property
    def fingerprint(self) -> str:
        """Short form of the user key, to be compared with what the person says it is."""
        return key_fingerprint(self.key)


class Ownership(Protocol):
    """What only the device that made a room can do."""

    admin_seed: bytes

    def new_link(self) -> NewLink:
        """Make a link in the place of the old one."""


class Room:
    """See the module. Made by `client.client.Client`."""

    def __init__(
        self,
        driver: RoomDriver,
        store: StoreAccess,
        *,
        link: Link,
        name: str,
        first_id: int,
        ownership: Ownership | None = None,
    ) -> None:
        self.room_id: RoomId = driver.room_id
        self.name = name
        self._driver = driver
        self._store = store
        self._link = link
        self._first_id = first_id
        self._ownership = ownership

    # Facts

    @property
    def link(self) -> str:
        """The link that lets others in. Whoever has it can join."""
        return current_link(self._link, self._driver.view.group).to_text()

    @property
    def is_owner(self) -> bool:
        """Tell whether this device made the room."""
        return self._ownership is not None

    @property
    def epoch(self) -> RoomEpoch:
        """The room's epoch, as far as we have read."""
        return self._driver.view.epoch

    @property
    def phase(self) -> Phase:
        """How we stand to the room."""
        return self._driver.view.phase

    @property
    def sequence(self) -> Sequence:
        """The last sequence that we have read."""
        return self._driver.view.sequence

    @property
    def undecryptable(self) -> int:
        """Entries that could not be read since this device joined. Zero, unless somebody misbehaves."""
        return self._driver.view.undecryptable

    @property
    def alarms(self) -> int:
        """Contradictions found in what the servers or members say."""
        return self._driver.view.alarms

    @property
    def code(self) -> str:
        """Eight characters, equal for members who agree on who is in the room and on all that ever changed it."""
        return key_fingerprint(self._driver.view.group.epoch_authenticator)

    @property
    def connection(self) -> StateChanged:
        """The state of the connection, honestly."""
        return self._driver.state

    @property
    def is_over(self) -> bool:
        """Tell whether nothing will come any more: we were removed, cannot follow, or the room was closed."""
        return self._driver.is_over

    async def aclose(self) -> None:
        """Disconnect; what is on its way is told what is known of it."""
        await self._driver.aclose()

    @property
    def hindrance(self) -> str:
        """Why what is written has to wait at a server that can be reached, in words; empty if it does not."""
        connection = self._driver.connection
        return "" if connection is None else connection.hindrance

    @property
    def failures(self) -> tuple[str, ...]:
        """Servers that could not be used lately, and why."""
        connection = self._driver.connection
        return () if connection is None else tuple(connection.failures)

    async def members(self) -> list[RoomMember]:
        """Devices in the room, in the order of their places."""
        group, now_s = self._driver.view.group, int(time.time())
        members = await trio.to_thread.run_sync(group.members)
        return [_room_member(member, now_s, is_me=member.leaf_index == group.own_leaf_index) for member in members]

    @property
    def history(self) -> HistoryPolicy:
        """What newcomers may read of what was before them. Unless it is nothing, keys of ended epochs are kept for it."""
        return policy_of(self._driver.view.group)

    @property
    def is_history_coming(self) -> bool:
        """Tell whether this device may still get to read what was before it: some member has to be there for that."""
        return self._driver.view.quest in {QuestState.WANTED, QuestState.GRANTED}

    async def history_read(self) -> None:
        """Return when what was before this device has been read, as far as it may be. Time limits are the caller's affair."""
        while self.is_history_coming and not self.is_over:
            await self._driver.news.wait()

    async def inherit(self, archive: bytes) -> None:
        """Read what was before this device with what another one of ours kept (`client.portable`); takes place beside all else.

        Raises:
            RefusedError: it is not such a thing.
        """
        try:
            read_grant(archive)
        except DecodeError as error:
            raise RefusedError(f"the archive of {self.name!r} cannot be read: {error}") from error
        await self._driver.inherit(archive)

    async def verify(self, *, deep: bool = False) -> list[Verdict]:
        """Ask each of the room's servers by itself whether it holds what this device has read (`client.verification`).

        Args:
            deep: read all of its log from each, instead of comparing one hash.
        """
        connection = self._driver.connection
        if connection is None:
            raise UnavailableError("the room is closed")
        servers = connection.servers
        answers = await ask_where(self.room_id, servers)
        await self.caught_up()
        memory = await self._store.run(lambda store: store.memory(self.room_id))
        chains = {mark.sequence: mark.chain for mark in memory.marks}
        verdicts = judge(servers, answers, chains)
        if not deep:
            return verdicts
        return [
            await self._driver.read_all(verdict, chains[Sequence(verdict.sequence)])
            if verdict.agreement is Agreement.SAME
            else verdict
            for verdict in verdicts
        ]

    async def status(self) -> RoomStatus:
        """How the servers are, as ours sees them.

        Raises:
            UnavailableError: no answer.
            RefusedError: the server does not host the room.
        """
        connection = self._driver.connection
        if connection is None:
            raise UnavailableError("the room is closed")
        return await connection.status()

    async def unsent(self) -> list[tuple[bytes, str]]:
        """(message id, text) of messages of earlier runs that are certainly not in the room."""
        outgoing = await self._store.run(lambda store: store.unsent(self.room_id))
        return [(item.message_id, item.text) for item in outgoing]

    async def evidence(self) -> list[bytes]:
        """What shows to anybody that members were shown different histories (`client.evidence.check_evidence`)."""
        return await self._store.run(lambda store: store.evidence(self.room_id))

    # Reading

    def messages(self, since: int | None = None) -> MessageReader:
        """Messages in the room's order, each once, and then on as they come; ends when we are removed.

        Args:
            since: the last sequence that was read; 0 for all that this device has. None: from when the room was opened.
        """
        return MessageReader(self.events(since))

    def events(self, since: int | None = None) -> EventReader:
        """Messages, and what else happened: who came and went, what could not be read, alarms. See `messages`."""
        after_id = self._first_id if since is None else None
        return EventReader(self._driver, self._store, after_id=after_id, since=Sequence(since or 0))

    def states(self) -> StateReader:
        """The state of the connection, now and after each change; quick changes in between may be left out."""
        return StateReader(self._driver)

    async def caught_up(self) -> None:
        """Return when all that anybody was promised before we connected has been read, or the room is over.

        A majority of the servers has to say what that is: the server that we are attached to may have been away.
        """
        while not self._driver.is_current and not self._driver.is_over:
            await self._driver.news.wait()

    # Writing

    async def send(self, text: str) -> SentMessage:
        """Send a message; returns when a majority of the servers has it on disk.

        If the caller is cancelled before the message left, it is not sent.

        Raises:
            UsageError: the text is empty or too long.
            UnavailableError: it was certainly not sent.
            OutcomeUnknownError: the client was closed before the answer came.
            RefusedError: we are not a member any more, or the servers refuse it.
        """
        pending = await self.post(text)
        try:
            return await pending.acknowledged()
        finally:
            if not pending.is_done:
                self._driver.withdraw_soon(pending.message_id)

    async def post(self, text: str) -> PendingMessage:
        """Send a message without waiting for its fate.

        Raises:
            UsageError: the text is empty or too long.
            RefusedError: we are not a member any more.
        """
        # Halves of characters come from terminals; they cannot travel as UTF-8.
        clean = text.encode(errors="replace")
        if not clean or len(clean) > limits.TEXT_BYTES_MAX:
            raise UsageError(f"a message has 1 to {limits.TEXT_BYTES_MAX:,} bytes, not {len(clean):,}")
        return await self._post(PayloadKind.TEXT, clean.decode())

    async def withdraw(self, pending: PendingMessage) -> bool:
        """Take a message back; False if it may have left already."""
        return await self._driver.withdraw(pending.message_id)

    async def retry(self, message_id: bytes) -> SentMessage:
        """Find out what became of a message of an earlier run, and send it if it is not in the room. Never twice.

        Raises:
            NotFoundError: this device knows no such message.
        """
        self._check_member()
        await self.caught_up()
        while True:
            news, was_in_flight = self._driver.news, self._driver.view.is_in_flight
            found = await self._store.run(lambda store: store.find_message(self.room_id, message_id))
            if found is not None:
                return SentMessage(sequence=found.item.sequence, message_id=message_id)
            for outgoing in await self._store.run(lambda store: store.unsent(self.room_id)):
                if outgoing.message_id == message_id:
                    return await (await self._driver.post(outgoing)).acknowledged()
            if not was_in_flight or self._driver.is_over:
                raise NotFoundError(f"this device has sent no message {message_id.hex()}")
            await news.wait()

    async def remove(self, member: RoomMember) -> Sequence:
        """Remove one device; after the returned sequence it can neither read nor write. If the room is ours, its link is
        replaced as well, so that whoever was removed cannot come back by it.

        Raises:
            UsageError: it is this device; see `Client.leave`.
            RefusedError: it is not a member any more, or others' changes kept winning.
        """
        if member.is_me:
            raise UsageError("a device cannot remove itself; leave the room instead")
        sequence = await self._propose(MemberChange(remove=(member.device_key,)))
        if self.is_owner:
            # Not by the same commit: whoever is removed by a commit can still read it.
            await self.rotate_link()
        return sequence

    def knocks(self) -> list[Waiting]:
        """Who knocked and waits to be let in, those who came first in front. In a room by approval all wait for `approve`."""
        return [
            Waiting(name=person.name, key=person.user_key, device_key=knock.device_key)
            for knock in self._driver.view.knocks
            for person in (knock.person,)
        ]

    async def approve(self, people: Collection[Waiting]) -> Sequence:
        """Let people into our room by approval, with one commit.

        Raises:
            UsageError: too many at once, or nobody.
            RefusedError: the room is somebody else's or opens itself, or nobody of them waits any more.
        """
        self._check_door()
        if not 0 < len(people) <= limits.LET_IN_MAX:
            raise UsageError(f"1 to {limits.LET_IN_MAX} people can be let in at once")
        return await self._propose(MemberChange(let_in=tuple(waiting.device_key for waiting in people)))

    async def deny(self, people: Collection[Waiting]) -> None:
        """Turn people away: they are not shown again, on this device. They are not told.

        Raises:
            RefusedError: the room is somebody else's or opens itself.
        """
        self._check_door()
        await self._driver.deny(tuple(waiting.device_key for waiting in people))

    def _check_door(self) -> None:
        facts = facts_of(self._driver.view.group)
        if not facts.by_approval:
            raise RefusedError("this room opens itself to whoever has the link")
        if facts.owner != self._driver.user_key:
            raise RefusedError("only the room's owner lets people in")

    async def rotate_link(self) -> str:
        """Replace the link: the old one opens nothing any more. Members stay; returns the new one.

        Raises:
            RefusedError: the room is somebody else's, or others' changes kept winning.
        """
        link = self._new_link()
        await self._propose(MemberChange(new_link=link))
        return self.link

    def _new_link(self) -> NewLink:
        if self._ownership is None:
            raise RefusedError("only the device that made the room can replace its link")
        self._driver.act_as_owner(self._ownership.admin_seed)
        return self._ownership.new_link()

    async def set_history(self, policy: HistoryPolicy) -> Sequence:
        """Say what newcomers may read of what was before them, from now on; nothing that was not kept comes back.

        Raises:
            UsageError: a window of no sensible length.
            RefusedError: the room is somebody else's, or others' changes kept winning.
        """
        if not -1 <= policy.days <= limits.HISTORY_DAYS_MAX:
            raise UsageError(f"a window has 1 to {limits.HISTORY_DAYS_MAX:,} days")
        if facts_of(self._driver.view.group).owner != self._driver.user_key:
            raise RefusedError("only the room's owner says what newcomers may read")
        return await self._propose(MemberChange(history=policy))

    async def update_keys(self) -> Sequence:
        """Begin another epoch with fresh keys: whoever copied our state before reads nothing after.

        Raises:
            RefusedError: others' changes kept winning.
        """
        return await self._propose(MemberChange())

    async def say_goodbye(self) -> None:
        """Tell the others that this device leaves; they may remove it then."""
        await (await self._post(PayloadKind.LEAVE, "")).acknowledged()

    async def _post(self, kind: PayloadKind, text: str) -> PendingMessage:
        self._check_member()
        return await self._driver.post(Outgoing(secrets.token_bytes(MESSAGE_ID_BYTES), kind, text))

    async def _propose(self, change: MemberChange) -> Sequence:
        self._check_member()
        pending = await self._driver.propose(change)
        return await pending.done()

    def _check_member(self) -> None:
        if self._driver.failure is not None:
            raise self._driver.failure
        match self.phase:
            case Phase.REMOVED:
                raise RefusedError("this device was removed from the room; ask to be let in again")
            case Phase.BROKEN:
                raise ForkDetectedError("this device cannot follow the room any more; join again with the link")
            case Phase.LIVE | Phase.JOINING:
                return
            case _:
                assert_never(self.phase)


def _room_member(member: mls.Member, now_s: int, *, is_me: bool) -> RoomMember:
    person = person_of(member, now_s)
    return RoomMember(
        name=person.name,
        key=person.user_key,
        device_key=member.signature_public_key,
        device_label=person.device_label,
        is_verified=person.is_verified,
        is_me=is_me,
    )
