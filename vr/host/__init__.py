"""Many replicas in one trio process: one log, one loop, one link per peer node. Begin at `open_host`."""

from vr.host.embedder import Embedder, HostOptions, ServiceFactory, Transport
from vr.host.errors import (
    Busy,
    DiskFull,
    GenesisConflict,
    GroupDamaged,
    HostClosed,
    HostError,
    NotAMember,
    PeerFrameError,
)
from vr.host.host import Host, open_host
from vr.host.statistics import HostStatistics

__all__ = [
    "Busy",
    "DiskFull",
    "Embedder",
    "GenesisConflict",
    "GroupDamaged",
    "Host",
    "HostClosed",
    "HostError",
    "HostOptions",
    "HostStatistics",
    "NotAMember",
    "PeerFrameError",
    "ServiceFactory",
    "Transport",
    "open_host",
]
