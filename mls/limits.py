"""Every bound of the package, with its unit and reason.

RFC 9420 lets vectors grow to 2^30 bytes and generations to 2^32. What a peer may make us spend is decided here instead.
"""

from __future__ import annotations

from typing import Final

MESSAGE_BYTES_MAX: Final = 24 << 20
"""Bytes of one MLSMessage, refused before parsing. Every tree within the two limits below fits, so that no member can
grow a tree which nobody can read any more. A Welcome for 5,000 members with the tree has 2 MB."""

LEAVES_MAX: Final = 1 << 13
"""Leaves of a ratchet tree. Rooms hold 5,000 devices, which a full tree rounds to 8,192."""

LEAF_NODE_BYTES_MAX: Final = 2_048
"""Bytes of one encoded leaf node: 180 and the identity."""

PROPOSALS_PER_COMMIT_MAX: Final = 10_000
"""Proposals in one commit: 5,000 removals and 5,000 additions."""

PROPOSALS_CACHED_MAX: Final = 256
"""Proposals kept for reference by a later commit in the same epoch; a flooding member fills only this."""

PROPOSAL_CACHED_BYTES_MAX: Final = 8_192
"""Bytes of one kept proposal, so that all of them stay below 2 MB in the stored state."""

EXTENSIONS_MAX: Final = 64
"""Extensions in one list. Each list is searched linearly."""

PSKS_PER_COMMIT_MAX: Final = 64
"""Pre-shared keys in one commit or Welcome: each costs three key derivations."""

UPDATE_PATH_NODES_MAX: Final = 32
"""Nodes of an UpdatePath: the depth of the tallest tree and more."""

GENERATIONS_AHEAD_MAX: Final = 1_024
"""Steps a sender's ratchet may jump in one message: 3 ms of derivation. The log orders messages, so honest jumps are
only messages that were protected but never sent."""

SKIPPED_KEYS_PER_SENDER_MAX: Final = 64
"""Unused message keys kept for one sender (48 bytes each), newest first; a log that orders everything needs none."""

SKIPPED_KEYS_MAX: Final = 4_096
"""Unused message keys kept for all senders of an epoch: 200 KB at most in the stored state."""

RESUMPTION_EPOCHS_MAX: Final = 8
"""Past epochs whose resumption secret is kept (RFC 9420 8.6): 32 bytes each."""

EXPORT_BYTES_MAX: Final = 255 * 32
"""Bytes of one exported secret: what HKDF-Expand can give with SHA-256 (RFC 5869 2.3)."""

GENERATION_MAX: Final = (1 << 32) - 1
"""Generations of one sender in one epoch (uint32). At 10,000 messages a second: five days."""

EPOCH_MAX: Final = (1 << 64) - 1
"""Epoch numbers are uint64; the last one admits no successor."""

KEY_PACKAGE_LIFETIME_S: Final = 90 * 86_400
"""Seconds that our KeyPackages stay valid: a season, so that invitations survive holidays."""

KEY_PACKAGE_LIFETIME_S_MAX: Final = 400 * 86_400
"""Longest total lifetime, in seconds, of a KeyPackage that we add (RFC 9420 7.2 demands a maximum)."""

CLOCK_SKEW_S: Final = 86_400
"""Seconds by which KeyPackages are dated back, for peers whose clock is late."""

LEAVES_VERIFIED_MAX: Final = 8_192
"""Leaf nodes whose signature is not checked again: every leaf of a full group, some 500 bytes each."""
