"""What the options before the command say."""

from __future__ import annotations

from pathlib import Path


class Settings:
    """`profile` as given; `passphrase_file` and `descriptor` are files read when a profile is opened.

    `web_hosts` are web servers to look for rooms on, as given; `public_dht`: where to
    begin in the public DHT, as given; nothing: it is not asked.
    """

    def __init__(
        self,
        profile: str | None = None,
        passphrase_file: Path | None = None,
        *,
        descriptor: Path | None = None,
        web_hosts: tuple[str, ...] = (),
        public_dht: tuple[str, ...] = (),
    ) -> None:
        self.profile = profile
        self.passphrase_file = passphrase_file
        self.descriptor = descriptor
        self.web_hosts = web_hosts
        self.public_dht = public_dht
