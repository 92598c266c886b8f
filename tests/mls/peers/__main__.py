"""`make interop N=1000`: random histories of mixed groups, half with each peer, from chosen seeds on."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from tests.mls.peers import PEERS
from tests.mls.peers.histories import History, capabilities_of
from tests.mls.peers.members import TsMember, WireMember
from tests.npm_peers.process import PeerMissingError, open_peer

STRANGERS = {"ts_mls": TsMember, "core_crypto": WireMember}


def run(kind: str, seeds: range, steps: int) -> Counter[str]:
    """Histories with one kind of peer; says which one failed."""
    done: Counter[str] = Counter()
    with open_peer(PEERS[kind]) as peer, capabilities_of(kind):
        for seed in seeds:
            history = History(seed, peer, STRANGERS[kind])
            try:
                history.run(steps)
            except BaseException:
                print(f"{kind}: seed {seed} failed after {dict(history.done)}", file=sys.stderr)
                raise
            done += history.done
    return done


def main() -> int:
    """Run and count."""
    parser = argparse.ArgumentParser(prog="python -m tests.mls.peers", description=__doc__)
    parser.add_argument("--histories", type=int, default=100, help="in all; half with each peer")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--peer", choices=PEERS, action="append", help="only this one")
    options = parser.parse_args()
    kinds = options.peer or list(PEERS)
    seeds = range(options.first_seed, options.first_seed + options.histories // len(kinds))
    for kind in kinds:
        start = time.perf_counter()
        try:
            done = run(kind, seeds, options.steps)
        except PeerMissingError as error:
            print(f"{kind}: skipped, {error}")
            continue
        elapsed_s = time.perf_counter() - start
        print(f"{kind}: {len(seeds)} histories of {options.steps} steps agree, {elapsed_s:.0f} s")
        print("  " + ", ".join(f"{name} {count:,}" for name, count in sorted(done.items())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
