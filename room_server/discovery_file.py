"""What discovery remembers over a restart: nodes of the DHT, and room records newer than those of the rooms' own logs.

    discovery.bin = CRC-32 4 ‖ MessagePack { nodes: [[host, port], …], records: [signed item, …] }

The records that rooms were made with are in their logs; an owner may have put newer ones into the DHT since, and those are
kept here, so that a replica that starts without any network still answers with the newest that it ever saw. The file is a
memory and no state: it is written aside and renamed, and a damaged one is ignored, with a warning.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Final

import msgspec
import structlog

from dht.errors import DhtError
from dht.items import MutableItem
from room_server import limits

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

FILE_NAME: Final = "discovery.bin"
_CHECK_BYTES: Final = 4


class Remembered(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Nodes as (host, port), those heard from last first, and encoded signed items."""

    nodes: tuple[tuple[str, int], ...] = ()
    records: tuple[bytes, ...] = ()

    def items(self) -> dict[bytes, MutableItem]:
        """The records by target; those that are not signed by their key are left out."""
        found: dict[bytes, MutableItem] = {}
        for data in self.records:
            try:
                item = MutableItem.from_bytes(data)
                item.verify()
            except DhtError as error:
                log.warning("remembered_record_rejected", reason=str(error))
                continue
            found[item.target] = item
        return found


class DiscoveryFile:
    """The file of one node, in its data folder."""

    def __init__(self, folder: Path, name: str = FILE_NAME) -> None:
        self.path = folder / name

    def load(self) -> Remembered:
        """What is in the file; nothing if there is none or it is damaged."""
        try:
            with self.path.open("rb") as file:
                data = file.read(limits.DISCOVERY_FILE_BYTES_MAX + 1)
            if len(data) > limits.DISCOVERY_FILE_BYTES_MAX:
                raise ValueError(f"more than {limits.DISCOVERY_FILE_BYTES_MAX} bytes")
            body = data[_CHECK_BYTES:]
            if data[:_CHECK_BYTES] != _check(body):
                raise ValueError("the checksum is wrong")
            return msgspec.msgpack.decode(body, type=Remembered)
        except FileNotFoundError:
            return Remembered()
        except (OSError, ValueError) as error:  # msgspec's errors are ValueErrors
            log.warning("discovery_file_ignored", path=str(self.path), reason=str(error))
            return Remembered()

    def save(self, remembered: Remembered) -> None:
        """Replace the file. A disk that refuses costs the memory, not the node: it is logged."""
        body = msgspec.msgpack.encode(remembered)
        draft = self.path.with_suffix(".new")
        try:
            with draft.open("wb") as file:
                file.write(_check(body) + body)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.path)
        except OSError as error:
            log.warning("discovery_file_not_written", path=str(self.path), reason=str(error))


def _check(body: bytes) -> bytes:
    return zlib.crc32(body).to_bytes(_CHECK_BYTES, "big")
