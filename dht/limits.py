"""Every bound of the package, with its unit and its reason. Seconds are of the monotonic clock."""

from __future__ import annotations

from typing import Final

# Messages

DATAGRAM_BYTES_MAX: Final = 1_500
"""Bytes of one datagram; longer ones are dropped unread. An Ethernet frame; ours stay under 1,450."""

BENCODE_DEPTH_MAX: Final = 8
"""Nested containers. KRPC needs 4; BEP 44 values may nest, and this is what a peer may make us stack."""

INTEGER_DIGITS_MAX: Final = 20
"""Digits of an integer: 64 bits need 20. Python's own conversion of long digit strings is quadratic."""

TRANSACTION_BYTES_MAX: Final = 32
"""Bytes of a peer's transaction id that we echo. Mainline uses 2 to 8."""

VALUE_BYTES_MAX: Final = 1_000
"""Bytes of an item's value, bencoded (BEP 44)."""

SALT_BYTES_MAX: Final = 64
"""Bytes of an item's salt (BEP 44)."""

SEQUENCE_MAX: Final = (1 << 63) - 1
"""Largest sequence number (BEP 44: signed 64 bits)."""

# The public network

PUBLIC_BOOTSTRAP: Final = (
    "router.bittorrent.com:6881",
    "dht.transmissionbt.com:6881",
    "router.utorrent.com:6881",
    "dht.libtorrent.org:25401",
)
"""`HOST:PORT` of nodes that programs of the public network commonly begin with; asked by whoever opts in, and by nobody else."""

# Routing table

BUCKET_NODES_MAX: Final = 20
"""k: nodes of one bucket and nodes that store an item. 8 falls to 16 forged ids beside the target, 20 does not."""

REPLACEMENTS_MAX: Final = 8
"""Nodes that wait for a place in a full bucket."""

REPLY_NODES_MAX: Final = 8
"""Nodes in a find_node reply, given and accepted: 26 bytes each in a datagram that must stay small."""

FAILURES_MAX: Final = 3
"""Unanswered queries in a row after which a node leaves the table."""

NODE_GOOD_S: Final = 900.0
"""Seconds after its last answer that a node counts as good (BEP 5: 15 minutes)."""

BUCKET_IDLE_S: Final = 900.0
"""Seconds without an answer in a bucket's range, after which it is refreshed (BEP 5: 15 minutes)."""

SELF_LOOKUP_S: Final = 600.0
"""Seconds between lookups of our own id: keeps neighbours known while the network is small."""

VERIFICATIONS_MAX: Final = 16
"""Pings in flight to strangers that queried us. More strangers than this at once look like a flood."""

MAINTENANCE_S: Final = 5.0
"""Seconds between rounds of upkeep; a round refreshes one idle bucket at most."""

UPKEEP_PINGS_MAX: Final = 3
"""Pings to silent nodes in one round: 540 nodes in a quarter of an hour, more than a table of the public network has."""

TABLE_SMALL_NODES: Final = 40
"""Nodes below which the network is small: our own neighbourhood is looked up regularly, and anyone is worth a ping."""

EXTERNAL_ADDRESS_VOTES_MIN: Final = 10
"""Responders in distinct /24s that must agree before we believe our external address (BEP 42)."""

EXTERNAL_ADDRESS_VOTES_MAX: Final = 64
"""Votes remembered, the oldest dropped."""

# Lookup

LOOKUP_PARALLEL: Final = 4
"""alpha: queries kept outstanding at the top of the list."""

LOOKUP_QUERIES_MAX: Final = 120
"""Queries of one lookup: forged ids must not lead us on for ever (318 were seen without a cap)."""

LOOKUP_CANDIDATES_MAX: Final = 100
"""Candidates kept by one lookup, the farthest dropped."""

LOOKUP_WIDTH_MAX: Final = 80
"""Answers within reach of a target that one lookup waits for, and copies of one put: room for 60 crowding Sybils."""

LOOKUP_SEEDS_MAX: Final = 40
"""Candidates that a lookup starts from: two buckets."""

DISJOINT_PATHS: Final = 4
"""d: lookups that share no node, begun when one lookup found nothing (S/Kademlia: 4 to 8)."""

DISJOINT_QUERIES_MAX: Final = 60
"""Queries of each of them."""

SOFT_TIMEOUT_S_MIN: Final = 0.3
"""Seconds after which a silent query no longer counts against alpha (twice the 90th percentile if that is more)."""

SOFT_TIMEOUT_S_MAX: Final = 1.0
"""Upper bound of the same."""

HARD_TIMEOUT_S: Final = 4.0
"""Seconds after which a query has failed."""

RETRANSMIT_S: Final = 1.0
"""Seconds after which a seed's unanswered query is sent once more: one lost datagram must not lose a lone hint."""

FAST_GET_S: Final = 1.0
"""Seconds a get goes on after the first valid value, looking for a higher sequence number."""

PUT_REPLICAS: Final = 20
"""Closest nodes whose copies are counted before a put is skipped; equal to k."""

LOOKUPS_MAX: Final = 64
"""Lookups at a time; a further one waits."""

LOOKUPS_WAITING_MAX: Final = 16_384
"""Lookups that wait for their turn: all rooms of a node, and more."""

QUERIES_MAX: Final = 2_048
"""Queries in flight. 64 lookups of 4 wide and their stragglers are fewer."""

SEND_DELAY_S_MAX: Final = 2.0
"""Seconds that a query may wait for its address's rate; what would wait longer fails at once."""

BOOTSTRAP_MAX: Final = 32
"""Bootstrap addresses kept."""

BOOTSTRAP_RETRY_S: Final = 10.0
"""Seconds between tries to reach a bootstrap address while nobody is known: servers start in any order."""

ROUND_TRIPS_MAX: Final = 64
"""Round trip times remembered for the soft timeout."""

# Storage

ITEMS_MAX: Final = 4_000
"""Items stored for others: 4 MB. The farthest from our id leave first."""

ITEMS_PER_NETWORK_MAX: Final = 64
"""Items stored for one /24 (IPv6 /48)."""

ITEM_LIFE_S: Final = 7_200.0
"""Seconds an item lives after its last announcement (BEP 44: 2 hours)."""

PINNED_MAX: Final = 20_000
"""Pinned items: twice the rooms of a node."""

TOKEN_BYTES: Final = 8
"""Bytes of a write token."""

TOKEN_ROTATION_S: Final = 300.0
"""Seconds between new token secrets; the previous one stays good for as long (BEP 5)."""

# Rates

QUERIES_PER_S: Final = 10.0
"""Queries a second answered to one address, sustained."""

QUERY_BURST: Final = 50.0
"""Queries answered to one address at once."""

ADDRESSES_MAX: Final = 4_096
"""Addresses whose rates are remembered, the longest idle forgotten."""

EGRESS_BYTES_PER_S: Final = 64 * 1024
"""Bytes a second of values served to sources that proved nothing."""

EGRESS_NETWORK_BYTES_PER_S: Final = 3 * 1024
"""Bytes a second of answers to one /24 without a fresh token or pong; beyond it less is said, then nothing."""

SENDS_PER_ADDRESS_PER_S: Final = 4.0
"""Queries a second that we send to one address, sustained: libtorrent bans above 5."""

SENDS_PER_ADDRESS_BURST: Final = 20.0
"""Queries that we send to one address at once: libtorrent counts over 10 seconds, 49 are answered."""

PROVEN_S: Final = 600.0
"""Seconds after a correct token or pong that a source is not suspected of a forged address."""

# Shell

RESOLVE_S_MAX: Final = 2.0
"""Seconds that names among seeds may take to resolve; those that take longer are left out."""

ERROR_PAUSE_S: Final = 0.1
"""Seconds between tries to receive while the socket fails: a network that is down must not cost a processor."""

ALLOWED_MAX: Final = 4_096
"""Entries of an allow-list."""

BOOTSTRAP_NODES_MAX: Final = 256
"""Nodes to begin from that one node remembers: those of its configuration, of its last run, and those it was introduced to."""
