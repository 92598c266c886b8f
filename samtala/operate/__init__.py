"""For those who run servers: what is wrong with one, why, and what mends it.

verdict ◀─ a node's own report          machine, storage, network ◀─ what can be seen from outside, node up or not
   └──────────────┬────────────────────────────────┘
               examine ─▶ findings, the worst first ─▶ `samtala status|check|doctor`;  bundle: all of it, redacted
"""
