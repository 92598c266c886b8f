"""Bounds of the storage layer, each with its unit and reason."""

from __future__ import annotations

PAGE_BYTES = 4096
"""Alignment of frames: the unit in which disks and page caches fail, and the step of the search for the next frame."""

SEGMENT_BYTES = 64 * 1024 * 1024
"""Default size of one log segment: a scan of 0.15 s, released after tens of thousands of small batches."""

SEGMENT_BYTES_MIN = 8 * PAGE_BYTES
"""A segment holds its header and at least a few frames (simulations use small ones)."""

FRAME_BYTES_MAX = 8 * 1024 * 1024
"""One frame; bigger batches are several frames that count together or not at all. Bounds the buffer joined per write."""

SPARE_SEGMENTS = 1
"""Segments prepared ahead: rotation costs no allocation, and a full disk is noticed while there is still room."""

SPARE_SEGMENTS_MAX = 2
"""Released segments kept for reuse; more are given back to the file system."""

HOLE_OPS_MAX = 65_536
"""Operations a recovery presents as faulty between two readable ones; a wider hole discards what lies below it."""

REPORT_LINES_MAX = 200
"""Lines of a recovery report; damage beyond is counted, not listed."""

ZERO_CHUNK_BYTES = 1024 * 1024
"""Unit of zero-filling."""

HISTORY_READ_BYTES_MAX = 1024 * 1024
"""Default size of one answer from history: one peer frame."""

FORMAT = 3
"""Of the log, durable states, checkpoints and history. Raise it whenever their bytes change: tests/vr/storage/test_format.py
notices. A folder of another format is refused, never guessed at."""

REPLICA_ID_BYTES = 16
"""Random, made once per data folder (vr.md 1, identity)."""
