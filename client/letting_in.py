"""Knocks: many newcomers are let in by one commit (docs/adr/0015). Pure.

    newcomer: KeyPackage, sealed for who has the link ─▶ KNOCK in the log ─▶ every member remembers it
    whoever commits next, for whatever reason ────────▶ Adds for all that wait, one Welcome for them together
    who is on duty begins an epoch for it at once; the others, if it has not happened after a while
    newcomer: asks for the Welcome under its KeyPackage's reference ─▶ in

The seal shows that who knocked has the link; its associated data name room and epoch, and what is older than a number of
epochs is not looked at, so that no server can knock again for somebody who was removed. Members who restart have forgotten
who waits: newcomers fall back to a commit of their own.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from client import limits
from client.room_state import RoomKeys
from client.seals import open_knock
from mls import Entropy, Group, PeerError, key_package_of
from wire.errors import DecodeError
from wire.room import StoredWelcome, decode_block_header, decode_knock


class Knock(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody waits: a KeyPackage (an MLSMessage), its reference (32 bytes), the epoch in which it came."""

    key_package: bytes
    reference: bytes
    device_key: bytes
    epoch: int


class Knocks:
    """Who waits to be let in, as one member knows."""

    def __init__(self) -> None:
        self.is_on_duty = False
        """Somebody who waits knocked while the room was in an epoch that we had begun: it is up to us."""
        self.is_due = False
        """The time has come to begin an epoch for them."""
        self._bundle_key = b""
        self._waiting: dict[bytes, Knock] = {}
        """By device key: who knocks again is meant once."""

    def __len__(self) -> int:
        return len(self._waiting)

    def be_due(self) -> None:
        """Let in who waits, with the next commit or one of its own."""
        self.is_due = bool(self._waiting)

    def heard(self, block: bytes, group: Group, keys: RoomKeys, *, is_committer: bool) -> None:
        """The log shows a knock. One that is not in order is as if it were not there."""
        epoch = decode_block_header(block).epoch
        if not group.epoch - limits.KNOCK_EPOCHS_MAX <= epoch <= group.epoch or len(self) >= limits.KNOCKS_MAX:
            return
        try:
            opened = open_knock(decode_knock(block), key=keys.bundle_key, room_id=keys.room_id, epoch=epoch)
            found = key_package_of(opened)
        except (DecodeError, PeerError):
            return
        if any(member.signature_public_key == found.device_key for member in group.members()):
            return
        self._bundle_key = keys.bundle_key
        self.is_on_duty = self.is_on_duty or is_committer
        self._waiting[found.device_key] = Knock(
            key_package=opened, reference=found.reference, device_key=found.device_key, epoch=group.epoch
        )

    def entered(self, group: Group, keys: RoomKeys) -> None:
        """Another epoch began: some may be in, others have given up; another link ends the rights of the old one."""
        self.is_due = False
        if keys.bundle_key != self._bundle_key:
            self._waiting.clear()
        if self._waiting:
            members = {member.signature_public_key for member in group.members()}
            oldest = group.epoch - limits.KNOCK_EPOCHS_MAX
            self._waiting = {
                key: knock for key, knock in self._waiting.items() if key not in members and knock.epoch >= oldest
            }
        self.is_on_duty = self.is_on_duty and bool(self._waiting)

    def admissible(self, group: Group, entropy: Entropy, now_s: int) -> list[Knock]:
        """Those whom a commit of ours can let in, those who waited longest first; who cannot be let in is forgotten."""
        chosen = list(self._waiting.values())[: limits.LET_IN_MAX]
        if not chosen or _holds(group, chosen, entropy, now_s):
            return chosen
        good = [knock for knock in chosen if _holds(group, [knock], entropy, now_s)]
        for knock in chosen:
            if knock not in good:
                del self._waiting[knock.device_key]
        # Keys that clash with one another's only: one at a time, they show who is wrong.
        return good if _holds(group, good, entropy, now_s) else good[:1]


def _holds(group: Group, knocks: Sequence[Knock], entropy: Entropy, now_s: int) -> bool:
    try:
        group.commit(add=[knock.key_package for knock in knocks], force_path=False, entropy=entropy, now=now_s)
    except PeerError:
        return False
    return True


def welcome_for(knocks: Sequence[Knock], welcome: bytes | None) -> tuple[StoredWelcome, ...]:
    """What servers keep for those whom a commit lets in."""
    return () if welcome is None else (StoredWelcome(tuple(knock.reference for knock in knocks), welcome),)
