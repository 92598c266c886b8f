"""Linking a device, as it happens: letters through a room server's boxes (`client.linking` says which and why).

    async with offer_device(me) as offer:                  async with ask_to_be_linked(me, code) as asking:
        print(offer.code)                                      print(await asking.words())
        print(await offer.words())                             # people compare the words
        await offer.hand_over()     # or refuse()              for room in await asking.accept(): …

Nothing of either profile changes before both sides agreed. Whatever goes wrong, the code is worth nothing afterwards.
"""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec
import trio

from client import limits
from client.client import Client
from client.cluster import SERVER_S_MAX
from client.errors import RefusedError, UnavailableError, UsageError
from client.identity import KEY_BYTES, Identity, certify, clean_name, signing_key
from client.linking import (
    ANSWER,
    COMMITMENT,
    HANDED_OVER,
    REVEALED,
    SECRET_BYTES,
    Handover,
    LinkCode,
    Linking,
    NewDevice,
    commitment_to,
    parts_of,
    read_code,
    read_device,
    read_handover,
)
from client.portable import Luggage
from client.recovery import CameBack
from wire.channel import ClientChannel, open_channel
from wire.errors import DecodeError, PeerError, RefusalCode
from wire.identity import ServerAddress
from wire.messages import Done, Letter, Message, PutLetter, Refused, TakeLetter

_REFUSED = b""
_LUGGAGE = Luggage(archive_bytes_max=limits.LINK_ARCHIVE_BYTES_MAX, said_bytes_max=limits.LINK_SAID_BYTES_MAX)


class _Letters:
    """The boxes of one server, as one side uses them."""

    def __init__(self, channel: ClientChannel, linking: Linking) -> None:
        self.linking = linking
        self._channel = channel
        self._calls = 0

    async def put(self, number: int, content: bytes) -> None:
        """Leave a letter for the other side; waits while the server has no room.

        Raises:
            UnavailableError: the server is gone, or does not take letters.
        """
        box, letter = self.linking.box(number), self.linking.seal(number, content)
        while True:
            answer = await self._call(PutLetter(self._next(), box, letter))
            match answer:
                case Done():
                    return
                case Refused(code=RefusalCode.BUSY):
                    await trio.sleep(max(answer.retry_after_s, limits.LINK_POLL_S))
                case _:
                    raise UnavailableError(f"the server does not take letters: {_text(answer)}")

    async def take(self, number: int) -> bytes:
        """Wait for a letter of the other side.

        Raises:
            RefusedError: it is not from the holder of the code.
            UnavailableError: the server is gone.
        """
        while True:
            answer = await self._call(TakeLetter(self._next(), self.linking.box(number)))
            match answer:
                case Letter():
                    return self.linking.open(number, answer.letter)
                case Refused(code=RefusalCode.NOT_FOUND | RefusalCode.BUSY):
                    await trio.sleep(max(answer.retry_after_s, limits.LINK_POLL_S))
                case _:
                    raise UnavailableError(f"the server does not hand out letters: {_text(answer)}")

    def _next(self) -> int:
        self._calls += 1
        return self._calls

    async def _call(self, message: Message) -> Message:
        try:
            return await self._channel.call(message)
        except PeerError as error:
            raise UnavailableError(f"the server of the code is gone: {error}. Begin again with a new code") from error


class DeviceOffer:
    """The side of the device that is in already. Made by `offer_device`."""

    def __init__(self, client: Client, letters: _Letters, code: str) -> None:
        self.code = code
        self.device: NewDevice | None = None
        """The other device, once it has the code."""
        self._client = client
        self._letters = letters

    async def words(self) -> str:
        """Wait until another device has the code; the words that it shows as well, if nobody stands between.

        Raises:
            RefusedError: somebody with the code does not keep to the rules.
        """
        letters, linking = self._letters, self._letters.linking
        try:
            commitment = await letters.take(COMMITMENT)
            await letters.put(ANSWER, linking.ephemeral)
            self.device = read_device(await letters.take(REVEALED), commitment)
            return linking.agree(self.device.ephemeral)
        except DecodeError as error:
            raise RefusedError(f"not linked: {error}") from error

    async def hand_over(self) -> None:
        """The words are equal: sign the other device's key, and give it the person's key and rooms."""
        assert self.device is not None, "nobody has shown words yet"
        client = self._client
        certificate = certify(
            client.identity.user_seed, self.device.device_key, label=clean_name(self.device.label), now_s=_now_s()
        )
        parts = parts_of(Handover(await client.portable(_LUGGAGE), certificate))
        if len(parts) > limits.LINK_PARTS_MAX:
            raise RefusedError("this person is in too many rooms to hand them over; use: samtala recovery create")
        for place, part in enumerate(parts):
            await self._letters.put(HANDED_OVER + place, part)

    async def refuse(self) -> None:
        """The words differ: tell the other device that it gets nothing."""
        await self._letters.put(HANDED_OVER, _REFUSED)


class DeviceRequest:
    """The side of the new device. Made by `ask_to_be_linked`."""

    def __init__(self, client: Client, letters: _Letters) -> None:
        self._client = client
        self._letters = letters
        self._device_seed = secrets.token_bytes(KEY_BYTES)

    async def words(self) -> str:
        """Say who we are; the words that the other device shows as well, if nobody stands between.

        Raises:
            RefusedError: the code was used or has expired, or somebody else has it.
        """
        letters, linking = self._letters, self._letters.linking
        device = NewDevice(linking.ephemeral, signing_key(self._device_seed), sys.platform, secrets.token_bytes(16))
        await letters.put(COMMITMENT, commitment_to(device))
        with trio.move_on_after(limits.LINK_ANSWER_S_MAX):
            try:
                answer = await letters.take(ANSWER)
                await letters.put(REVEALED, msgspec.msgpack.encode(device))
                return linking.agree(answer)
            except DecodeError as error:
                raise RefusedError(f"not linked: {error}") from error
        raise RefusedError("nobody answers to this code: it was used or has expired; make another: samtala device link")

    async def accept(self) -> list[CameBack]:
        """Wait until the other device hands over; become that person, and join their rooms.

        Raises:
            RefusedError: the other device says no.
        """
        try:
            handover = read_handover(await self._collect())
        except DecodeError as error:
            raise RefusedError(f"not linked: {error}") from error
        recovery, certificate = handover.recovery, handover.certificate
        identity = Identity(
            user_seed=recovery.user_seed, device_seed=self._device_seed, name=clean_name(recovery.name),
            certificate=certificate,
        )  # fmt: skip
        if certificate.device_key != signing_key(self._device_seed) or not identity.is_certified:
            raise RefusedError("not linked: the other device signed another key than ours")
        return await self._client.become(identity, recovery.rooms)

    async def _collect(self) -> bytes:
        content = b""
        for place in range(limits.LINK_PARTS_MAX):
            part = await self._letters.take(HANDED_OVER + place)
            if part == _REFUSED:
                raise RefusedError("the other device says that the words differ; begin again with a new code")
            content += part[1:]
            if part[0]:
                return content
        raise DecodeError("more is handed over than fits")


@asynccontextmanager
async def offer_device(client: Client, servers: Sequence[ServerAddress]) -> AsyncIterator[DeviceOffer]:
    """Make a code for another device of this person; it holds for this block, LINK_S_MAX seconds at most.

    Args:
        client: the person.
        servers: room servers that both devices may reach; the first that answers is taken.

    Raises:
        UnavailableError: none of the servers is there, or the code has expired.
    """
    server = await _first_there(servers)
    secret = secrets.token_bytes(SECRET_BYTES)
    async with _letters(server, secret) as letters:
        yield DeviceOffer(client, letters, LinkCode(server=server, secret=secret).to_text())


@asynccontextmanager
async def ask_to_be_linked(client: Client, code: str) -> AsyncIterator[DeviceRequest]:
    """Become another device of whoever shows this code; for a profile without rooms.

    Raises:
        UsageError: that is no code, or the profile has rooms.
        UnavailableError: the server is not there, or the code has expired.
    """
    try:
        link = read_code(code)
    except DecodeError as error:
        raise UsageError(str(error)) from error
    await client.check_is_empty()
    async with _letters(link.server, link.secret) as letters:
        yield DeviceRequest(client, letters)


async def _first_there(servers: Sequence[ServerAddress]) -> ServerAddress:
    failures = []
    for server in servers:
        failures.append(f"{server.host}:{server.port}: no answer in time")
        with trio.move_on_after(SERVER_S_MAX):
            try:
                async with open_channel(server, agent="samtala-client"):
                    return server
            except PeerError as error:
                failures[-1] = f"{server.host}:{server.port}: {error}"
    raise UnavailableError("no server answers; tried:", tuple(failures))


@asynccontextmanager
async def _letters(server: ServerAddress, secret: bytes) -> AsyncIterator[_Letters]:
    linking = Linking(secret, secrets.token_bytes)
    with trio.move_on_after(limits.LINK_S_MAX) as scope:
        try:
            async with open_channel(server, agent="samtala-client") as channel:
                yield _Letters(channel, linking)
        except PeerError as error:
            raise UnavailableError(f"the server {server.host}:{server.port} is not there: {error}") from error
    if scope.cancelled_caught:
        raise UnavailableError("the code has expired; make another: samtala device link")


def _text(answer: Message) -> str:
    return answer.text if isinstance(answer, Refused) else type(answer).__name__


def _now_s() -> int:
    return int(time.time())
