"""A network of DHT nodes in virtual time: the real core, real datagrams, everything from one seed.

    network      hosts, a heap of datagrams and alarms, delay, loss, NAT, churn
    adversary    hosts that lie, in five ways
    world        networks as they are needed: grown, settled, attacked
    measure      figures of reads and writes in them

`python -m dht.simulator --nodes 5000` measures a large network.
"""
