"""`samtala demo`: three servers as real processes, one room, two people, a killed primary, and an honest account of it.

story ── starts ──▶ cluster (three `samtala node serve` processes, their peer links led through gates)
  │                    ▲ kill, restart, partition, heal
  ├── two clients (samtala.open_client, real discovery, real encryption)
  ├── ledger   what was sent, acknowledged and shown, and what that proves
  ├── canary   does anything readable lie on the servers' disks, logs or metrics?
  └── panes    the same, alive on a terminal
"""
