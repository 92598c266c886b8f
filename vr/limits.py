"""Bounds of the core, each with unit and reason."""

from typing import Final

MEMBERS_MAX: Final = 7
"""Replicas of one group that vote: more would only make every commit slower."""

REPLICAS_MAX: Final = 64
"""Bound of a replica's index: members, standbys (a whole new set of members and some to spare), and guests."""

STANDBYS_MAX: Final = 14
"""Standbys of one group: each is sent every operation."""

GUESTS_MAX: Final = 32
"""Replicas of other epochs that are answered at a time: they get places behind the standbys."""

EPOCHS_MAX: Final = 2**29
"""Bound of epochs, so that views of all of them are below NUMBERS_MAX."""

EPOCH_ENDS_KEPT: Final = 32
"""Ends of epochs that a replica remembers: who is further behind is replaced."""

BATCH_REQUESTS_MAX: Final = 128
"""Requests of one operation; the place in the batch must fit in a session number's low byte."""

BATCH_BYTES_MAX: Final = 64 * 1024
"""Small requests of one operation together."""

REQUEST_BYTES_MAX: Final = 800 * 1024
"""One request. A large one travels alone in its operation."""

ENTRY_BYTES_MAX: Final = 900 * 1024
"""One encoded entry; fits in a peer frame with its envelope."""

MESSAGE_BYTES_MAX: Final = 1000 * 1024
"""One encoded message between replicas."""

PIPELINE_OPS_MAX: Final = 8
"""Operations prepared and not yet committed; a constant of the group, kept in its configuration."""

QUEUE_REQUESTS_MAX: Final = 4096
"""Requests that wait at a primary for a place in the pipeline."""

QUEUE_BYTES_MAX: Final = 8 * 1024 * 1024
"""Bytes that wait at a primary for a place in the pipeline."""

PENDING_REQUESTS_MAX: Final = 8192
"""Requests of clients attached here that are not answered yet."""

SESSION_WINDOW: Final = 32
"""Unanswered requests of one session."""

SESSION_RESULTS_KEPT: Final = 64
"""Results kept per session for repeats: twice the window, so that a resend never misses."""

SESSIONS_MAX: Final = 4096
"""Sessions of one group; at the limit the one whose last commit is oldest is evicted."""

SESSION_TTL_S: Final = 30 * 24 * 3600
"""Seconds of logged time after which an unused session is evicted: longer than a phone lies in a drawer over a holiday."""

READS_MAX: Final = 4096
"""Reads that wait for a quorum, or for an operation to be applied."""

READ_ROUNDS_MAX: Final = 64
"""Rounds of ReadIndex under way; what comes then waits for the next one. As many questions of each backup."""

LEASE_MS_MAX: Final = 60_000
"""Milliseconds. So long a restarted replica of a group with leases may not vote."""

HEADERS_PER_MESSAGE_MAX: Final = 256
"""Headers in one answer to GetHeaders, and the longest suffix of a DoViewChange."""

ENTRIES_PER_MESSAGE_MAX: Final = 64
"""Entries in one answer to GetEntries; bytes are bounded by MESSAGE_BYTES_MAX as well."""

LOG_ENTRIES_MAX: Final = 65_536
"""Entries of one group in memory. Far above what checkpoints leave; a primary refuses requests at half of it."""

DIGEST_OPS: Final = 1024
"""Applied operations between two digests of the state that replicas compare."""

DIGESTS_KEPT: Final = 4
"""Own digests kept: a peer may be so many intervals behind and still be compared."""

SNAPSHOT_BYTES_MAX: Final = 64 * 1024 * 1024
"""One encoded snapshot that is fetched: it is put together in memory."""

SNAPSHOT_CHUNK_BYTES: Final = 256 * 1024
"""One chunk of it; what a bad bit costs."""

SNAPSHOT_CHUNKS_MAX: Final = SNAPSHOT_BYTES_MAX // SNAPSHOT_CHUNK_BYTES
"""Chunks, and hashes in one offer."""

SNAPSHOT_CHUNKS_ASKED_MAX: Final = 2
"""Chunks asked for and not here yet."""

SNAPSHOT_BYTES_PER_S: Final = 8 * 1024 * 1024
"""Bytes that one group fetches in a second, and at once after a rest: the rest of the link belongs to live traffic."""

LOG_MARGIN_OPS: Final = 256
"""Applied operations kept in memory below a checkpoint, for laggards."""
