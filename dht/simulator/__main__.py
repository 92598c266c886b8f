"""`python -m dht.simulator --nodes 5000`: grow a network, publish, read, and print the figures as JSON.

`--lie dropper --share 0.3` makes so much of it lie.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence

import msgspec

from dht.simulator.adversary import Lie
from dht.simulator.measure import publish, read
from dht.simulator.world import grown, settled


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns 1 when something that was stored was not found."""
    parser = argparse.ArgumentParser(prog="python -m dht.simulator", description=__doc__)
    parser.add_argument("--nodes", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--items", type=int, default=20)
    parser.add_argument("--reads", type=int, default=200)
    parser.add_argument("--lost", type=float, default=0.0, help="share of datagrams that vanish")
    parser.add_argument("--lie", choices=[lie.value for lie in Lie], default=None)
    parser.add_argument("--share", type=float, default=0.3, help="share of hosts that lie")
    parser.add_argument("--join", action="store_true", help="let all hosts join, instead of beginning as after days")
    options = parser.parse_args(arguments)
    began = time.monotonic()
    liars = 0 if options.lie is None else int(options.nodes * options.share)
    lies = [] if options.lie is None else [Lie(options.lie)] * liars
    network = (grown if options.join else settled)(options.seed, options.nodes - liars, lies=lies, lost=options.lost)
    join_datagrams = network.sent / options.nodes
    figures = read(network, publish(network, options.items), options.reads)
    shown = {
        "nodes": options.nodes,
        "seed": options.seed,
        "join_datagrams": round(join_datagrams, 1) if options.join else None,
        "seconds": round(time.monotonic() - began, 1),
        **msgspec.to_builtins(figures),
    }
    print(json.dumps(shown))
    return int(figures.found < figures.reads)


if __name__ == "__main__":
    sys.exit(main())
