"""People who knock, and who are let in."""

from __future__ import annotations

import mls
from client.joining import enter_by_welcome, prepare_knock
from client.room_core import RoomCore
from client.room_state import Phase, RoomKeys
from tests.client.builders import KEYS, NOW_S, ROOM_ID, Device, Log, entropy_of, identity_of, memory_of
from wire.messages import StoredWelcomeReply
from wire.room import ResultKind


def package_of(name: str, turn: int = 0, now_s: int = NOW_S) -> mls.KeyPackageBundle:
    identity = identity_of(name)
    return mls.new_key_package(
        identity.signature_key, identity.credential(), entropy_of((name, "package", turn)), now_s
    )


def knock(log: Log, package: mls.KeyPackageBundle, keys: RoomKeys = KEYS) -> ResultKind:
    block = prepare_knock(log.bundle(), keys, package, entropy=entropy_of(package.reference))
    return log.append(500, len(log.deliveries) + 1, block.data).kind


def welcomed(name: str, log: Log, package: mls.KeyPackageBundle) -> Device:
    kept = log.service.welcome(package.reference)
    assert kept is not None
    reply = StoredWelcomeReply(1, ROOM_ID, kept.welcome, kept.sequence, kept.chain)
    identity = identity_of(name)
    group, cursor = enter_by_welcome(reply, package, KEYS, identity, now_s=NOW_S)
    core = RoomCore(KEYS, identity, group, memory=memory_of(group, cursor, Phase.LIVE), entropy=entropy_of(name))
    return Device(name, core, log, session=700 + ord(name[0]))
