"""Who I am, and who they are: user keys, device keys, credentials (e2ee.md §3.4).

    user key U ── signs ──▶ certificate of device key D (label, expiry)
                                 │
    MLS leaf, signed by D ── carries ──▶ credential = U, name, certificate

U is the person: one key for all their devices, compared as a safety number. D is one device: it signs the person's MLS
leaves and messages. A name is what the person calls themselves; only keys identify. A credential whose certificate does
not hold does not make a commit invalid, because servers cannot know and the room would be stuck: such members are shown
as unverified.

Pure: entropy and time (unix seconds) are arguments.
"""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from typing import Final

import msgspec
from nacl import bindings
from nacl.exceptions import BadSignatureError

from client import limits
from mls import Entropy, Member, SignatureKey
from wire.errors import DecodeError
from wire.limits import NAME_CHARACTERS_MAX

KEY_BYTES: Final = 32
_CERTIFICATE_LABEL: Final = b"samtala/device/v1"
_SAFETY_PERSON: Final = b"samtala-safety"
_SAFETY_ROUNDS: Final = 5200
_UNKNOWN_NAME: Final = "?"


class DeviceCertificate(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """U's word that D is theirs. Keys 32 bytes, signature 64; `expires_s` is unix seconds."""

    device_key: bytes
    label: str
    expires_s: int
    signature: bytes


class Credential(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Content of the MLS basic credential; seen by members only."""

    version: int
    user_key: bytes
    name: str
    certificate: DeviceCertificate


class Person(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A member as this client shows them. `is_verified`: the certificate of the device holds."""

    name: str
    user_key: bytes
    device_label: str
    is_verified: bool

    @property
    def fingerprint(self) -> str:
        """Short form of the user key, to tell equal names apart: 8 characters."""
        return key_fingerprint(self.user_key)


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """My secret keys (Ed25519 seeds, 32 bytes each), my name and the certificate of this device."""

    user_seed: bytes
    device_seed: bytes
    name: str
    certificate: DeviceCertificate

    @classmethod
    def generate(cls, *, name: str, label: str, entropy: Entropy, now_s: int) -> Identity:
        """Make a new person with one device."""
        return cls.for_user(entropy(KEY_BYTES), name=name, label=label, entropy=entropy, now_s=now_s)

    @classmethod
    def for_user(cls, user_seed: bytes, *, name: str, label: str, entropy: Entropy, now_s: int) -> Identity:
        """Make a new device of an existing person."""
        device_seed = entropy(KEY_BYTES)
        certificate = certify(user_seed, signing_key(device_seed), label=label, now_s=now_s)
        return cls(user_seed=user_seed, device_seed=device_seed, name=name, certificate=certificate)

    @property
    def user_key(self) -> bytes:
        """Public key of the person, 32 bytes."""
        return signing_key(self.user_seed)

    @property
    def is_certified(self) -> bool:
        """Tell whether the certificate is this person's."""
        return _verifies(self.user_key, self.certificate)

    @property
    def signature_key(self) -> SignatureKey:
        """Key of this device, with which it signs in MLS."""
        return SignatureKey.from_private(self.device_seed)

    def renamed(self, name: str) -> Identity:
        """Return the same keys under another name."""
        return msgspec.structs.replace(self, name=name)

    def credential(self) -> bytes:
        """Encode what other members learn."""
        return msgspec.msgpack.encode(Credential(1, self.user_key, self.name, self.certificate))

    def to_bytes(self) -> bytes:
        """Encode with the secret keys, for storing."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def from_bytes(cls, stored: bytes) -> Identity:
        """Decode what `to_bytes` gave.

        Raises:
            DecodeError: it is something else.
        """
        try:
            return msgspec.msgpack.decode(stored, type=cls)
        except msgspec.MsgspecError as error:
            raise DecodeError("not a stored identity") from error


def certify(user_seed: bytes, device_key: bytes, *, label: str, now_s: int) -> DeviceCertificate:
    """The person's word, by their 32-byte seed, that a device key (32 bytes) is theirs."""
    expires_s = now_s + limits.DEVICE_CERTIFICATE_S
    signature = sign(user_seed, _certified(device_key, label, expires_s))
    return DeviceCertificate(device_key, label, expires_s, signature)


def signing_key(seed: bytes) -> bytes:
    """The Ed25519 public key (32 bytes) of a 32-byte seed."""
    key, _ = bindings.crypto_sign_seed_keypair(seed)
    return key


def read_person(credential: bytes, device_key: bytes) -> Person:
    """What a credential says of the holder of `device_key`, whenever it was valid; never fails."""
    return _read_credential(credential, device_key)[0]


def person_of(member: Member, now_s: int) -> Person:
    """Read a member's credential; never fails: what does not hold is shown as unverified."""
    person, expires_s = _read_credential(member.identity, member.signature_public_key)
    if person.is_verified and expires_s < now_s:
        return msgspec.structs.replace(person, user_key=member.signature_public_key, is_verified=False)
    return person


@lru_cache(maxsize=limits.CREDENTIALS_CACHED_MAX)
def _read_credential(identity: bytes, device_key: bytes) -> tuple[Person, int]:
    """What a credential says of the holder of `device_key`, and until when. Kept: each message asks again."""
    try:
        credential = msgspec.msgpack.decode(identity, type=Credential)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Person(name=_UNKNOWN_NAME, user_key=device_key, device_label="", is_verified=False), 0
    certificate = credential.certificate
    is_verified = certificate.device_key == device_key and _verifies(credential.user_key, certificate)
    person = Person(
        name=clean_name(credential.name),
        user_key=credential.user_key if is_verified else device_key,
        device_label=clean_name(certificate.label),
        is_verified=is_verified,
    )
    return person, certificate.expires_s


def may_replace(old: Member, new: Member) -> bool:
    """Tell whether `new` may stand at `old`'s leaf: only another device, or a later key, of the same verified person.

    All members must judge alike, whatever their clocks say, so expiry does not count here.
    """
    if old.identity == new.identity and old.signature_public_key == new.signature_public_key:
        return True
    before = read_person(old.identity, old.signature_public_key)
    after = read_person(new.identity, new.signature_public_key)
    return before.is_verified and after.is_verified and before.user_key == after.user_key


def safety_number(one: bytes, other: bytes) -> str:
    """Sixty digits, the same for both sides, to be compared aloud: equal numbers mean equal user keys (32 bytes each)."""
    return "".join(_digits(key) for key in sorted((one, other)))


def key_fingerprint(key: bytes) -> str:
    """Short text form of a public key: 8 characters, 40 bits. For telling apart, not for proof."""
    return base64.b32encode(hashlib.blake2b(key, digest_size=5).digest()).decode().lower()


def clean_name(name: str) -> str:
    """Make a name safe to print: no control characters or direction overrides, bounded; "?" if nothing is left."""
    printable = "".join(character for character in name if character.isprintable())
    return printable.strip()[:NAME_CHARACTERS_MAX] or _UNKNOWN_NAME


def _digits(key: bytes) -> str:
    digest = key
    # Slow on purpose: a number that is nearly equal costs an attacker this much per try.
    for _ in range(_SAFETY_ROUNDS):
        digest = hashlib.blake2b(digest + key, digest_size=32, person=_SAFETY_PERSON).digest()
    return f"{int.from_bytes(digest, 'big') % 10**30:030d}"


def _certified(device_key: bytes, label: str, expires_s: int) -> bytes:
    return _CERTIFICATE_LABEL + device_key + expires_s.to_bytes(8, "big") + label.encode()


def sign(seed: bytes, message: bytes) -> bytes:
    """Ed25519 signature (64 bytes) by the key with this 32-byte seed."""
    _, secret = bindings.crypto_sign_seed_keypair(seed)
    signed: bytes = bindings.crypto_sign(message, secret)
    return signed[:64]


def _verifies(user_key: bytes, certificate: DeviceCertificate) -> bool:
    sizes_fit = len(user_key) == KEY_BYTES and len(certificate.device_key) == KEY_BYTES
    if not sizes_fit or len(certificate.signature) != 64 or not 0 <= certificate.expires_s < 1 << 63:
        return False
    message = _certified(certificate.device_key, certificate.label, certificate.expires_s)
    try:
        bindings.crypto_sign_open(certificate.signature + message, user_key)
    except (BadSignatureError, ValueError):
        return False
    return True
