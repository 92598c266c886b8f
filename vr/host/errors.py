"""What the host may raise, beside `vr.storage.errors` and `vr.errors.UnknownGroup`.

```
HostError
├── Busy              a bound is reached; nothing was taken; repeat after `retry_after_s`
├── DiskFull          nearly; nothing was taken; other nodes may have space
├── GenesisConflict   the group exists with another configuration or genesis
├── NotAMember        the configuration does not name this replica
├── GroupDamaged      this replica of the group lost promises with its disk: replace it
└── HostClosed        the host has stopped, or is stopping
PeerFrameError        (a vr.errors.PeerError) a peer's frame is malformed or speaks for somebody else: close the link
```
"""

from __future__ import annotations

from vr.errors import PeerError, VRError

# ruff: noqa: N818 - these names read as what happened (`except Busy`)


class HostError(VRError):
    """Base of what the host raises to its embedder."""


class Busy(HostError):
    """The host takes no more right now; none of the requests was taken."""

    def __init__(self, reason: str, *, retry_after_s: float) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class DiskFull(HostError):
    """The last bytes of the disk are kept for what others replicate here; none of the requests was taken."""


class GenesisConflict(HostError):
    """A group of this id exists with another configuration or genesis."""


class NotAMember(HostError):
    """The configuration does not name this replica."""


class GroupDamaged(HostError):
    """What this replica promised in the group is lost; it does not take part any more."""


class HostClosed(HostError):
    """The host has stopped."""


class PeerFrameError(PeerError):
    """A frame that is malformed, too large, or whose messages name another sender."""
