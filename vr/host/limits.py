"""Bounds of the host, each with its unit, its reason, and what happens beyond it."""

from __future__ import annotations

from vr.storage.limits import SEGMENT_BYTES

PEER_FRAME_BYTES_MAX = 1024 * 1024
"""One frame between nodes (architecture.md 5). More messages become several frames; a larger frame ends the link."""

PEER_FRAME_PARTS_MAX = 16_384
"""Messages in one frame: a bound on the work one frame can cause."""

INBOX_MESSAGES_MAX = 65_536
"""Messages of peers that wait for the loop. Beyond, frames are dropped as a network drops them, and counted."""

INBOX_BYTES_MAX = 64 * 1024 * 1024
"""Bytes of frames that wait for the loop; policy as above."""

SUBMITTED_REQUESTS_MAX = 16_384
"""Requests submitted here that wait for the loop. Beyond, `submit` raises Busy."""

SUBMITTED_BYTES_MAX = 32 * 1024 * 1024
"""Bytes of such requests; policy as above."""

BUSY_RETRY_AFTER_S = 0.05
"""What a refused submitter is told: a few turns of the loop."""

WRITE_BYTES_MAX = 4 * 1024 * 1024
"""Entries written before one sync; what waits beyond goes with the next one."""

WRITE_QUANTUM_BYTES = 64 * 1024
"""What a group may write per round when more waits than fits: one full operation of small requests."""

INLINE_BYTES_MAX = 4096
"""A batch so small is written by the loop itself while syncs are quick: a lone sender's latency."""

INLINE_SYNC_S_MAX = 0.0005
"""Syncs that take longer on average belong in the thread: the loop must not stand still for a slow disk."""

WRITES_PER_TURN_MAX = 4
"""Small writes by the loop itself before others get their turn."""

CHECKPOINT_OPS = 1024
"""Operations of a group between two checkpoints: bounds replay at start, and memory."""

CHECKPOINT_BYTES = 16 * 1024 * 1024
"""Bytes of entries of a group between two checkpoints."""

CHECKPOINT_GROUPS_MAX = 32
"""Groups checkpointed in one job: their snapshots are made in the loop."""

BACKLOG_BYTES_MAX = 32 * 1024 * 1024
"""Committed entries of all groups that are not in history yet; at this all are flushed."""

LOG_SEGMENTS_MAX = 8
"""Live segments of the log; beyond, the groups that pin the oldest are checkpointed."""

LIVENESS_STEPS_MAX = 512
"""Hot groups told about a peer's fate in one turn: a dead node must not stall thousands of groups at once."""

WAKES_PER_S = 1000
"""Sleeping groups told about a peer's fate in a second: about half of a core, measured. Beyond, they wait asleep."""

WAKES_BURST_MAX = 256
"""Sleeping groups told at once, after a quiet time."""

HOT_S = 60.0
"""A group in which something was committed so recently is hot: it is told at once."""

COLD_S = 300.0
"""A group in which nothing was committed for so long gives up the operations that it has in memory."""

COOL_EVERY_S = 1.0
"""How often groups that fell silent are looked at."""

COOLED_AT_ONCE_MAX = 16
"""Groups that grow cold at one look: 5,000 that fell silent together take five minutes, and a few percent of the disk."""

HISTORY_READS_MAX = 256
"""Reads of history that wait for the worker. Beyond, a peer's is dropped (it asks again), an embedder's is Busy."""

CHUNK_READS_MAX = 16
"""Chunks of snapshots that wait for the worker: 4 MiB of answers. Beyond, they are dropped: the peer asks again."""

PARTS_MAX = 16
"""Chunks of snapshots from peers that wait to be kept: 4 MiB. Beyond, they are not: a restart fetches them again."""

MARK_AFTER_IDLE_S = 0.05
"""A log that is idle so long writes a sync mark: what was acknowledged becomes provable."""

FREE_BYTES_MIN = 2 * SEGMENT_BYTES
"""Below this the host refuses new requests but keeps voting; promises already made need room."""

FREE_CHECK_BYTES = 1024 * 1024
"""Bytes written after which the writer looks at the free space: a quick disk fills within the second below."""

FREE_CHECK_S = 1.0
"""How often the writer looks at the free space."""

SYNC_STALL_S = 2.0
"""A sync that takes longer silences our heartbeats: a node whose disk hangs must not stay primary."""

DRAIN_S = 10.0
"""How long a closing host waits for what is in flight."""

MESSAGES_PER_TURN_MAX = 8192
"""Messages handled before effects leave: bounds the delay of everything else."""

DURATIONS_KEPT_MAX = 1024
"""Durations that wait to be drawn into a histogram: half a second of writes at 2,000 a second."""
