"""Bounds of a connection to a room, each with its unit and its reason."""

from typing import Final

ENTRIES_WAITING_MAX: Final = 4096
"""Entries that wait for a place in the session's window: 32 full blocks. Beyond, `append_entry` waits."""

ENTRIES_WAITING_BYTES_MAX: Final = 2 * 1024 * 1024
"""Bytes of those entries: the window's worth of the largest blocks."""

APPEND_FRAME_BYTES_MAX: Final = 256 * 1024
"""Bytes of blocks in one Append frame, unless one block alone is larger; a slow link takes seconds for more."""

EVENT_QUEUE_BYTES_MAX: Final = 4 * 1024 * 1024
"""Delivered bytes that wait for a slow consumer. Beyond, nothing is read from the server, which then cuts us."""

EVENT_QUEUE_MAX: Final = 4096
"""Events that wait for a slow consumer: a flapping connection reports states, not bytes."""

CALLS_MAX: Final = 32
"""Unanswered calls of one connection: half of what a server allows, the rest is for proofs and subscriptions."""

CALL_S_MAX: Final = 10.0
"""Seconds for the answer to a call, reconnects included."""

CONNECT_S_MAX: Final = 3.0
"""Seconds for connecting and hellos: a server across the world takes half of one; then the next is tried."""

PROOF_RETRY_S: Final = 0.05
"""Seconds before a proof is tried again that a replica could not know yet: it lags by a commit or two."""

PROOF_RETRIES_MAX: Final = 20
"""Times that a proof is tried on one connection (a second in all) before another server is asked."""

RESEND_S_MIN: Final = 0.01
"""Seconds before refused appends are sent again, where the server does not say."""

FULL_RETRY_S_MAX: Final = 30.0
"""Seconds after which blocks are sent again, at the latest, to a room that is full; its servers say after how many."""

RESEND_S_MAX: Final = 1.0
"""Seconds before refused appends are sent again, whatever the server says."""

GAPS_MAX: Final = 20
"""Times that a session may be refused for missing numbers, without an answer in between, before it is given up."""

BACKOFF_S_MIN: Final = 0.05
"""Seconds before servers are tried again after all of them failed once."""

BACKOFF_S_MAX: Final = 1.0
"""Seconds between tries at most: a room that comes back is noticed within a second."""

STEADY_S: Final = 1.0
"""Seconds after which a connection that fails counts as one that worked: the next server is tried at once."""

PING_IDLE_S: Final = 5.0
"""Seconds of silence before we ask whether the server is there; it cuts us after 60."""

PING_WAITING_S: Final = 0.5
"""Seconds of silence before we ask, while somebody waits for an answer."""

ANSWER_IDLE_S: Final = 10.0
"""Seconds for an answer while nobody waits: a suspended laptop's server may be slow, not dead."""

ANSWER_WAITING_S_MIN: Final = 0.7
"""Seconds for an answer while somebody waits: a living server answers pings during view changes too."""

ANSWER_WAITING_S_MAX: Final = 2.0
"""The same over the slowest path. In between, three times what connecting took, which is three round trips or four."""

APPEND_S_MAX: Final = 4.0
"""Seconds without any answer to appends, from a server that lives: twice what a view change takes."""

STANDSTILL_S: Final = 0.5
"""Seconds that a server may be unable to append before another is tried: a view change among the living is shorter."""

STANDSTILL_RETRY_S: Final = 5.0
"""The same when all servers stand still: we read where we are, and look elsewhere now and then."""

SERVERS_MAX: Final = 16
"""Servers that are tried in turn: a room has at most seven, some may be listed by more than one address."""

CLOSE_S_MAX: Final = 1.0
"""Seconds for tidying up while closing; nothing in it waits for anybody."""
