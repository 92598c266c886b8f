"""Where we are, as others see us (BEP 42): a vote of those who answered us.

One vote per network, or one owner of many addresses could talk us into any id. The majority of at least ten counts.
"""

from __future__ import annotations

from collections import Counter

from dht.limits import EXTERNAL_ADDRESS_VOTES_MAX, EXTERNAL_ADDRESS_VOTES_MIN
from dht.node_id import Address, network_of


class ExternalAddress:
    """Votes on our address. `host` is the winner, None before there is one."""

    def __init__(self) -> None:
        self._votes: dict[bytes, str] = {}
        self.host: str | None = None

    def vote(self, voter: Address, seen: Address) -> bool:
        """Count that `voter` sees us at `seen`. Return whether that changed who wins."""
        network = network_of(voter[0])
        self._votes.pop(network, None)
        self._votes[network] = seen[0]
        if len(self._votes) > EXTERNAL_ADDRESS_VOTES_MAX:
            del self._votes[next(iter(self._votes))]
        if len(self._votes) < EXTERNAL_ADDRESS_VOTES_MIN:
            return False
        host, count = Counter(self._votes.values()).most_common(1)[0]
        if 2 * count <= len(self._votes) or host == self.host:
            return False
        self.host = host
        return True
