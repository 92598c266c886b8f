"""What a server remembers of its cluster, so that after a restart it knows whom to dial before anybody has told it.

    cluster.bin = CRC-32 4 ‖ MessagePack { genesis, roster }

A memory and no state: the roster itself is in the log of the cluster's group, and others tell the newest. The file is written
aside and renamed. A damaged one must not let a server forget where it belongs, so it does not start with it.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Final

import msgspec

from room_server import limits
from room_server.errors import ClusterError, SnapshotError, StartError
from room_server.formats import LEVEL
from room_server.roster import RosterState, decode_genesis, decode_state, encode_state, level_of
from wire.errors import DecodeError

FILE_NAME: Final = "cluster.bin"
_CHECK_BYTES: Final = 4


class RememberedCluster(msgspec.Struct, frozen=True):
    """The encoded genesis, and the roster as it was when it was last written."""

    genesis: bytes
    roster: RosterState


class _Stored(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    genesis: bytes
    roster: bytes


class ClusterFile:
    """The file of one node, in its data folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME

    def load(self) -> RememberedCluster | None:
        """What is in the file; None if there is none.

        Raises:
            StartError: it is damaged.
        """
        try:
            with self.path.open("rb") as file:
                data = file.read(limits.CLUSTER_FILE_BYTES_MAX)
            body = data[_CHECK_BYTES:]
            if data[:_CHECK_BYTES] != _check(body):
                raise ValueError("the checksum is wrong")
            stored = msgspec.msgpack.decode(body, type=_Stored)
            decode_genesis(stored.genesis)
            self._check_level(stored.roster)
            return RememberedCluster(stored.genesis, decode_state(stored.roster))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, DecodeError, SnapshotError) as error:  # msgspec's errors are ValueErrors
            raise StartError(
                f"{self.path} is damaged ({error}). Move it away, start, and join the cluster again with a new token"
            ) from error

    def _check_level(self, roster: bytes) -> None:
        level = level_of(roster)
        if level > LEVEL:
            raise StartError(
                f"the servers of this cluster write formats of level {level} by now, which this version does not know (it knows"
                f" {LEVEL}): it cannot go back. Nothing was changed; install the newer version again"
            )

    def save(self, remembered: RememberedCluster) -> None:
        """Replace the file.

        Raises:
            ClusterError: the disk refuses.
        """
        body = msgspec.msgpack.encode(_Stored(genesis=remembered.genesis, roster=encode_state(remembered.roster)))
        draft = self.path.with_suffix(".new")
        try:
            with draft.open("wb") as file:
                file.write(_check(body) + body)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.path)
        except OSError as error:
            raise ClusterError(f"{self.path} cannot be written: {error}") from error

    def remove(self) -> None:
        """The server belongs to no cluster any more."""
        self.path.unlink(missing_ok=True)


def _check(body: bytes) -> bytes:
    return zlib.crc32(body).to_bytes(_CHECK_BYTES, "big")
