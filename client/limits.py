"""Every bound of the client, with its unit and reason."""

from __future__ import annotations

from typing import Final

TEXT_BYTES_MAX: Final = 60_000
"""UTF-8 bytes of one message: what fits into the largest padded entry. Longer things are files."""

PAYLOAD_BYTES_MAX: Final = 65_024
"""Bytes of the largest size class: a 64 KiB entry less MLS framing (about 160 bytes) and some slack."""

PAYLOAD_BYTES_MIN: Final = 256
"""Bytes of the smallest size class: most chat lines look alike."""

OUTBOX_MAX: Final = 1024
"""Messages that wait to be sent in one room; beyond it `send` is refused, so that an outage cannot fill the memory."""

BLOCKS_IN_FLIGHT_MAX: Final = 8
"""Unanswered blocks of one room. Below the session window of 32: after a new epoch all of them are encrypted again."""

BLOCK_ENTRIES_BYTES_MAX: Final = 48 * 1024
"""Bytes of entries packed into one block before another is begun; a larger single entry goes alone."""

CHAIN_MARKS_MAX: Final = 1024
"""Recent blocks whose chain hash is remembered, to compare with what other members say they saw: 40 KiB."""

EVIDENCE_MAX: Final = 16
"""Pieces of fork evidence kept per room, each up to 70 KB: the first ones tell where histories parted."""

MESSAGE_IDS_MAX: Final = 8192
"""Recent message ids remembered to refuse doubles. A sender has at most OUTBOX_MAX unanswered; others interleave."""

COMMIT_ATTEMPTS_MAX: Final = 16
"""Times that a change of members is built again after another member's commit won."""

ACK_OWN_S: Final = (2.0, 4.0)
"""Seconds (least, most) after our own commit before we say that it works; what is written meanwhile says it too."""

ACK_S: Final = (6.0, 24.0)
"""The same after another member's: spread, so that one speaks for all; below the 30 s of rule R3."""

REOPEN_S: Final = (31.0, 46.0)
"""Seconds before a commit is made for an epoch that ended in a way that we cannot follow, and between attempts."""

RENEW_S: Final = 7 * 86_400.0
"""Seconds after which a device changes its keys by itself: whoever copied its state reads nothing from then on."""

RENEW_SPREAD_S: Final = 86_400.0
"""Seconds over which these changes are spread, so that a room's devices do not make them together."""

FIRST_COMMIT_S: Final = 600.0
"""Seconds before a device that others added, or a founder, makes its first commit: until then each path costs 48 bytes for it."""

FIRST_COMMIT_SPREAD_S: Final = 60.0
"""Seconds per member over which first commits are spread: each carries the tree to those who join next."""

REOPENINGS_MAX: Final = 3
"""Attempts to do so. If all are refused, others could follow: this device has to join again."""

KNOCKS_MAX: Final = 256
"""Newcomers that a member remembers as waiting, 700 bytes each: as many as servers take between two commits."""

KNOCK_EPOCHS_MAX: Final = 64
"""Epochs after which a knock counts no more: who was removed is not let in by an old one."""

DENIED_MAX: Final = 256
"""People turned away whose knocks are not heard again, 32 bytes each; the oldest are forgotten."""

LET_IN_MAX: Final = 128
"""Newcomers of one commit: 90 KB of KeyPackages, and as much again for the Welcome."""

LET_IN_DUTY_S: Final = (0.2, 0.3)
"""Seconds (least, most) before who is on duty lets newcomers in: others come at the same moment."""

LET_IN_S: Final = (1.0, 3.0)
"""The same for everybody else."""

KNOCK_AFTER: Final = 1
"""Lost races after which a newcomer knocks."""

KNOCK_WAIT_S: Final = 6.0
"""Seconds that a newcomer waits for members to open, before they try for themselves again: nobody may be there."""

KNOCK_LOOK_S: Final = (0.2, 0.5)
"""Seconds (least, most) between looks for a Welcome."""

APPROVAL_LOOK_S: Final = (1.0, 3.0)
"""The same in a room by approval: people open there, not programs."""

APPROVAL_WAIT_S: Final = 20.0
"""Seconds that a join waits there for an owner who happens to look: after that, the same command again."""

KNOCK_KEPT_S: Final = 60 * 86_400
"""Seconds that a KeyPackage is knocked with again: it holds for 90 days."""

JOIN_ATTEMPTS_MAX: Final = 32
"""Times that a join by link is tried again after another commit won; a join storm of 32 people passes."""

INLINE_BYTES_MAX: Final = 16 * 1024
"""Bytes of deliveries decrypted on the event loop: about 30 short messages, 3 ms. More goes to a thread."""

INBOX_MAX: Final = 64
"""Acts waiting for the owner of a room: deliveries, answers, wishes. Beyond it whoever brings more waits."""

TIMELINE_PAGE_MAX: Final = 256
"""Items read from the store at a time."""

DESCRIPTOR_SERVERS_MAX: Final = 9
"""Servers taken from one descriptor; the encoding holds no more."""

LAN_SERVICES_MAX: Final = 16
"""Announcements on the local network that are looked at: each is a question to whoever made it."""

LAN_ADDRESSES_MAX: Final = 4
"""Addresses taken from one announcement."""

LAN_S_MAX: Final = 2.0
"""Seconds of listening on the local network: multicast DNS answers within 0.1 s, and is asked twice."""

GOODBYE_S_MAX: Final = 5.0
"""Seconds that leaving a room waits for its servers."""

LAN_GOODBYE_S_MAX: Final = 2.0
"""Seconds for the library's threads to end."""

MOVED_S_MAX: Final = 3.0
"""Seconds of asking the DHT whether servers that do not answer are elsewhere now."""

WEB_HOSTS_MAX: Final = 8
"""Web servers asked for one room."""

WEB_BYTES_MAX: Final = 8 * 1024
"""Bytes of a web server's answer, and apart from it of its headers: a record has less than 1 KB."""

WEB_S_MAX: Final = 10.0
"""Seconds for one web server, name resolution and TLS included."""

NAME_RECORDS_MAX: Final = 16
"""TXT records of one host that are looked at: each costs a comparison, one a signature check."""

DNS_S_MAX: Final = 5.0
"""Seconds for the records of one host, the library's repetitions included."""

KNOWN_NODES_MAX: Final = 64
"""DHT nodes that a profile remembers as first contacts."""

DEVICE_CERTIFICATE_S: Final = 2 * 365 * 86_400
"""Seconds that a device certificate holds."""

PROFILE_WAIT_S_MAX: Final = 5.0
"""Seconds that a store waits for a lock on its file before it gives up."""

CREDENTIALS_CACHED_MAX: Final = 8192
"""Credentials whose certificate is not verified again: every device of a full room, 4 MB."""

MOVE_SERVERS_MAX: Final = 7
"""Servers with a vote in one room: replication's bound."""

MOVE_LOOK_S: Final = 0.2
"""Seconds between looks at a room that is being moved."""

MOVE_LAG_OPS_MAX: Final = 8
"""Operations that a server may be behind and still count as ready for a vote: what is on its way."""

MOVE_TRIES_MAX: Final = 8
"""Times that a wish is written anew because the room's members changed at the same moment."""

LINK_S_MAX: Final = 600.0
"""Seconds that a code to link a device holds, and that people have to compare words."""

LINK_ANSWER_S_MAX: Final = 20.0
"""Seconds in which the device that shows a code answers, unless the code was used or has expired."""

LINK_POLL_S: Final = 0.4
"""Seconds between looks for a letter."""

LINK_PART_BYTES: Final = 48 * 1024
"""Bytes of one part of what is handed over: a letter less its seal, with some slack."""

LINK_PARTS_MAX: Final = 48
"""Parts of what is handed over: some 2 MB, thousands of rooms; a server takes so many letters at once."""

HISTORY_DAYS_MAX: Final = 3650
"""Days of a history window: ten years; beyond it a room means `full`."""

HISTORY_MESSAGES_MAX: Final = 100_000
"""Messages of a history that a newcomer reads at most, the latest ones: some 100 MB of memory until all are known to be true."""

ARCHIVE_EPOCHS_MAX: Final = 8192
"""Epochs whose records are kept per room, some 3 MB; the oldest become unreadable beyond it."""

ARCHIVE_PUBLIC_EPOCHS: Final = 16
"""Epochs from one kept public group to the next in small rooms: how many commits a newcomer follows at most before what it
may read begins."""

HISTORY_PART_BYTES: Final = 36_000
"""Bytes of a grant in one message: in base64, and with the keys of 64 askers in the first, it fits into one entry."""

HISTORY_PARTS_MAX: Final = 64
"""Parts of one grant, 2.3 MB: the tree of 5,000 members with the records of four thousand epochs."""

HISTORY_GIVERS_MAX: Final = 3
"""Members whose answer may turn out false before a newcomer does without."""

HISTORY_ASKS_MAX: Final = 8
"""Times that one device asks, and that others listen to it, before it does without."""

HISTORY_ASKS_OPEN_MAX: Final = 256
"""Open asks that a member remembers; the oldest is forgotten first, and asks again."""

HISTORY_ASK_AGAIN_S: Final = 60.0
"""Seconds after which a newcomer without an answer asks again; doubles each time. Whoever was away hears it later anyway."""

HISTORY_ANSWER_S: Final = (0.2, 2.0)
"""Seconds (least, most) that a member waits before it answers, so that one speaks for all."""

HISTORY_ANSWER_SPREAD_S: Final = 0.05
"""Seconds more for each member of the room, so that two seldom answer before they hear of each other."""

RECOVERY_ARCHIVE_BYTES_MAX: Final = 16 * 1024 * 1024
"""Bytes of keys of the past in a recovery file: some hundred thousand epochs."""

KEPT_ARCHIVE_BYTES_MAX: Final = 256 * 1024
"""The same where servers keep the file, in a record of half a megabyte: some two thousand epochs."""

LINK_ARCHIVE_BYTES_MAX: Final = 512 * 1024
"""Bytes of keys of the past that go to a linked device."""

LINK_SAID_BYTES_MAX: Final = 1024 * 1024
"""Bytes of messages that go to a linked device: some four thousand, in all rooms together."""

VERIFY_SILENT_S: Final = 10.0
"""Seconds without a word from a server whose log is read for comparison, after which it counts as silent."""
