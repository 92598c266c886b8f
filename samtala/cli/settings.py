"""What the options before the command say."""

from __future__ import annotations

from pathlib import Path


class Settings:
    """`profile` as given; `passphrase_file` is read when a profile is opened."""

    def __init__(self, profile: str | None = None, passphrase_file: Path | None = None) -> None:
        self.profile = profile
        self.passphrase_file = passphrase_file
