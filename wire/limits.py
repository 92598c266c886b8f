"""Bounds of everything that crosses the wire, each with its unit and its reason."""

from typing import Final

FRAME_BYTES_MAX: Final = 1024 * 1024
"""One frame, length prefix not counted. Larger than any batch; small enough to buffer per connection."""

ENTRY_BYTES_MAX: Final = 64 * 1024
"""One room entry (a padded MLS message). Larger things are files."""

BLOCK_ENTRIES_MAX: Final = 128
"""Entries of one block: one sender's pipelined messages that travelled together."""

BLOCK_BYTES_MAX: Final = 64 * 1024 + 1024
"""One application block with its header: small entries together, or one entry of the largest size."""

COMMIT_BYTES_MAX: Final = 768 * 1024
"""One commit bundle: commit, GroupInfo with its tree, Welcomes. 5,000 members' GroupInfo does not fit yet."""

BLOCKS_PER_APPEND_MAX: Final = 32
"""Blocks of one Append frame; equal to the session window, so that a resend fits in one frame."""

SESSION_WINDOW: Final = 32
"""Unanswered requests (blocks) of one session."""

DELIVERIES_PER_FRAME_MAX: Final = 256
"""Deliveries that a server puts in one frame."""

GENESIS_BYTES_MAX: Final = 512 * 1024
"""The record a room starts from: members, keys, sealed GroupInfo, signed descriptor."""

DESCRIPTOR_ITEM_BYTES_MAX: Final = 2048
"""A signed descriptor as it is stored: 644 bytes sealed, keys and framing."""

NAME_CHARACTERS_MAX: Final = 64
"""Names of rooms, people and nodes."""

ROOMS_PER_CONNECTION_MAX: Final = 256
"""Rooms that one connection may attach to."""

REQUESTS_IN_FLIGHT_MAX: Final = 64
"""Unanswered calls (messages with an id) of one connection."""

HANDSHAKE_S_MAX: Final = 10.0
"""Seconds for TLS and hellos, after which a silent connection is closed."""

IDLE_S_MAX: Final = 60.0
"""Seconds without a frame after which a connection is closed; clients ping after a third of it."""

WELCOMES_PER_COMMIT_MAX: Final = 256
"""Welcome messages stored with one commit."""

KNOCK_BYTES_MAX: Final = 2048
"""One knock with its header: a sealed KeyPackage has about 700 bytes, most of them the certificate of the device."""

RECEIVE_BYTES: Final = 64 * 1024
"""One read from a socket: four TLS records at once; larger reads did not measure faster."""

HANDSHAKE_BYTES_MAX: Final = 64 * 1024
"""Bytes that the other side may send before its TLS handshake is done; ours takes under 1 KiB."""

CLOSE_S_MAX: Final = 0.5
"""Seconds that a goodbye may take: whoever does not read must not keep us."""

SERVERS_PER_ROOM_MAX: Final = 7
"""Servers with a vote in one room: replication's bound."""

CERTIFICATE_BYTES_MAX: Final = 8 * 1024
"""One epoch certificate: twice seven servers with host names, a configuration, seven signatures."""

CERTIFICATES_PER_FRAME_MAX: Final = 64
"""Epoch certificates sent at once; whoever was away for longer gets the next ones after saying where it is."""

LETTER_BYTES_MAX: Final = 64 * 1024
"""One sealed letter between two devices; what is longer travels as several."""

LEVEL_MAX: Final = 1 << 16
"""Levels of formats: one for each release that brings new ones."""

VERSION_CHARACTERS_MAX: Final = 64
"""A server's version as it tells it."""

COMPARISON_WORDS: Final = 3
"""Words that two people compare: 24 bits, and the attacker has one try with each invitation."""

SERVER_NAMES_CACHED_MAX: Final = 256
"""Server names that a program keeps worked out: those of its cluster, or of its rooms' servers."""
