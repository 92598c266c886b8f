"""What this version writes that others must be able to read: one number, the level. Pure.

| level | what it added |
|---|---|
| 1 | everything until now |

A server says in its record which level it knows. A cluster's level is the highest that all its servers have said they know; it rises by
itself with the last of them (`room_server.roster`), and never falls. What belongs to a later level is neither written nor
proposed before: not an operation of the roster, not a format that another server or an older version of this one would read. So, until
the last server was upgraded, each can go back to the version that it had. Afterwards the older version is not let in, and does not
start: it reads the level, which stands in the roster's state since level 1, and says so.

Whoever adds a level writes it here, lists operations that need it in `OPERATION_LEVELS`, asks the roster's level before writing a format of
it, and keeps the encoding of states as it was for those below: replicas of two versions compare them.
"""

from __future__ import annotations

from typing import Final

LEVEL: Final = 1
"""The highest that this version knows."""

OPERATION_LEVELS: Final[dict[type, int]] = {}
"""Operations of the roster that came after level 1."""
