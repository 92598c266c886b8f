"""A recovery file kept by servers, so that the code alone brings everything back.

    code ─▶ root key, link secret ─▶ a room that nobody joins: its first epoch carries the file, sealed twice
      └── @ addresses of its servers                     (by the link that only the code gives, and by the code itself)

To servers it is a room like others: replicated, on their disks, found through the DHT when the addresses have changed. Each
file is a room of its own; an older code goes on to bring back what was kept with it.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Sequence
from typing import Final

import mls
from client import limits
from client.client import Client
from client.cluster import REPLICAS_MAX, Roster, ask_roster, host_room
from client.connection import RoomConnection, open_room_connection
from client.discovery import Discovery
from client.errors import NotFoundError, RefusedError, SamtalaError, UsageError
from client.facts import LINK_SECRET_BYTES, keys_of
from client.founding import found_by_keys
from client.identity import Identity
from client.membership import JoinKeys
from client.recovery import PLACES_MARK, secret_of
from client.seals import open_bundle
from mls import ROOM_EXTENSION, Extension
from wire.descriptor import RoomRoot
from wire.errors import DecodeError, LocalError
from wire.ids import CLIENT_ID_BYTES, ClientId
from wire.limits import GENESIS_BYTES_MAX
from wire.link import Hint, Link
from wire.messages import GetJoinBundle, JoinBundle

_SEED_BYTES: Final = 32
_PORT_DIGITS_MAX: Final = 5
_ROOM_BYTES: Final = 16 * 1024
"""What a genesis has beside the file: seven servers, keys, a tree of one."""


async def keep_recovery(client: Client) -> str:
    """Have the servers of this person's rooms keep a new recovery file; returns the code that brings everything back.

    Raises:
        RefusedError: the file is too large, or the servers do not want it.
        UnavailableError: this person has no rooms, or most servers do not answer.
    """
    roster = await ask_roster((await client.servers())[:REPLICAS_MAX])
    code, file = await client.make_recovery(limits.KEPT_ARCHIVE_BYTES_MAX)
    return await _keep(file, code, roster)


async def _keep(file: bytes, code: str, roster: Roster) -> str:
    if len(file) > GENESIS_BYTES_MAX - _ROOM_BYTES:
        raise RefusedError("this person is in too many rooms for servers to keep; write a file instead")
    root_seed, secret = _seeds(code)
    now_us = time.time_ns() // 1000
    # Whoever comes back proves nothing but the code: the room's only member is nobody.
    nobody = Identity.generate(name="nobody", label="", entropy=secrets.token_bytes, now_s=now_us // 1_000_000)
    new = found_by_keys(
        roster.nodes, nobody, Extension(extension_type=ROOM_EXTENSION, data=file),
        root_seed=root_seed, secret=secret, entropy=secrets.token_bytes, now_us=now_us,
    )  # fmt: skip
    await host_room(roster.nodes, new.genesis)
    return f"{code}{PLACES_MARK}{','.join(map(_place_text, new.link.hints))}"


async def fetch_recovery(code: str, *, known_nodes: Sequence[tuple[str, int]] = ()) -> bytes:
    """The recovery file that servers keep for a code. Time limits are the caller's affair.

    Args:
        code: as `keep_recovery` gave it; without the part behind the @, servers are looked for in the DHT.
        known_nodes: where to begin there.

    Raises:
        NotFoundError: nothing was kept for this code.
        UnavailableError: its servers are not found.
        UsageError: the code has a slip.
    """
    try:
        link = link_of(code)
    except (DecodeError, LocalError) as error:
        raise UsageError(str(error)) from error
    found = await Discovery(link, known_nodes=known_nodes).first()
    client_id = ClientId(secrets.token_bytes(CLIENT_ID_BYTES))
    result: bytes | SamtalaError = b""
    async with open_room_connection(link.room_id, found.servers, JoinKeys(link), client_id=client_id) as connection:
        try:
            result = await _read(connection, link)
        except SamtalaError as error:
            # Carried out by hand: the connection's nursery would wrap it into a group.
            result = error
    if isinstance(result, SamtalaError):
        raise result
    return result


def link_of(code: str) -> Link:
    """The link of the room that keeps a code's file.

    Raises:
        DecodeError: the code has a slip.
    """
    root_seed, secret = _seeds(code)
    _, _, places = code.partition(PLACES_MARK)
    hints = tuple(_place(text.strip()) for text in places.split(",") if text.strip())
    return Link(root_public=RoomRoot(root_seed).public, secret=secret, hints=hints)


async def _read(connection: RoomConnection, link: Link) -> bytes:
    answer = await connection.call(lambda number: GetJoinBundle(number, link.room_id))
    if not isinstance(answer, JoinBundle):
        raise NotFoundError("the servers keep nothing for this code")
    keys = keys_of(link)
    try:
        opened = open_bundle(answer.group_info, key=keys.bundle_key, room_id=keys.room_id, epoch=answer.epoch)
        nobody = Identity.generate(name="nobody", label="", entropy=secrets.token_bytes, now_s=int(time.time()))
        staged, _ = mls.Group.join_external(
            opened.group_info, nobody.signature_key, nobody.credential(),
            entropy=secrets.token_bytes, now=int(time.time()), remove_old_leaf=None,
        )  # fmt: skip
    except (DecodeError, mls.PeerError) as error:
        raise NotFoundError(f"what the servers keep for this code cannot be read: {error}") from error
    files = [extension.data for extension in staged.group.extensions if extension.extension_type == ROOM_EXTENSION]
    return files[0] if files else b""


def _seeds(code: str) -> tuple[bytes, bytes]:
    secret = secret_of(code)

    def derive(purpose: bytes, size: int) -> bytes:
        return hashlib.blake2b(purpose, key=secret, digest_size=size, person=b"samtala-vault").digest()

    return derive(b"root", _SEED_BYTES), derive(b"link", LINK_SECRET_BYTES)


def _place_text(hint: Hint) -> str:
    return f"[{hint.host}]:{hint.port}" if ":" in hint.host else f"{hint.host}:{hint.port}"


def _place(text: str) -> Hint:
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or len(port) > _PORT_DIGITS_MAX:
        raise DecodeError(f"{text[:80]!r} is no address: behind the {PLACES_MARK} stand HOST:PORT, with commas between")
    return Hint(host=host, port=int(port))
