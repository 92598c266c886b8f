"""Viewstamped Replication: a library that replicates any deterministic service over a few machines.

from vr import Configuration, Member, Replica, Service        the pure core
from vr.host import open_host                                 many groups in one trio process
python -m vr.simulator --seed 1                               the core under faults
"""

from vr.configuration import Configuration, Member
from vr.log import Request
from vr.ready import CommittedOp, Ready, Rejected, RejectReason, Reply
from vr.replica import Checkpoint, Replica, ReplicaOptions, Restored, Status
from vr.service import Service

__all__ = [
    "Checkpoint", "CommittedOp", "Configuration", "Member", "Ready", "RejectReason", "Rejected", "Replica",
    "ReplicaOptions", "Reply", "Request", "Restored", "Service", "Status",
]  # fmt: skip
