"""MLS at 10 to 5,000 members: CPU milliseconds and bytes, without servers.

Everybody is added by one commit and nobody has committed since: the tree is blank above its leaves, which is the worst case
for whoever commits next.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

import msgspec
from nacl import bindings
from rich.console import Console
from rich.table import Table

from mls import Group, KeyPackageBundle, SignatureKey, new_key_package

SIZES: Final = (10, 100, 1_000, 5_000)
MESSAGE_BYTES: Final = 300
MESSAGES: Final = 400
BATCHES: Final = 8
IDENTITY_BYTES: Final = 32

Result = TypeVar("Result")


class GroupFigures(msgspec.Struct, frozen=True, kw_only=True):
    """A group of `members`; times are CPU milliseconds, best of a few."""

    members: int
    add_all_ms: float
    join_ms: float
    commit_ms: float
    """Our own commit that renews our keys."""
    process_ms: float
    """Somebody else's."""
    add_one_ms: float
    protect_ms: float
    unprotect_ms: float
    welcome_bytes: int
    commit_bytes: int
    add_one_bytes: int
    message_bytes: int


TARGETS: Final[dict[str, float]] = {
    "add_all_ms": 1_500,
    "join_ms": 500,
    "process_ms": 15,
    "protect_ms": 0.05,
    "unprotect_ms": 0.1,
}
"""The most that each may take, at any size."""


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """A future member."""

    key: SignatureKey
    bundle: KeyPackageBundle


def device(now: int) -> Device:
    """A device with a KeyPackage."""
    key = SignatureKey.generate(secrets.token_bytes)
    return Device(key=key, bundle=new_key_package(key, secrets.token_bytes(IDENTITY_BYTES), secrets.token_bytes, now))


def timed(act: Callable[[], Result], repeat: int = 1) -> tuple[float, Result]:
    """CPU milliseconds of the fastest of some runs, and what the last one gave."""
    best_s = float("inf")
    for _ in range(repeat):
        start = time.process_time()
        result = act()
        best_s = min(best_s, time.process_time() - start)
    return round(best_s * 1_000, 3), result


def measure(members: int) -> GroupFigures:
    """Build a group of so many, and do everything once."""
    now = int(time.time())
    devices = [device(now) for _ in range(members - 1)]
    packages = [member.bundle.key_package_bytes for member in devices]
    founder_key = SignatureKey.generate(secrets.token_bytes)
    founder = Group.create(b"bench", founder_key, bytes(IDENTITY_BYTES), entropy=secrets.token_bytes, now=now)
    add_all_ms, staged = timed(
        lambda: founder.commit(add=packages, force_path=False, entropy=secrets.token_bytes, now=now), 2
    )
    welcome = staged.welcome
    assert welcome is not None, "somebody was added"
    first, last = devices[0], devices[-1]
    join_ms, receiver = timed(lambda: Group.join(welcome, first.bundle, first.key, now), 3)
    other = Group.join(welcome, last.bundle, last.key, now)
    sender = staged.merge()
    protect_ms, unprotect_ms, messages = talk(sender, receiver)
    commit_ms, renewed = timed(lambda: sender.commit(entropy=secrets.token_bytes, now=now), 3)
    process_ms, _ = timed(lambda: other.process_commit(renewed.commit, now), 5)
    newcomer = device(now).bundle.key_package_bytes
    add_one_ms, added = timed(
        lambda: sender.commit(add=[newcomer], force_path=False, entropy=secrets.token_bytes, now=now), 3
    )
    return GroupFigures(
        members=members,
        add_all_ms=add_all_ms,
        join_ms=join_ms,
        commit_ms=commit_ms,
        process_ms=process_ms,
        add_one_ms=add_one_ms,
        protect_ms=protect_ms,
        unprotect_ms=unprotect_ms,
        welcome_bytes=len(welcome),
        commit_bytes=len(renewed.commit),
        add_one_bytes=len(added.commit),
        message_bytes=len(messages[0]),
    )


class Primitives(msgspec.Struct, frozen=True, kw_only=True):
    """What libsodium alone takes for a message on this machine, CPU milliseconds: nobody signs or verifies faster."""

    sign_ms: float
    verify_ms: float


def measure_primitives() -> Primitives:
    """Sign and verify a message of the usual size."""
    public, private = bindings.crypto_sign_keypair()
    signed = bindings.crypto_sign(bytes(MESSAGE_BYTES), private)
    sign_ms, _ = timed(lambda: [bindings.crypto_sign(bytes(MESSAGE_BYTES), private) for _ in range(MESSAGES)], 5)
    verify_ms, _ = timed(lambda: [bindings.crypto_sign_open(signed, public) for _ in range(MESSAGES)], 5)
    return Primitives(sign_ms=round(sign_ms / MESSAGES, 4), verify_ms=round(verify_ms / MESSAGES, 4))


def talk(sender: Group, receiver: Group) -> tuple[float, float, list[bytes]]:
    """Milliseconds to protect and to unprotect one message, the best of some batches; and a batch."""
    protect_ms = unprotect_ms = float("inf")
    messages: list[bytes] = []
    for _ in range(BATCHES):
        batch_ms, messages = timed(
            lambda: [sender.protect(bytes(MESSAGE_BYTES), entropy=secrets.token_bytes) for _ in range(MESSAGES)]
        )
        protect_ms = min(protect_ms, batch_ms)
        batch_ms, _ = timed(partial(unprotect_all, receiver, messages))
        unprotect_ms = min(unprotect_ms, batch_ms)
    return round(protect_ms / MESSAGES, 4), round(unprotect_ms / MESSAGES, 4), messages


def unprotect_all(receiver: Group, messages: list[bytes]) -> None:
    """Receive a batch."""
    for message in messages:
        receiver.unprotect(message)


class MlsFigures(msgspec.Struct, frozen=True, kw_only=True):
    """All sizes, and the machine's own limits."""

    primitives: Primitives
    groups: list[GroupFigures]


def run() -> MlsFigures:
    """All sizes; about half a minute."""
    return MlsFigures(primitives=measure_primitives(), groups=[measure(size) for size in SIZES])


def table_of(figures: MlsFigures) -> Table:
    """For people: a row for each figure, a column for each size."""
    table = Table(
        "MLS, CPU ms and bytes", *(f"{group.members:,}" for group in figures.groups), "target", "this machine"
    )
    alone = {"protect_ms": figures.primitives.sign_ms, "unprotect_ms": figures.primitives.verify_ms}
    for name in GroupFigures.__struct_fields__[1:]:
        values = [f"{getattr(group, name):,}" for group in figures.groups]
        target = f"{TARGETS[name]:,}" if name in TARGETS else ""
        table.add_row(name, *values, target, f"{alone[name]} for the signature" if name in alone else "")
    return table


if __name__ == "__main__":
    Console().print(table_of(run()))
