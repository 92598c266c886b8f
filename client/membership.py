"""Getting in by link: bundles, attempts and races, until the log has our external commit.

    ask for the bundle ─▶ make a commit, store it ─▶ append ─┬─ accepted ─▶ in; the log will show it
           ▲                                                  ├─ CONFLICT ─▶ somebody was faster: knock, wait for a Welcome
           │                                                  │              (`client.letting_in`); nobody opens: again
           └──────────────────────────────────────────────────┴─ no answer ─▶ look at the next bundle whether it was ours

Coming back with lost or unusable state is the same, with our old leaf removed by the same commit.
"""

from __future__ import annotations

import random
import secrets
import time
from typing import Final

import msgspec
import trio

import mls
from client import limits
from client.connection import Refresh, RoomConnection, ServerAddress, open_room_connection
from client.errors import OutcomeUnknownError, RefusedError, SamtalaError, UnavailableError
from client.facts import keys_of, room_name
from client.founding import first_memory
from client.identity import Identity
from client.joining import JoinAttempt, enter_by_welcome, has_won, prepare_join, prepare_knock
from client.room_state import Cursor, InFlight, Phase, RoomKeys, RoomMemory
from client.store import RoomRecord, knock_name
from client.store_access import StoreAccess
from wire.certificate import RoomServers
from wire.errors import DecodeError, RefusalCode
from wire.ids import CLIENT_ID_BYTES, ClientId, RoomEpoch
from wire.link import Link
from wire.messages import GetJoinBundle, GetWelcome, JoinBundle, StoredWelcomeReply
from wire.room import BlockResult, ResultKind

PAUSE_S = 0.05
"""Longest pause after the first lost race; doubles with each, up to 32 times."""

_HAS_KNOCKED: Final = "you knocked, and the room's owner has to let you in; try again later"


class JoinKeys:
    """All that a newcomer can prove: that they have the link."""

    def __init__(self, link: Link) -> None:
        self._seed = link.join_secret

    @property
    def epoch(self) -> RoomEpoch | None:
        return None

    def read_seed(self) -> bytes | None:
        return None

    def write_seed(self) -> bytes | None:
        return None

    def join_seed(self) -> bytes | None:
        return self._seed

    def admin_seed(self) -> bytes | None:
        return None


class _Knocked(msgspec.Struct, frozen=True, array_like=True):
    """A knock of ours: who we are in it, the KeyPackage with its private keys, unix seconds."""

    identity: bytes
    package: bytes
    made_s: int


class Newcomer:
    """One device on its way into one room.

    Args:
        link: of the room.
        identity: under which we join.
        store: where each attempt is kept before it is sent.
        old_group: our group of an earlier stay or attempt, if any.
        is_attempt: it is of an attempt whose outcome is open, so it may turn out that we are in.
    """

    def __init__(
        self,
        link: Link,
        identity: Identity,
        store: StoreAccess,
        *,
        old_group: mls.Group | None = None,
        is_attempt: bool = False,
    ) -> None:
        self._link = link
        self._keys: RoomKeys = keys_of(link)
        self._identity = identity
        self._store = store
        self._old_group = old_group
        self._is_attempt = is_attempt
        self._connection: RoomConnection | None = None
        self._package: mls.KeyPackageBundle | None = None
        """That of our knock, once there was one: we may be in by it at any time."""

        self._has_to_wait = False
        """We knocked at a room by approval."""

    @property
    def failures(self) -> tuple[str, ...]:
        """Servers that could not be used, and why; or that it is up to people now."""
        waits = (_HAS_KNOCKED,) if self._has_to_wait else ()
        return waits if self._connection is None else waits + tuple(self._connection.failures)

    async def _recall(self) -> None:
        """Go on with the knock of an earlier run: whoever opened meanwhile opened to its key."""
        stored = await self._store.run(lambda store: store.get(self._name))
        if not stored:
            return
        knocked = msgspec.msgpack.decode(stored, type=_Knocked)
        if time.time() - knocked.made_s <= limits.KNOCK_KEPT_S:
            self._identity = Identity.from_bytes(knocked.identity)
            self._package = mls.KeyPackageBundle.from_bytes(knocked.package)

    async def _forget_knock(self) -> None:
        """We are in: another stay begins with another key."""
        if self._package is not None:
            await self._store.run(lambda store: store.put(self._name, b""))

    @property
    def _name(self) -> str:
        return knock_name(self._link.room_id)

    async def join(
        self, servers: list[ServerAddress], *, known: RoomServers | None = None, refresh: Refresh | None = None
    ) -> None:
        """Get in; afterwards the store has the room. Time limits are the caller's affair.

        Args:
            servers: where to begin.
            known: whom to believe where the room has moved.
            refresh: finds the servers again when none answers.

        Raises:
            RefusedError: the link does not open this room, or the race was lost too often.
            UnavailableError: no server answers, or it is up to people now: we knocked, and nobody has opened yet.
        """
        await self._recall()
        client_id = ClientId(secrets.token_bytes(CLIENT_ID_BYTES))
        failure: SamtalaError | None = None
        async with open_room_connection(
            self._link.room_id, servers, JoinKeys(self._link), client_id=client_id, known=known, refresh=refresh
        ) as connection:
            self._connection = connection
            try:
                await self._race(connection)
                await self._forget_knock()
            except SamtalaError as error:
                # Carried out by hand: the connection's nursery would wrap it into a group.
                failure = error
        if failure is not None:
            raise failure

    async def _race(self, connection: RoomConnection) -> None:
        for turn in range(limits.JOIN_ATTEMPTS_MAX):
            if await self._is_welcome(connection) or await self._try(connection):
                return
            if turn + 1 >= limits.KNOCK_AFTER and await self._knock(connection):
                return
            # People who got the link at the same moment must not keep step.
            await trio.sleep(random.random() * PAUSE_S * 2 ** min(turn, 5))  # noqa: S311 - a pause
        raise RefusedError("other people's changes kept winning; the room is very busy, try again")

    async def _try(self, connection: RoomConnection) -> bool:
        bundle = await self._bundle(connection)
        if not bundle.group_info:
            return False  # A room by approval: its link opens knocking only.
        try:
            # A group that has sent messages is never gone on with: its ratchets may be older than what was sent.
            if self._is_attempt and self._old_group is not None and has_won(self._old_group, bundle, self._keys):
                await self._begin(self._old_group, Cursor(bundle.sequence, bundle.chain), Phase.LIVE)
                return True
            attempt = self._prepare(bundle)
            if attempt is None:
                return False
        except (DecodeError, mls.PeerError) as error:
            raise RefusedError(f"the room does not open with this link: {error}") from error
        await self._begin(attempt.group, attempt.cursor, Phase.JOINING, attempt.block.digest)
        try:
            result = await connection.append(attempt.block.data).result()
        except OutcomeUnknownError:
            self._old_group, self._is_attempt = attempt.group, True
            return False
        return self._judge(result)

    async def _knock(self, connection: RoomConnection) -> bool:
        """Ask whoever is there to let us in together with others; False if nobody does."""
        package = self._package or await self._make_package()
        bundle = await self._bundle(connection)
        block = prepare_knock(bundle, self._keys, package, entropy=secrets.token_bytes)
        try:
            result = await connection.append(block.data).result()
        except OutcomeUnknownError:
            return False
        if result.kind is not ResultKind.ACCEPTED:
            return False
        self._has_to_wait = not bundle.group_info
        pause = limits.APPROVAL_LOOK_S if self._has_to_wait else limits.KNOCK_LOOK_S
        with trio.move_on_after(limits.APPROVAL_WAIT_S if self._has_to_wait else limits.KNOCK_WAIT_S):
            while True:
                await trio.sleep(random.uniform(*pause))  # noqa: S311 - a pause
                if await self._is_welcome(connection):
                    return True
        if self._has_to_wait:
            raise UnavailableError(_HAS_KNOCKED)
        return False

    async def _make_package(self) -> mls.KeyPackageBundle:
        """Our KeyPackage, stored before anybody sees it."""
        identity, now_s = self._identity, int(time.time())
        package = mls.new_key_package(identity.signature_key, identity.credential(), secrets.token_bytes, now_s)
        stored = msgspec.msgpack.encode(_Knocked(identity.to_bytes(), package.to_bytes(), now_s))
        await self._store.run(lambda store: store.put(self._name, stored))
        self._package = package
        return package

    async def _is_welcome(self, connection: RoomConnection) -> bool:
        """Come in by a Welcome, if there is one for us."""
        package = self._package
        if package is None:
            return False
        try:
            answer = await connection.call(lambda number: GetWelcome(number, self._link.room_id, package.reference))
        except RefusedError as error:
            if error.code is RefusalCode.NOT_FOUND:
                return False
            raise
        if not isinstance(answer, StoredWelcomeReply):
            raise UnavailableError("the server answers something else than a Welcome")
        try:
            group, cursor = enter_by_welcome(answer, package, self._keys, self._identity, now_s=int(time.time()))
        except (DecodeError, mls.PeerError):
            return False  # Any member can put one there: it must not bar the other ways in.
        await self._begin(group, cursor, Phase.LIVE)
        return True

    async def _bundle(self, connection: RoomConnection) -> JoinBundle:
        try:
            answer = await connection.call(lambda number: GetJoinBundle(number, self._link.room_id))
        except RefusedError as error:
            if error.code is RefusalCode.NOT_PROVEN:
                raise RefusedError("the link was replaced while you were joining by it: ask for the new one") from error
            raise
        if not isinstance(answer, JoinBundle):
            raise UnavailableError("the server answers something else than a join bundle")
        return answer

    def _prepare(self, bundle: JoinBundle) -> JoinAttempt | None:
        try:
            return prepare_join(
                bundle, self._keys, self._identity,
                entropy=secrets.token_bytes, now_s=int(time.time()), old_group=self._old_group,
            )  # fmt: skip
        except mls.InvalidArgument as error:
            if self._package is not None:
                return None  # We were let in a moment ago: a Welcome waits.
            raise RefusedError("this device is in the room already; leave it first") from error

    async def _begin(self, group: mls.Group, cursor: Cursor, phase: Phase, digest: bytes = b"") -> None:
        memory: RoomMemory = first_memory(group, cursor, phase)
        if digest:
            memory = msgspec.structs.replace(memory, in_flight=(InFlight(digest, ()),))
        record = RoomRecord(link=self._link.to_text(), name=room_name(group), identity=self._identity.to_bytes())
        await self._store.run(lambda store: store.begin_room(self._link.room_id, record, memory))

    @staticmethod
    def _judge(result: BlockResult) -> bool:
        match result.kind:
            case ResultKind.ACCEPTED:
                return True
            case ResultKind.CONFLICT:
                return False
            case _:
                raise RefusedError(f"the servers refuse to let this device in: {result.kind.name.lower()}")
