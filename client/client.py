"""A person's client: one profile, its rooms, and how to get into more.

    async with open_client() as me:
        room = await me.join("SAMTALA:…")
        await room.send("hej")

Everything that a client starts ends with its block; rooms are connected from the moment they are opened. A room is opened
once and shared.
"""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec
import trio

import mls
from client import limits
from client.archive import NO_HISTORY, HistoryPolicy
from client.cluster import Roster, ask_roster, host_room
from client.connection import ConnectionState, ServerAddress
from client.discovery import NO_OTHERS, Discovery, Found, OtherSources, known_nodes_of
from client.errors import NotFoundError, OutcomeUnknownError, RefusedError, SamtalaError, UnavailableError, UsageError
from client.facts import current_link, keys_of
from client.founding import NewRoom, Owner, admin_seed_of, found_room
from client.identity import Identity, clean_name, key_fingerprint
from client.membership import Newcomer
from client.moving import MovePlan, Mover, prepare_move, prepare_replacement, vouched
from client.places import places_of, with_moved
from client.portable import Luggage, identity_of, pack_rooms, restored, unpacked
from client.profile import open_profile, profile_folder
from client.record_keeper import RecordKeeper
from client.recovery import CameBack, RecoveredRoom, Recovery, open_recovery, seal_recovery
from client.rescue import override_room
from client.room import Room
from client.room_core import RoomCore
from client.room_driver import RoomDriver
from client.room_state import Phase
from client.store import RoomRecord, Store, StoredRoom
from client.store_access import StoreThread
from client.typed import check_name, parse_room_link, parse_server
from client.whereabouts import servers_of
from wire.certificate import RoomServers
from wire.errors import DecodeError
from wire.ids import RoomId
from wire.ids import Sequence as EntrySequence
from wire.link import Link

_IDENTITY: Final = "identity"
_KNOWN_NODES: Final = "known_nodes"
LOOK_AGAIN_S: Final = 5.0
"""Seconds without a connection after which a room's servers are looked for again; also the pause between searches."""


class RoomSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A room of this profile, without connecting to it."""

    name: str
    room_id: RoomId
    phase: Phase
    sequence: int
    is_owner: bool


class Client:
    """See the module. Made by `open_client`."""

    def __init__(self, store: Store, identity: Identity, nursery: trio.Nursery, others: OtherSources) -> None:
        self.identity = identity
        self._others = others
        self.last_search: Discovery | None = None
        """The latest search for a room, with its trace."""
        self._store = StoreThread(store)
        self._nursery = nursery
        self._open: dict[RoomId, Room] = {}
        self._opening = trio.Lock()
        self._newcomer: Newcomer | None = None

    @property
    def name(self) -> str:
        """What this person calls themselves, unless they said otherwise when they joined a room."""
        return self.identity.name

    @property
    def fingerprint(self) -> str:
        """Short form of this person's key, which others see beside the name."""
        return key_fingerprint(self.identity.user_key)

    @property
    def tried(self) -> tuple[str, ...]:
        """What the latest search asked and what came of it, and which servers a join could not use, for people."""
        search = () if self.last_search is None else self.last_search.lines()
        return search + (() if self._newcomer is None else self._newcomer.failures)

    # Rooms

    async def rooms(self) -> list[RoomSummary]:
        """Rooms of this profile, oldest first."""
        return [
            RoomSummary(
                name=stored.record.name,
                room_id=stored.room_id,
                phase=stored.phase,
                sequence=stored.cursor.sequence,
                is_owner=bool(stored.record.root_seed),
            )
            for stored in await self._store.run(Store.rooms)
        ]

    async def room(self, which: str) -> Room:
        """Open a room of this profile.

        Args:
            which: its name, the beginning of its id, or its link.

        Raises:
            NotFoundError: there is no such room here, or several.
            UnavailableError: nobody knows where its servers are.
        """
        stored = await self._find(which)
        async with self._opening:
            return await self._open_room(stored)

    async def join(self, link: str, *, name: str | None = None) -> Room:
        """Join a room by its link, or open it if we are in it already. Time limits are the caller's affair.

        Args:
            link: `SAMTALA:…` or the web form.
            name: what to be called there; by default as everywhere.

        Raises:
            UsageError: that is no link, or no name.
            UnavailableError: nobody knows the room, or no server answers.
            RefusedError: the link does not open it.
        """
        parsed = parse_room_link(link)
        identity = self._identity_for_room(name)
        async with self._opening:
            stored = await self._store.run(lambda store: store.room(parsed.room_id))
            is_new = stored is None or stored.phase is not Phase.LIVE
            if stored is None or is_new:
                stored = await self._join(parsed, identity, stored)
            room = await self._open_room(stored, has_joined=is_new)
        if is_new:
            await room.caught_up()
        return room

    async def create_room(
        self, name: str, *, nodes: Sequence[str], my_name: str | None = None, by_approval: bool = False,
        history: HistoryPolicy = NO_HISTORY, by_quorum: bool = True,
    ) -> Room:  # fmt: skip
        """Make a room on the servers of a cluster and become its first member.

        Args:
            name: what its members will call it.
            nodes: addresses of servers, HOST:PORT#KEY; one is enough to find the others.
            my_name: what to be called there; by default as everywhere.
            by_approval: the link only lets people knock: see `Room.approve`.
            history: what newcomers may read of what was before them: see `Room.set_history`.
            by_quorum: its servers' cluster may place it on others of its servers, not only we: see `found_room`.

        Raises:
            UsageError: a name or an address is wrong.
            UnavailableError: a majority of the servers does not answer.
            RefusedError: the servers do not want it.
        """
        check_name(name, "a room's name")
        if not nodes:
            raise UsageError("a room needs servers: give the address of one, as `samtala node init` printed it")
        identity = self._identity_for_room(my_name)
        roster = (await ask_roster([parse_server(text) for text in nodes])).for_new_room()
        now_us, entropy = time.time_ns() // 1000, secrets.token_bytes
        new = found_room(
            name, roster.nodes, identity, by_approval=by_approval, history=history, by_quorum=by_quorum,
            entropy=entropy, now_us=now_us,
        )  # fmt: skip
        async with self._opening:
            await self._begin_own(new, name, identity)
            await self._host(new, roster)
            stored = await self._store.run(lambda store: store.room(new.link.room_id))
            assert stored is not None, "it was stored a moment ago"
            return await self._open_room(stored)

    async def leave(self, which: str) -> None:
        """Say goodbye, as far as anybody listens, and delete the room from this profile.

        Raises:
            NotFoundError: there is no such room here.
        """
        stored = await self._find(which)
        if stored.phase is Phase.LIVE:
            with trio.move_on_after(limits.GOODBYE_S_MAX):
                with suppress(UnavailableError, OutcomeUnknownError):
                    await (await self.room(which)).say_goodbye()
        await self.close_room(stored.room_id)
        await self._store.run(lambda store: store.forget_room(stored.room_id))

    async def rescue(self, which: str) -> EntrySequence:
        """Send a room of ours, in which nobody can write any more, back to the epoch that this device is in.

        Returns its place in the log. Members who were led further join again by the link. Time limits are the caller's.

        Raises:
            NotFoundError: there is no such room here.
            RefusedError: it is somebody else's room, or its servers cannot go back to our epoch.
        """
        stored, link, group = await self._owned(which)
        found = await (await self._search(link, stored.descriptor)).first()
        known = await self._believed(stored.room_id, found)
        return await override_room(
            group,
            keys_of(link),
            places_of(found, known),
            admin_seed=admin_seed_of(stored.record.root_seed),
            known=known,
        )

    async def plan_move(
        self, which: str, nodes: Sequence[str], report: Callable[[str], None]
    ) -> tuple[MovePlan, Mover]:
        """What moving a room that this device made to other servers takes, and who does it. Time limits are the caller's.

        Args:
            which: the room.
            nodes: the servers that it shall have: names that its servers know, or HOST:PORT#KEY.
            report: told each step, in words, when it is done.

        Raises:
            NotFoundError, RefusedError: no such room here, somebody else's, or these servers cannot be.
            UnavailableError: nobody answers.
            UsageError: neither a known name nor an address.
        """
        stored, link, _ = await self._owned(which)
        known = await self._believed(stored.room_id, await (await self._search(link, stored.descriptor)).first())
        return await prepare_move(
            link, known, nodes, root_seed=stored.record.root_seed, now_s=int(time.time()), report=report
        )

    async def plan_replacement(
        self, which: str, old: str, new: str, report: Callable[[str], None]
    ) -> tuple[MovePlan, Mover] | None:
        """The same for one server in another's place; None if the room is not on that one. See `prepare_replacement`."""
        stored, link, _ = await self._owned(which)
        known = await self._believed(stored.room_id, await (await self._search(link, stored.descriptor)).first())
        return await prepare_replacement(
            link, known, old, new, root_seed=stored.record.root_seed, now_s=int(time.time()), report=report
        )

    async def vouch(self, which: str, server: ServerAddress, epoch: int) -> bytes:
        """The signed record that a room of ours goes on, by force, on this server alone in this epoch; kept here too.

        Raises:
            NotFoundError, RefusedError: there is no such room here, or it is somebody else's.
        """
        stored, link, _ = await self._owned(which)
        record = vouched(stored.record.root_seed, server, epoch, link_secret=link.secret, now_s=int(time.time()))
        await self._store.run(lambda store: store.set_descriptor(stored.room_id, record))
        return record

    async def _owned(self, which: str) -> tuple[StoredRoom, Link, mls.Group]:
        """A room that this device made, its link of now, its group."""
        stored = await self._find(which)
        if not stored.record.root_seed:
            raise RefusedError("only the device that made the room can do that")
        memory = await self._store.run(lambda store: store.memory(stored.room_id))
        group = restored(memory, identity_of(stored.record))
        return stored, current_link(parse_room_link(stored.record.link), group), group

    async def servers(self) -> list[ServerAddress]:
        """Servers of this profile's rooms, the newest room's first; each room is looked for as long as it takes.

        Raises:
            UnavailableError: this profile has no room, or nobody knows where they are.
        """
        found: list[ServerAddress] = []
        for stored in reversed(await self._store.run(Store.rooms)):
            search = await self._search(parse_room_link(stored.record.link), stored.descriptor)
            place = await search.first()
            places = places_of(place, await self._believed(stored.room_id, place))
            found += [server for server in places if server not in found]
        if not found:
            raise UnavailableError("this profile is in no room yet; name a server with --node HOST:PORT#KEY")
        return found[: limits.KNOWN_NODES_MAX]

    # Recovery

    async def make_recovery(self, archive_bytes_max: int = limits.RECOVERY_ARCHIVE_BYTES_MAX) -> tuple[str, bytes]:
        """The code to write down and the file to keep: both together bring back this person, their rooms, and keys of
        messages as far as the rooms' history policies keep them, at most so many bytes.
        """
        luggage = Luggage(archive_bytes_max=archive_bytes_max)
        return seal_recovery(await self.portable(luggage), secrets.token_bytes)

    async def portable(self, luggage: Luggage) -> Recovery:
        """What makes this person, to be taken to another device: key, name and rooms. Secret; no ratchet is in it."""
        rooms = await self._store.run(lambda store: pack_rooms(store, luggage))
        return Recovery(1, self.identity.user_seed, self.identity.name, rooms)

    async def recover(self, file: bytes, code: str) -> list[CameBack]:
        """Become the person of a recovery file, in a profile without rooms, and join their rooms again.

        No ratchet is restored: each room is joined anew, as another device. Time limits are the caller's affair.

        Raises:
            UsageError: the profile has rooms already, or code and file do not belong together.
        """
        await self.check_is_empty()
        try:
            recovery = open_recovery(file, code)
        except DecodeError as error:
            raise UsageError(str(error)) from error
        identity = Identity.for_user(
            recovery.user_seed, name=clean_name(recovery.name), label=sys.platform,
            entropy=secrets.token_bytes, now_s=int(time.time()),
        )  # fmt: skip
        return await self.become(identity, recovery.rooms)

    async def check_is_empty(self) -> None:
        """Raise UsageError if this profile has rooms: becoming somebody else would leave them without their keys."""
        if await self._store.run(Store.rooms):
            raise UsageError("this profile has rooms already; use a new one: samtala --profile NAME …")

    async def become(self, identity: Identity, rooms: Sequence[RecoveredRoom]) -> list[CameBack]:
        """Be another person from now on, in a profile without rooms, and join theirs, each as a new device.

        Raises:
            UsageError: the profile has rooms.
        """
        await self.check_is_empty()
        self.identity = identity
        await self._store.run(lambda store: store.put(_IDENTITY, identity.to_bytes()))
        return [await self._come_back(room) for room in rooms]

    async def _come_back(self, room: RecoveredRoom) -> CameBack:
        try:
            joined = await self.join(room.link)
        except SamtalaError as error:
            return CameBack(link=room.link, failure=str(error))
        if room.root_seed:
            await self.close_room(joined.room_id)
            await self._store.run(
                lambda store: store.set_owner(joined.room_id, room.root_seed, created_s=room.created_s)
            )
            joined = await self.room(joined.room_id.hex())
        await self._store.run(lambda store: store.add_history(joined.room_id, unpacked(room.said)))
        if room.archive:
            await joined.inherit(room.archive)
        return CameBack(link=room.link, name=joined.name, said=len(room.said))

    async def history_read(self) -> None:
        """Return when all open rooms have read what was before this device; see `Room.history_read`."""
        for room in tuple(self._open.values()):
            await room.history_read()

    async def close_room(self, room_id: RoomId) -> None:
        """Disconnect from a room; its history stays."""
        room = self._open.pop(room_id, None)
        if room is not None:
            await room.aclose()

    async def locate(self, link: str) -> Discovery:
        """Ask every source where a room is, and wait for all of them; see the result's `best` and `trace`.

        Raises:
            UsageError: that is no link.
        """
        parsed = parse_room_link(link)
        stored = await self._store.run(lambda store: store.room(parsed.room_id))
        search = await self._search(parsed, b"" if stored is None else stored.descriptor)
        await search.search(lambda found: False)
        await self._remember(parsed.room_id, search)
        return search

    # Inside

    async def _find(self, which: str) -> StoredRoom:
        rooms = await self._store.run(Store.rooms)
        if ":" in which:
            room_id = parse_room_link(which).room_id
            found = [stored for stored in rooms if stored.room_id == room_id]
        else:
            wanted = which.removeprefix("#").lower()
            found = [stored for stored in rooms if stored.record.name.lower() == wanted]
            found = found or [
                stored for stored in rooms if len(wanted) >= 4 and stored.room_id.hex().startswith(wanted)
            ]
        if len(found) == 1:
            return found[0]
        names = ", ".join(f"{stored.record.name} ({stored.room_id.hex()[:8]})" for stored in found or rooms)
        if found:
            raise NotFoundError(f"several rooms are called {which!r}: {names}. Give the beginning of the id")
        known = f"this profile is in: {names}" if names else "this profile is in no room; join one: samtala join LINK"
        raise NotFoundError(f"no room {which!r} here; {known}")

    def _identity_for_room(self, name: str | None) -> Identity:
        """A fresh device key for each stay in a room: rooms cannot be connected by it, and coming back is never barred."""
        wanted = self.name if name is None else name
        check_name(wanted, "a name")
        return Identity.for_user(
            self.identity.user_seed, name=wanted, label=sys.platform, entropy=secrets.token_bytes,
            now_s=int(time.time()),
        )  # fmt: skip

    async def _join(self, link: Link, identity: Identity, stored: StoredRoom | None) -> StoredRoom:
        old_group: mls.Group | None = None
        if stored is not None and stored.phase is not Phase.REMOVED:
            identity, old_group = await self._old_stay(stored)
        search = await self._search(link, b"" if stored is None else stored.descriptor)
        found = await search.first()
        is_attempt = stored is not None and stored.phase is Phase.JOINING
        self._newcomer = Newcomer(link, identity, self._store, old_group=old_group, is_attempt=is_attempt)
        known = servers_of(found.item, found.descriptor)
        places = places_of(found, known)
        await self._newcomer.join(places, known=known, refresh=lambda: with_moved(places, search.contacts))
        await self._remember(link.room_id, search)
        joined = await self._store.run(lambda store: store.room(link.room_id))
        assert joined is not None, "a newcomer stores the room"
        return joined

    async def _old_stay(self, stored: StoredRoom) -> tuple[Identity, mls.Group]:
        identity = identity_of(stored.record)
        memory = await self._store.run(lambda store: store.memory(stored.room_id))
        group = restored(memory, identity)
        if stored.phase is Phase.BROKEN:
            # What cannot be followed any more is left with its key; the old leaf goes by the same commit.
            identity = self._identity_for_room(identity.name)
        return identity, group

    async def _begin_own(self, new: NewRoom, name: str, identity: Identity) -> None:
        record = RoomRecord(
            link=new.link.to_text(), name=clean_name(name), identity=identity.to_bytes(),
            root_seed=new.root_seed, created_s=int(time.time()),
        )  # fmt: skip

        def act(store: Store) -> None:
            # Before any server knows of it: a room whose keys were lost could never be closed.
            store.begin_room(new.link.room_id, record, new.memory)
            store.set_descriptor(new.link.room_id, new.descriptor)

        await self._store.run(act)

    async def _host(self, new: NewRoom, roster: Roster) -> None:
        is_hosted = False
        try:
            await host_room(roster.nodes, new.genesis)
            is_hosted = True
        finally:
            if not is_hosted:
                with trio.move_on_after(limits.GOODBYE_S_MAX, shield=True):
                    await self._store.run(lambda store: store.forget_room(new.link.room_id))

    async def _open_room(self, stored: StoredRoom, *, has_joined: bool = False) -> Room:
        """Connect to a room; `has_joined`: the servers said just now that we are in, though the log is not read yet."""
        room = self._open.get(stored.room_id)
        if room is not None and not room.is_over:
            return room
        link = parse_room_link(stored.record.link)
        if stored.phase is Phase.JOINING and room is None and not has_joined:
            stored = await self._finish_joining(link, stored)
        memory = await self._store.run(lambda store: store.memory(stored.room_id))
        first_id = await self._store.run(lambda store: store.last_id(stored.room_id))
        identity = identity_of(stored.record)
        group = restored(memory, identity)
        link = current_link(link, group)
        core = RoomCore(keys_of(link), identity, group, memory=memory, entropy=secrets.token_bytes)
        driver = RoomDriver(core, self._store, join_secret=link.join_secret)
        search = await self._search(link, stored.descriptor)
        found = await search.first()
        seed, signed = stored.record.root_seed, found.item.seq >> 32
        ownership = Owner(seed, found.descriptor, secrets.token_bytes, epoch=signed) if seed else None
        room = Room(driver, self._store, link=link, name=stored.record.name, first_id=first_id, ownership=ownership)
        self._open[stored.room_id] = room
        self._nursery.start_soon(self._run_room, driver, found, link, RecordKeeper(link, seed, signed))
        return room

    async def _finish_joining(self, link: Link, stored: StoredRoom) -> StoredRoom:
        """A join that was cut off: whether it was accepted is found out from the next bundle."""
        memory = await self._store.run(lambda store: store.memory(stored.room_id))
        return await self._join(link, identity_of(stored.record), stored) if memory.in_flight else stored

    async def _run_room(self, driver: RoomDriver, found: Found, link: Link, keeper: RecordKeeper) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._look_for_servers, driver, found, link)
            nursery.start_soon(keeper.run, driver)
            known = await self._believed(link.room_id, found)
            await driver.run(places_of(found, known), known=known)
            nursery.cancel_scope.cancel()

    async def _look_for_servers(self, driver: RoomDriver, found: Found, link: Link) -> None:
        """Ask again where the room is: once at the beginning, and whenever it stays out of reach."""
        while True:
            search = await self._search(link, found.item.to_bytes())
            await search.search(lambda better: self._move(driver, better))
            found = search.best or found
            await self._remember(link.room_id, search)
            if driver.connection is not None and driver.state.state is not ConnectionState.LIVE:
                places = places_of(found, await self._believed(link.room_id, found))
                driver.connection.set_servers(await with_moved(places, search.contacts))
            await trio.sleep(LOOK_AGAIN_S)
            while driver.state.state is ConnectionState.LIVE:
                await driver.state_news.wait()

    def _move(self, driver: RoomDriver, found: Found) -> bool:
        if driver.connection is not None and found.servers:
            known = servers_of(found.item, found.descriptor)
            driver.connection.owner_says(known, places_of(found, known))
        return False

    async def _believed(self, room_id: RoomId, found: Found) -> RoomServers:
        """The owner's word, unless the servers that it names have moved the room since."""
        signed = servers_of(found.item, found.descriptor)
        followed = await self._store.run(lambda store: store.servers(room_id))
        return signed if followed is None or followed.epoch <= signed.epoch else followed

    async def _search(self, link: Link, cached: bytes) -> Discovery:
        encoded = await self._store.run(lambda store: store.get(_KNOWN_NODES))
        self.last_search = Discovery(link, cached=cached, known_nodes=known_nodes_of(encoded), others=self._others)
        return self.last_search

    async def _remember(self, room_id: RoomId, search: Discovery) -> None:
        nodes = list(search.known_nodes)
        if search.best is not None:
            places = [(server.host, server.port) for server in search.best.servers]
            nodes = (places + [node for node in nodes if node not in places])[: limits.KNOWN_NODES_MAX]
        descriptor = b"" if search.best is None else search.best.item.to_bytes()

        def act(store: Store) -> None:
            store.put(_KNOWN_NODES, msgspec.msgpack.encode(nodes))
            if descriptor:
                store.set_descriptor(room_id, descriptor)

        await self._store.run(act)


@asynccontextmanager
async def open_client(
    profile: str | Path | None = None,
    *,
    name: str | None = None,
    passphrase: str | None = None,
    others: OtherSources = NO_OTHERS,
) -> AsyncIterator[Client]:
    """Open a profile; keys and an encrypted store are made on first use.

    Args:
        profile: a word, naming a folder in the person's data folder, or a path. Default: "default".
        name: what to be called, kept for later. Default on first use: "guest-" and a few letters.
        passphrase: opens the store instead of a key file beside it; decided on first use.
        others: where to look for rooms besides their links and the DHT.

    Raises:
        PreconditionError: another process has the profile open.
        StoreError: it cannot be read.
        UsageError: the name is no name, or the passphrase is missing.
    """
    if name is not None:
        check_name(name, "a name")
    with open_profile(profile_folder(profile), passphrase=passphrase) as store:
        identity = _load_identity(store, name)
        try:
            async with trio.open_nursery() as nursery:
                try:
                    yield Client(store, identity, nursery, others)
                finally:
                    nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            raise _only(group) from None


def _only(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one error of a group, so that callers meet what they raised and not the nursery's wrapping."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _load_identity(store: Store, name: str | None) -> Identity:
    stored = store.get(_IDENTITY)
    if stored is None:
        identity = Identity.generate(
            name=name or "guest", label=sys.platform, entropy=secrets.token_bytes, now_s=int(time.time())
        )
        if name is None:
            identity = identity.renamed(f"guest-{key_fingerprint(identity.user_key)[:4]}")
    else:
        identity = Identity.from_bytes(stored)
        if name is None or name == identity.name:
            return identity
        identity = identity.renamed(name)
    store.put(_IDENTITY, identity.to_bytes())
    return identity
