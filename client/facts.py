"""What a room's members have agreed on, inside MLS: its name, who owns it, which link opens it. Pure.

    founding ─▶ RoomFacts in the group's extensions ─▶ only the owner's commits may change them
                    └── link secret: replaced by a rotation, which closes the old link at servers and in join bundles

Servers see nothing of it. A commit that changes facts and is not the owner's does not hold for any member.
"""

from __future__ import annotations

import msgspec

from client.archive import NO_HISTORY, HistoryPolicy
from client.identity import clean_name, person_of
from client.limits import HISTORY_DAYS_MAX
from client.room_state import RoomKeys
from client.seals import bundle_key, public_key
from mls import ROOM_EXTENSION, Extension, Group, Member, StagedCommit
from wire.errors import DecodeError
from wire.link import Link
from wire.room import CommitBody

LINK_SECRET_BYTES = 16


class RoomFacts(msgspec.Struct, frozen=True, array_like=True):
    """`owner` is a user key (32 bytes); `link_secret` is empty while the first link holds.

    `by_approval`: only the owner's commits let people in; the link lets them knock. `history_days`: as in `HistoryPolicy`.
    """

    version: int
    name: str
    owner: bytes = b""
    link_secret: bytes = b""
    by_approval: bool = False
    history_days: int = 0


def facts_extension(facts: RoomFacts) -> Extension:
    """The group extension that carries facts."""
    return Extension(extension_type=ROOM_EXTENSION, data=msgspec.msgpack.encode(facts))


def facts_of(group: Group) -> RoomFacts:
    """The facts of a group; a room without readable facts has no name, no owner and its first link."""
    for extension in group.extensions:
        if extension.extension_type == ROOM_EXTENSION:
            try:
                return msgspec.msgpack.decode(extension.data, type=RoomFacts)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                break
    return RoomFacts(1, "")


def room_name(group: Group) -> str:
    """The name that a room's members gave it, safe to print; its id's first digits if they gave none."""
    name = facts_of(group).name
    return clean_name(name) if name else group.group_id.hex()[:8]


def keys_of(link: Link) -> RoomKeys:
    """What a link says of a room's seals."""
    return RoomKeys(room_id=link.room_id, bundle_key=bundle_key(link.join_secret), root_public=link.root_public)


def keys_in(group: Group, keys: RoomKeys) -> RoomKeys:
    """The same as far as a group's members know: theirs is the latest link."""
    secret = facts_of(group).link_secret
    return keys_of(Link(root_public=keys.root_public, secret=secret)) if secret else keys


def current_link(link: Link, group: Group) -> Link:
    """The link that opens the room now; the hints stay."""
    secret = facts_of(group).link_secret
    return msgspec.structs.replace(link, secret=secret) if secret else link


def policy_of(group: Group) -> HistoryPolicy:
    """How much newcomers may read of what was before them; what nobody can mean is `none`."""
    days = facts_of(group).history_days
    return HistoryPolicy(days) if -1 <= days <= HISTORY_DAYS_MAX else NO_HISTORY


def with_facts(
    group: Group, *, link_secret: bytes | None = None, history: HistoryPolicy | None = None
) -> tuple[Extension, ...] | None:
    """Extensions of a commit that replaces the link, or says what newcomers may read; None if it leaves all as it is."""
    old = new = facts_of(group)
    if link_secret is not None:
        new = msgspec.structs.replace(new, link_secret=link_secret)
    if history is not None:
        new = msgspec.structs.replace(new, history_days=history.days)
    return None if new == old else (facts_extension(new),)


def join_key_of(link: Link) -> bytes:
    """The public key by which servers admit holders of a link."""
    return public_key(link.join_secret)


def check_admission(before: Group, staged: StagedCommit, body: CommitBody) -> None:
    """Refuse a commit that lets somebody into a room by approval, unless the owner's device made it from inside.

    Raises:
        DecodeError: it does.
    """
    facts = facts_of(before)
    if not facts.by_approval:
        return
    if body.external or staged.committer in staged.added:
        raise DecodeError("nobody joins a room by approval on their own")
    # As it stood before: a commit may bring another certificate along.
    committer = before.member(staged.committer.leaf_index)
    if staged.added and (committer is None or person_of(committer, 0).user_key != facts.owner):
        raise DecodeError("only the room's owner may let people in")


def check_facts(before: Group, after: Group, *, committer: Member, body: CommitBody, keys: RoomKeys) -> None:
    """Refuse a commit that changes what only the owner may change, or says one thing to members and another to servers.

    Raises:
        DecodeError: it does.
    """
    old, new = facts_of(before), facts_of(after)
    if before.extensions != after.extensions:
        person = person_of(committer, 0)
        if not old.owner or person.user_key != old.owner:
            raise DecodeError("only the room's owner may change its name, link or history")
        if (new.owner, new.by_approval) != (old.owner, old.by_approval) or len(new.link_secret) not in {
            0,
            LINK_SECRET_BYTES,
        }:
            raise DecodeError("a room's owner, its way in and the size of its secrets never change")
    is_rotated = new.link_secret != old.link_secret
    expected = join_key_of(Link(root_public=keys.root_public, secret=new.link_secret)) if is_rotated else b""
    if body.join_key != expected:
        raise DecodeError("servers and members are told of different links")
