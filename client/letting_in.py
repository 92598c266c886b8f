"""Knocks: many newcomers are let in by one commit (docs/adr/0017). Pure.

    newcomer: KeyPackage, sealed for who has the link ─▶ KNOCK in the log ─▶ every member remembers it
    whoever commits next, for whatever reason ────────▶ Adds for all that wait, one Welcome for them together
    who is on duty begins an epoch for it at once; the others, if it has not happened after a while
    newcomer: asks for the Welcome under its KeyPackage's reference ─▶ in

The seal shows that who knocked has the link; its associated data name room and epoch, and what is older than a number of
epochs is not looked at, so that no server can knock again for somebody who was removed. Members who restart have forgotten
who waits: newcomers fall back to a commit of their own.

In a room by approval nobody opens until its owner says so, and nobody can get in otherwise (`client.facts`). Who waits there is
stored; each person waits once, under a key that is theirs, and is not heard again after being turned away.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from client import limits
from client.facts import facts_of
from client.identity import Person, read_person
from client.room_state import RoomKeys
from client.seals import open_knock
from mls import Entropy, Group, PeerError, key_package_of
from wire.errors import DecodeError
from wire.room import StoredWelcome, decode_block_header, decode_knock


class Knock(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody waits: a KeyPackage (an MLSMessage), its reference and its owner's keys (32 bytes each), the epoch in which
    it came.
    """

    key_package: bytes
    reference: bytes
    device_key: bytes
    identity: bytes
    epoch: int

    @property
    def person(self) -> Person:
        """Who it is, as their credential says."""
        return read_person(self.identity, self.device_key)


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    waiting: tuple[Knock, ...]
    denied: tuple[bytes, ...]


class Knocks:
    """Who waits to be let in, as one member knows.

    Args:
        stored: what `take_stored` gave last.
        group: ours.
        keys: the room's.
    """

    def __init__(self, stored: bytes, group: Group, keys: RoomKeys) -> None:
        known = msgspec.msgpack.decode(stored, type=_Stored) if stored else _Stored((), ())
        self.by_approval = facts_of(group).by_approval
        self.is_on_duty = False
        """Somebody who waits knocked while the room was in an epoch that we had begun: it is up to us."""
        self.is_due = False
        """The time has come to begin an epoch for them."""
        self._bundle_key = keys.bundle_key
        self._waiting = {knock.device_key: knock for knock in known.waiting}
        """By device key: who knocks again is meant once."""
        self._denied = list(known.denied)
        """User keys, those turned away last at the end."""
        self._is_stored = True

    @property
    def waiting(self) -> tuple[Knock, ...]:
        """Those who wait, in the order in which they came."""
        return tuple(self._waiting.values())

    @property
    def opens_itself(self) -> bool:
        """Tell whether somebody waits whom nobody has to approve."""
        return bool(self._waiting) and not self.by_approval

    def be_due(self) -> None:
        """Let in who waits, with the next commit or one of its own."""
        self.is_due = self.opens_itself

    def heard(self, block: bytes, group: Group, keys: RoomKeys, *, is_committer: bool) -> None:
        """The log shows a knock. One that is not in order is as if it were not there."""
        epoch = decode_block_header(block).epoch
        if not group.epoch - limits.KNOCK_EPOCHS_MAX <= epoch <= group.epoch:
            return
        try:
            opened = open_knock(decode_knock(block), key=keys.bundle_key, room_id=keys.room_id, epoch=epoch)
            found = key_package_of(opened)
        except (DecodeError, PeerError):
            return
        knock = Knock(
            key_package=opened, reference=found.reference, device_key=found.device_key, identity=found.identity,
            epoch=group.epoch,
        )  # fmt: skip
        if any(member.signature_public_key == found.device_key for member in group.members()):
            return
        if self.by_approval and not self._is_presentable(knock):
            return
        if len(self._waiting) >= limits.KNOCKS_MAX and found.device_key not in self._waiting:
            return
        self.is_on_duty = self.is_on_duty or is_committer
        self._waiting[found.device_key] = knock
        self._is_stored = False

    def _is_presentable(self, knock: Knock) -> bool:
        """Whoever is shown to people has a name that is theirs, was not turned away, and waits once."""
        person = knock.person
        if not person.is_verified or person.user_key in self._denied:
            return False
        for known in self.waiting:
            if known.person.user_key == person.user_key:
                del self._waiting[known.device_key]
        return True

    def deny(self, device_keys: Iterable[bytes]) -> None:
        """Turn people away; they are not heard again."""
        self._is_stored = False
        for key in device_keys:
            knock = self._waiting.pop(key, None)
            if knock is not None:
                self._denied = [*self._denied, knock.person.user_key][-limits.DENIED_MAX :]

    def entered(self, group: Group, keys: RoomKeys) -> None:
        """Another epoch began: some may be in, others have given up; another link ends the rights of the old one."""
        self.is_due = False
        if keys.bundle_key != self._bundle_key:
            self._waiting.clear()
            self._is_stored = False
        self._bundle_key = keys.bundle_key
        if self._waiting:
            self._is_stored = False
            members = {member.signature_public_key for member in group.members()}
            oldest = 0 if self.by_approval else group.epoch - limits.KNOCK_EPOCHS_MAX
            self._waiting = {
                key: knock for key, knock in self._waiting.items() if key not in members and knock.epoch >= oldest
            }
        self.is_on_duty = self.is_on_duty and bool(self._waiting)

    def admissible(
        self, group: Group, entropy: Entropy, now_s: int, *, approved: tuple[bytes, ...] = ()
    ) -> list[Knock]:
        """Those whom a commit of ours can let in, those who waited longest first; who cannot be let in is forgotten.

        Args:
            group: ours.
            entropy: source of randomness, for trying.
            now_s: unix seconds.
            approved: device keys; nobody else is let into a room by approval.
        """
        eligible = [knock for knock in self.waiting if knock.device_key in approved or not self.by_approval]
        chosen = eligible[: limits.LET_IN_MAX]
        if not chosen or _holds(group, chosen, entropy, now_s):
            return chosen
        good = [knock for knock in chosen if _holds(group, [knock], entropy, now_s)]
        for knock in chosen:
            if knock not in good:
                self._is_stored = False
                del self._waiting[knock.device_key]
        # Keys that clash with one another's only: one at a time, they show who is wrong.
        return good if _holds(group, good, entropy, now_s) else good[:1]

    def take_stored(self) -> bytes | None:
        """What is to be stored, if it has changed since: elsewhere people who were forgotten try for themselves."""
        if self._is_stored or not self.by_approval:
            return None
        self._is_stored = True
        return msgspec.msgpack.encode(_Stored(self.waiting, tuple(self._denied)))


def _holds(group: Group, knocks: Sequence[Knock], entropy: Entropy, now_s: int) -> bool:
    try:
        group.commit(add=[knock.key_package for knock in knocks], force_path=False, entropy=entropy, now=now_s)
    except PeerError:
        return False
    return True


def welcome_for(knocks: Sequence[Knock], welcome: bytes | None) -> tuple[StoredWelcome, ...]:
    """What servers keep for those whom a commit lets in."""
    return () if welcome is None else (StoredWelcome(tuple(knock.reference for knock in knocks), welcome),)
