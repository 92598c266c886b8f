"""Bounds of one node, each with its unit and its reason. What crosses the wire is bounded in `wire.limits`."""

from typing import Final

READ_KEYS_MAX: Final = 4096
"""Epochs of a room whose read keys are kept (32 bytes each): who was away longer joins again."""

STALL_US_MAX: Final = 30_000_000
"""Microseconds of agreed time that a commit has to be acknowledged (R3): a member who can apply it does within 24 s."""

OVERRIDES_MAX: Final = 16
"""Overrides that readers far behind can still read across; who is behind more than that joins again."""

JOINS_AT_ONCE_MAX: Final = 256
"""External commits of one room that may come together: each costs every member a signature and a tree."""

JOINS_PER_S: Final = 2.0
"""External commits of one room per second after that: a link that went around cannot keep the members busy."""

KNOCKS_MAX: Final = 256
"""Knocks of one room between two commits: as many newcomers as one commit lets in, and a bound for who only knocks."""

KNOCK_EPOCHS_MAX: Final = 64
"""Epochs that a knock may be behind: in a storm the room moves on while it is on its way."""

WELCOMES_MAX: Final = 1024
"""Welcomes kept per room until they are fetched; the oldest go first."""

WELCOME_BYTES_MAX: Final = 4 * 1024 * 1024
"""Bytes of all Welcomes kept per room: they are part of every checkpoint."""

LETTERS_MAX: Final = 256
"""Letters between devices that wait on one node, 64 KiB each: 16 MiB. Linking a device takes four or five."""

LETTERS_AT_ONCE_MAX: Final = 64
"""Letters that may come together."""

LETTERS_PER_S: Final = 1.0
"""Letters per second after that: people link devices a few times in their lives."""

LETTER_S_MAX: Final = 600.0
"""Seconds that a letter is kept: as long as a code to link a device holds (`client.limits`)."""

CHUNK_BYTES_MAX: Final = 256 * 1024
"""Blocks of one Deliver frame, unless one block alone is larger: a slow link takes seconds for more."""

RING_BYTES_MAX: Final = 1024 * 1024
"""Deliver frames kept in memory per room, so that who blinks does not cost a disk read."""

RINGS_BYTES_MAX: Final = 256 * 1024 * 1024
"""Deliver frames kept in memory for all rooms; rooms quiet for longest give theirs up first."""

HISTORY_PAGE_BYTES: Final = 256 * 1024
"""Bytes of one read from history for one subscriber: what a send queue takes at once."""

SEND_QUEUE_BYTES_MAX: Final = 2 * 1024 * 1024
"""Bytes waiting for one client. Above it deliveries stop (and resume by sequence) and nothing more is read from it."""

SEND_BYTES_MAX: Final = 256 * 1024
"""Bytes of one write to one client, so that progress of a slow one can be seen."""

SEND_STALL_S_MAX: Final = 30.0
"""Seconds that one write may take: 256 KiB at 70 kbit/s. Then the client is cut as a slow reader."""

SESSIONS_PER_CONNECTION_MAX: Final = 512
"""Sessions whose answers one connection may wait for: one per room, and some for changes of session."""

BAD_PROOFS_MAX: Final = 8
"""Wrong proofs of one connection before it is closed: each costs us a signature check."""

STALE_BLOCKS_MAX: Final = 128
"""Blocks of an ended epoch that one connection may still append to a room until it proves a newer one."""

FLUSH_S_MAX: Final = 2.0
"""Seconds that a connection which we end has left to take what is queued for it."""

HISTORY_RETRY_S: Final = 0.02
"""Seconds before history is asked again for entries that are committed but not stored there yet."""

DRAIN_POLL_S: Final = 0.02
"""Seconds between looks whether appends in flight are answered, during shutdown only."""

DRAIN_S_MAX: Final = 60.0
"""Seconds that a node in shutdown waits for appends in flight."""

SWEEP_S: Final = 2.0
"""Seconds between looks for silent and stalled connections: one task for all, no timer per connection."""

CONDITION_S: Final = 0.5
"""Seconds between looks at how attached rooms stand: well below what it takes to suspect a silent peer."""

ANNOUNCE_PERIOD_S: Final = 3600.0
"""Seconds between announcements of one room in the DHT: items expire there after twice that (dht.md §2)."""

ANNOUNCE_SPREAD: Final = 0.1
"""Fraction by which that period varies, so that rooms of one node do not march in step."""

ANNOUNCE_STAGGER_S: Final = 5.0
"""Seconds between the first announcements of a room's replicas: the later ones see copies and skip."""

ANNOUNCE_RETRY_S: Final = 60.0
"""Seconds before an announcement that failed is tried again."""

ANNOUNCE_AT_ONCE_MAX: Final = 4
"""Announcements under way together: a lookup is some thirty datagrams."""

DHT_BOOTSTRAP_S: Final = 15.0
"""Seconds between attempts to find the first neighbours in the DHT."""

DISCOVERY_SAVE_S: Final = 600.0
"""Seconds between writings of what discovery remembers (dht.md §2: every ten minutes, and at the end)."""

DISCOVERY_NODES_MAX: Final = 24
"""DHT nodes remembered over a restart, of 32 that a start asks: the configured ones keep their places."""

DISCOVERY_RECORDS_MAX: Final = 10_000
"""Room records remembered that are newer than their rooms' logs: as many as there may be rooms."""

DISCOVERY_FILE_BYTES_MAX: Final = 16 * 1024 * 1024
"""Bytes read of that memory: ten thousand records of 1 KB, and then some."""

LAN_TARGETS_MAX: Final = 32
"""Rooms announced on the local network: one datagram (`wire.lan`). Home servers have few."""

LAN_ADDRESSES_MAX: Final = 4
"""Own addresses announced there."""

LAN_LOOK_S: Final = 2.0
"""Seconds between looks whether other rooms are to be announced there."""

LAN_GOODBYE_S_MAX: Final = 2.0
"""Seconds for taking the announcement back at the end."""

RESOLVE_S_MAX: Final = 5.0
"""Seconds for one host name of the configuration."""

PEER_QUEUE_BYTES_MAX: Final = 16 * 1024 * 1024
"""Bytes waiting for one peer; above it frames are dropped, as a network drops them (VR resends)."""

PEER_BACKOFF_S_MIN: Final = 0.05
"""Seconds before the first dial after a peer link broke: a restart is noticed at once."""

PEER_BACKOFF_S_MAX: Final = 0.25
"""Seconds between dials of a peer that stays away: it may be back, and be needed, when the next one fails."""

PEER_DIAL_S_MAX: Final = 2.0
"""Seconds for one dial, hellos included. TCP sends its first packet again after 1 s, and then only after 3: dial anew before."""

PEER_ROOMS_MAX: Final = 1024
"""Room ids of one message between peers."""

PEER_ROOMS_ASKED_MAX: Final = 16_384
"""Rooms whose genesis is awaited from one peer: more than a node hosts."""

PEER_SILENCE_S_MAX: Final = 2.5
"""Seconds without a frame after which a peer link is closed and dialled again.

TCP waits ever longer before it tries again: a link over a network that was parted for a while would stay silent for as long
once more. By then the peer is suspected anyway (`vr.liveness`), so that nothing is lost with the link.
"""

PEER_PING_S: Final = 0.8
"""Seconds between signs of life on a link, also when no room is shared."""

HTTP_REQUEST_BYTES_MAX: Final = 16 * 1024
"""One request to the metrics port, head and body."""

HTTP_CONNECTIONS_MAX: Final = 16
"""Open connections of the metrics port: scrapers and probes, not the public."""

HTTP_S_MAX: Final = 10.0
"""Seconds for one request and its answer on the metrics port."""

ADMIN_ROOMS_MAX: Final = 1000
"""Rooms of one answer on the admin socket: some 200 bytes each."""

RATE_OVER_S: Final = 1.0
"""Seconds for which rooms are watched to tell their rates: `samtala top` draws as often."""

TASKS_SHOWN_MAX: Final = 5000
"""Tasks in one dump: some 100 bytes each, and three per connection."""

ADDRESSES_MAX: Final = 65_536
"""Addresses that are remembered after their last connection ended: some 300 bytes each."""

ADDRESS_WAIT_S_MAX: Final = 2.0
"""Seconds that a request waits for its address's turn; beyond, it is refused as BUSY. Below the patience of clients."""

EPOCHS_TOLD_MAX: Final = 8
"""Epochs of a room that one server tells another at once, whose signatures may still be wanted: 8 KiB each at most."""

EPOCHS_GIVEN_BYTES_MAX: Final = 256 * 1024
"""Certificates that go with a genesis to a server that is new in the room: hundreds of moves."""

MOVE_RETRY_S: Final = 0.1
"""Seconds between looks at rooms whose owner wants other servers: a new primary, or replicas that were not ready."""

DEPART_AFTER_S: Final = 60.0
"""Seconds that a server goes on answering for a room that has left it, once a majority of the new servers has begun."""

HANDOVER_S_MAX: Final = 5.0
"""Seconds for handing over all groups that a draining node leads; thousands of rooms take some of them."""

HANDOVERS_AT_ONCE: Final = 200
"""Groups that are handed over at a time: a view change is three small messages and a sync for each member."""

HANDOVER_LOOK_S: Final = 0.05
"""Seconds between looks at what is still led from here: a view change among the living takes less."""

DIAL_BACK_S_MAX: Final = 4.0
"""Seconds for calling a server back: longer than a handshake over a bad line."""

DIAL_BACK_EVERY_S: Final = 10.0
"""Seconds between two calls back to one address: somebody mends a router and looks again."""

DIAL_BACKS_AT_ONCE_MAX: Final = 4
"""Calls back on their way from one node; who else asks is refused as BUSY."""

DIAL_BACK_ADDRESSES_MAX: Final = 1024
"""Addresses whose last call back is remembered."""

DIAL_BACK_PORT_MIN: Final = 1024
"""Below, only the very port that the configuration names for a peer is dialled: other services live there."""

REACH_FIRST_S: Final = 60.0
"""Seconds after the start before fellows are first asked to dial us: links and routers' forwardings come up until then."""

REACH_EVERY_S: Final = 900.0
"""Seconds between two such questions while we are reached: one handshake each way."""

REACH_RETRY_S: Final = 180.0
"""Seconds between two while we are not, or nobody can tell: somebody mends a router and waits."""

REACH_SPREAD: Final = 0.2
"""Fraction by which these vary, so that servers which started together do not ask together."""

REACH_FELLOWS_MAX: Final = 3
"""Fellows asked each time until one gets through: more would hardly know better."""

REACH_ASK_S_MAX: Final = 15.0
"""Seconds for one fellow: connecting to it, its dial of DIAL_BACK_S_MAX, and a name to look up."""

REACH_HOST_CHARS_MAX: Final = 64
"""Characters of the address at which a fellow says it dialled: IPv6 with the name of an interface, and no more."""

NODE_RECORD_LOOK_S: Final = 60.0
"""Seconds between looks at our own name's addresses: a dynamic name follows its router within minutes."""

NODE_RECORD_RETRY_S: Final = 2.0
"""Seconds before our record is put again that nobody took: at the start neighbours are still to be met."""

PEER_FIND_EVERY_S: Final = 5.0
"""Seconds between searches for peers that are not where the configuration says."""

PEER_FIND_S_MAX: Final = 4.0
"""Seconds for one such search."""

MAP_LIFETIME_S: Final = 7200
"""Seconds for which a router is asked to forward our port (RFC 6886 3.3 recommends as much)."""

MAP_LIFETIME_S_MAX: Final = 86_400
"""Seconds that a grant is believed for, whatever the router says."""

MAP_RETRY_S_MIN: Final = 3.0
"""Seconds before an unanswered request is sent again; doubled each time (RFC 6887 8.1.1)."""

MAP_RETRY_S_MAX: Final = 1024.0
"""Seconds between unanswered requests at most (RFC 6887 8.1.1)."""

MAP_REFUSED_S_MAX: Final = 3600.0
"""Seconds that a router's refusal is heeded, whatever it says."""

MAP_GATEWAY_LOOK_S: Final = 60.0
"""Seconds between looks at which router we are behind."""

MAP_GOODBYE_S_MAX: Final = 1.0
"""Seconds for giving the mapping back at the end; it runs out by itself."""

MAP_DATAGRAM_BYTES_MAX: Final = 1100
"""Of one answer (RFC 6887 7: no message is longer)."""

CLUSTER_NODES_MAX: Final = 32
"""Servers of one cluster: each keeps a link to each other one."""

CLUSTER_INVITES_MAX: Final = 32
"""Invitations of one cluster that are open, or used and not yet over."""

INVITE_S_MAX: Final = 7 * 24 * 3600
"""Seconds that an invitation may hold: who needs longer is invited again."""

ROSTER_OPERATION_BYTES_MAX: Final = 8192
"""One operation of a roster: a server's record has some 500 bytes at most."""

SCRUB_FINDINGS_MAX: Final = 1000
"""Findings after which a scrub ends: a disk that is so damaged has to be replaced anyway."""

SCRUB_RETRY_S: Final = 3600.0
"""Seconds before a scrub that failed is tried again."""

QUOTA_MAX: Final = 1 << 30
"""Of a quota in a cluster's policy: more means nothing."""

QUOTA_BURST_S: Final = 10.0
"""Seconds' worth of a room's blocks that may come at once: who was away sends what was written meanwhile."""

FULL_RETRY_S: Final = 30.0
"""Seconds after which a block is tried again in a room that is full: an operator or its owner has to do something first."""

PLACEMENTS_MAX: Final = 64
"""Rooms of a cluster that are on their way to other servers at the same time: each is a snapshot to fetch."""

PLACEMENTS_AT_ONCE_MAX: Final = 16
"""Of them, those that one operation of the roster names: it stays below ROSTER_OPERATION_BYTES_MAX."""

PLACES_PER_PAGE: Final = 1024
"""Rooms in one answer to another server of the cluster: 250 KB at most."""

PLACES_MAX: Final = 100_000
"""Rooms of a cluster that a plan looks at: 40 MB while it is made."""

PLACES_WAIT_S_MAX: Final = 5.0
"""Seconds that another server has for each page of its rooms."""

PLACE_LOOK_S: Final = 0.5
"""Seconds between two looks at a room that is to be placed: whether its newcomers have caught up."""

CLUSTER_VOTERS_MAX: Final = 5
"""Servers of a cluster that decide on its roster: two may fail at once. The others are told."""

ROSTER_WAIT_S_MAX: Final = 7.0
"""Seconds for one change of a roster: an election takes one or two. Then its outcome is unknown. Less than HTTP_S_MAX."""

ROSTER_RETRY_S: Final = 0.2
"""Seconds before a change of a roster that could not be taken up is tried again."""

BETWEEN_EPOCHS_S_MAX: Final = 2.0
"""Seconds that a server may be between two epochs of the roster's group: one sync, and some for a slow disk."""

CLUSTER_LOOK_S: Final = 0.5
"""Seconds between two looks at what a cluster needs, while something is under way: a newcomer catches up meanwhile."""

VITALS_S: Final = 5.0
"""Seconds between two tellings of how a server is: a table about a cluster is as old."""

VITALS_UNSETTLED_S: Final = 0.5
"""The same for VITALS_S after a link was lost: rooms get other leaders."""

ASK_S: Final = 0.5
"""Seconds between two questions of a server that waits to be let into a cluster: a person waits, too."""

ASKS_PER_CONNECTION_MAX: Final = 100_000
"""Questions on one connection: more than a day of waiting."""

LINGER_S: Final = 10.0
"""Seconds that a link to a server which left the roster is kept: it has to learn that it did."""

CLUSTER_FILE_BYTES_MAX: Final = 256 * 1024
"""What a server remembers of its cluster: 32 servers and as many invitations take some 40 KiB."""
RELAY_WAIT_S_MAX: Final = 10.0
"""Seconds until a server comes that was asked to; whoever waits has as long for its handshake."""

RELAY_IDLE_S_MAX: Final = 180.0
"""Seconds without a byte after which a carried connection ends: clients and peers say something every minute at most."""

RELAYED_MAX: Final = 256
"""Connections at once that come to this node through its relay."""

RELAYED_WAITING_MAX: Final = 64
"""Asks of the relay that wait for us to dial; beyond, people have to try again."""

UPNP_AFTER_S: Final = 20.0
"""Seconds without an answer by PCP or NAT-PMP before a router is asked by UPnP."""

UPNP_GOODBYE_S_MAX: Final = 4.0
"""Seconds for giving a rule back at the end: the router has to be found again. It runs out by itself."""

UPNP_DISCOVER_S: Final = 2.0
"""Seconds for answers to one kind of search for the router; there are some four kinds."""

UPNP_S_MAX: Final = 15.0
"""Seconds for one conversation by UPnP, finding the router included."""

DRAIN_LOOK_S: Final = 1.0
"""Seconds between looks at whether a drained node was elected to lead something again."""
