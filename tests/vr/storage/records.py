"""Records for storage tests: entries of recognizable bytes, metas of real durable states."""

from __future__ import annotations

import hashlib

from vr.log import Request, make_entry
from vr.ready import CommittedOp, DurableState
from vr.replica import Checkpoint
from vr.storage.frame import Record, RecordKind
from vr.storage.meta import meta_record
from vr.types import Checksum, ClientId, GroupId, OpNumber, RequestNumber, SessionNumber, ViewNumber

GROUP = GroupId(b"room-group-00001")
OTHER_GROUP = GroupId(b"room-group-00002")


def entry(op: int, *, group: GroupId = GROUP, view: int = 0, size: int = 100) -> Record:
    """An entry whose bytes tell its operation and view."""
    seed = hashlib.blake2b(f"{group.hex()} {op} {view}".encode()).digest()
    payload = (seed * (size // len(seed) + 1))[:size]
    checksum = Checksum(hashlib.blake2b(payload, digest_size=16).digest())
    return Record(group=group, kind=RecordKind.ENTRY, view=view, op=op, checksum=checksum, payload=payload)


def meta(
    *, group: GroupId = GROUP, view: int = 0, base_op: int = 0, truncate_above: int | None = None, padding: int = 0
) -> Record:
    """A meta; `padding` makes it longer."""
    state = DurableState(
        view=view,
        log_view=view,
        commit=base_op,
        base_op=base_op,
        base_checksum=Checksum(bytes(16)),
        frozen_do_view_change=bytes(padding) if padding else None,
        truncate_above=truncate_above,
    )
    return meta_record(group, state)


def committed(op: int, *, mark: int | None = None, size: int = 10) -> CommittedOp:
    request = Request(ClientId(bytes(16)), SessionNumber(256), RequestNumber(op), b"x" * size)
    entry = make_entry(
        view=ViewNumber(1),
        op=OpNumber(op),
        commit=OpNumber(op - 1),
        parent=Checksum(bytes(16)),
        timestamp_us=op,
        requests=[request],
    )
    return CommittedOp(entry=entry, requests=[request], results=[b"result %d" % op], mark=op if mark is None else mark)


def checkpoint(op: int, service: bytes = b"service") -> Checkpoint:
    return Checkpoint(
        op=OpNumber(op), checksum=Checksum(bytes(16)), timestamp_us=op, sessions=b"sessions", service=service
    )
