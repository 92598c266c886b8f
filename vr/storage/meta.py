"""The bridge between a replica's effects and the log's records: what is written for a Ready, what a meta says at replay."""

from __future__ import annotations

import msgspec

from vr.errors import DecodeError
from vr.ready import DurableState, Ready
from vr.storage.frame import Record, RecordKind
from vr.storage.recovery import MetaEffect
from vr.types import Checksum, GroupId

_NO_CHECKSUM = Checksum(bytes(16))


def ready_records(group: GroupId, ready: Ready) -> list[Record]:
    """The records of one Ready, meta first: its truncation applies before the entries."""
    records = [] if ready.meta is None else [meta_record(group, ready.meta)]
    for entry in ready.append:
        header = entry.header
        records.append(
            Record(
                group=group,
                kind=RecordKind.ENTRY,
                view=header.view,
                op=header.op,
                checksum=header.checksum,
                payload=entry.data,
            )
        )
    return records


def meta_record(group: GroupId, state: DurableState) -> Record:
    """The record of a durable state."""
    return Record(
        group=group,
        kind=RecordKind.META,
        view=state.view,
        op=state.base_op,
        checksum=_NO_CHECKSUM,
        payload=state.to_bytes(),
    )


def moved_meta(meta: Record) -> Record:
    """A meta as it is written again, behind entries that were appended since: its truncation has happened before them."""
    try:
        state = DurableState.from_bytes(meta.payload)
    except DecodeError:
        return meta  # Unreadable it stays: replay reports it.
    if state.truncate_above is None:
        return meta
    payload = msgspec.structs.replace(state, truncate_above=None).to_bytes()
    return msgspec.structs.replace(meta, payload=payload)


def birth_record(group: GroupId) -> Record:
    """The record by which a group that has promised nothing yet is told from one whose promises were lost."""
    return Record(group=group, kind=RecordKind.BIRTH, view=0, op=0, checksum=_NO_CHECKSUM, payload=b"")


def meta_effect(payload: bytes) -> MetaEffect | None:
    """What the durable state in a meta does to the log before it; None when it cannot be decoded."""
    try:
        state = DurableState.from_bytes(payload)
    except DecodeError:
        return None
    return MetaEffect(base_op=state.base_op, truncate_above=state.truncate_above)
