"""Foreign implementations from npm, for tests only: installed outside the repository, driven by JSON lines.

A peer is a folder with `package.json`, `package-lock.json` and `peer.mjs`, a small script of ours.
"""
