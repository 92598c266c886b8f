"""GroupInfo and Welcome: what newcomers are told about a group (RFC 9420 12.4.3)."""

from __future__ import annotations

from typing import Final

import msgspec

from mls.codec import Reader, decode, optional, u16, u32, vector
from mls.crypto import (
    CIPHER_SUITE,
    Entropy,
    HPKECiphertext,
    KeyPair,
    SignatureKey,
    aead_open,
    aead_seal,
    encryption_context,
    hpke_open,
    hpke_seal,
    sign_with_label,
    verify_with_label,
)
from mls.errors import InvalidGroupInfo, NotForUs, Unsupported
from mls.key_schedule import GroupContext, JoinerSecrets, PreSharedKeyID
from mls.limits import LEAVES_MAX, PSKS_PER_COMMIT_MAX
from mls.nodes import (
    EXTERNAL_PUB_EXTENSION,
    RATCHET_TREE_EXTENSION,
    Extension,
    encode_extensions,
    find_extension,
    read_extensions,
)
from mls.ratchet_tree import RatchetTree

__all__ = ["EncryptedGroupSecrets", "GroupInfo", "GroupSecrets", "Welcome", "seal_welcome", "sign_group_info"]

_GROUP_INFO_LABEL: Final = "GroupInfoTBS"
_WELCOME_LABEL: Final = "Welcome"


class GroupInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A signed description of an epoch (RFC 9420 12.4.3)."""

    context: GroupContext
    extensions: tuple[Extension, ...]
    confirmation_tag: bytes
    signer: int
    signature: bytes

    def _signed(self) -> bytes:
        return (
            self.context.encode()
            + encode_extensions(self.extensions)
            + vector(self.confirmation_tag)
            + u32(self.signer)
        )

    def encode(self) -> bytes:
        """Encode for the wire."""
        return self._signed() + vector(self.signature)

    @classmethod
    def read(cls, reader: Reader) -> GroupInfo:
        """Decode one."""
        return cls(
            context=GroupContext.read(reader),
            extensions=read_extensions(reader),
            confirmation_tag=reader.opaque(),
            signer=reader.u32(),
            signature=reader.opaque(),
        )

    def verify(self, public_key: bytes) -> None:
        """Check the signer's signature.

        Raises:
            InvalidSignature: it does not verify.
        """
        verify_with_label(public_key, _GROUP_INFO_LABEL, self._signed(), self.signature)

    def tree(self) -> RatchetTree | None:
        """The ratchet tree, if it travels along. It is not validated here.

        Raises:
            DecodeError: the extension holds no tree.
        """
        encoded = find_extension(self.extensions, RATCHET_TREE_EXTENSION)
        return None if encoded is None else decode(encoded, RatchetTree.read)

    def external_public_key(self) -> bytes | None:
        """The key by which outsiders may join, if offered (RFC 9420 12.4.3.2).

        Raises:
            DecodeError: the extension holds no key.
        """
        encoded = find_extension(self.extensions, EXTERNAL_PUB_EXTENSION)
        return None if encoded is None else decode(encoded, Reader.opaque)


def sign_group_info(
    key: SignatureKey, context: GroupContext, *, extensions: tuple[Extension, ...], confirmation_tag: bytes, signer: int
) -> GroupInfo:
    """Describe an epoch as the member at leaf `signer`."""
    unsigned = GroupInfo(
        context=context, extensions=extensions, confirmation_tag=confirmation_tag, signer=signer, signature=b""
    )
    signature = sign_with_label(key, _GROUP_INFO_LABEL, unsigned._signed())  # noqa: SLF001 - this module's own struct
    return msgspec.structs.replace(unsigned, signature=signature)


class GroupSecrets(msgspec.Struct, frozen=True, kw_only=True):
    """What one newcomer is told in secret (RFC 9420 12.4.3.1)."""

    joiner_secret: bytes
    path_secret: bytes | None
    psks: tuple[PreSharedKeyID, ...] = ()

    def encode(self) -> bytes:
        """Encode for sealing."""
        path_secret = optional(None if self.path_secret is None else vector(self.path_secret))
        return vector(self.joiner_secret) + path_secret + vector(b"".join([psk.encode() for psk in self.psks]))

    @classmethod
    def read(cls, reader: Reader) -> GroupSecrets:
        """Decode one."""
        return cls(
            joiner_secret=reader.opaque(),
            path_secret=reader.opaque() if reader.present() else None,
            psks=reader.items(PreSharedKeyID.read, count_max=PSKS_PER_COMMIT_MAX),
        )


class EncryptedGroupSecrets(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Secrets for the owner of one KeyPackage, named by its reference."""

    new_member: bytes
    sealed: HPKECiphertext

    def encode(self) -> bytes:
        """Encode for the wire."""
        return vector(self.new_member) + self.sealed.encode()

    @classmethod
    def read(cls, reader: Reader) -> EncryptedGroupSecrets:
        """Decode one."""
        return cls(new_member=reader.opaque(), sealed=HPKECiphertext.read(reader))


class Welcome(msgspec.Struct, frozen=True, kw_only=True):
    """Secrets for every newcomer of a commit, and one encrypted GroupInfo for all (RFC 9420 12.4.3.1)."""

    cipher_suite: int
    secrets: tuple[EncryptedGroupSecrets, ...]
    encrypted_group_info: bytes

    def encode(self) -> bytes:
        """Encode for the wire."""
        secrets = vector(b"".join([item.encode() for item in self.secrets]))
        return u16(self.cipher_suite) + secrets + vector(self.encrypted_group_info)

    @classmethod
    def read(cls, reader: Reader) -> Welcome:
        """Decode one, of any cipher suite."""
        return cls(
            cipher_suite=reader.u16(),
            secrets=reader.items(EncryptedGroupSecrets.read, count_max=LEAVES_MAX),
            encrypted_group_info=reader.opaque(),
        )

    def group_secrets(self, reference: bytes, init_key: KeyPair) -> GroupSecrets:
        """Open the secrets meant for the KeyPackage with a reference.

        Raises:
            Unsupported: another cipher suite.
            NotForUs: nothing in here for that KeyPackage.
            DecryptionFailed: not sealed to its init key.
            DecodeError: the secrets are malformed.
        """
        if self.cipher_suite != CIPHER_SUITE:
            raise Unsupported(f"a Welcome of cipher suite {self.cipher_suite:#06x}")
        for entry in self.secrets:
            if entry.new_member == reference:
                context = encryption_context(_WELCOME_LABEL, self.encrypted_group_info)
                return decode(hpke_open(init_key, context, entry.sealed), GroupSecrets.read)
        raise NotForUs("no secrets for this KeyPackage")

    def group_info(self, joiner: JoinerSecrets) -> GroupInfo:
        """Decrypt the GroupInfo; it is not verified here.

        Raises:
            DecryptionFailed: another joiner secret or other pre-shared keys.
            InvalidGroupInfo: of another cipher suite than the Welcome.
            DecodeError: the GroupInfo is malformed.
        """
        key, nonce = joiner.welcome_key_and_nonce()
        info = decode(aead_open(key, nonce, b"", self.encrypted_group_info), GroupInfo.read)
        if info.context.cipher_suite != self.cipher_suite:
            raise InvalidGroupInfo("a GroupInfo of another cipher suite than its Welcome")
        return info


def seal_welcome(
    info: GroupInfo, joiner: JoinerSecrets, newcomers: list[tuple[bytes, bytes, GroupSecrets]], entropy: Entropy
) -> Welcome:
    """Make the Welcome for newcomers, each given as (KeyPackage reference, init key, secrets)."""
    key, nonce = joiner.welcome_key_and_nonce()
    encrypted_group_info = aead_seal(key, nonce, b"", info.encode())
    context = encryption_context(_WELCOME_LABEL, encrypted_group_info)
    secrets = tuple(
        EncryptedGroupSecrets(new_member=reference, sealed=hpke_seal(init_key, context, secret.encode(), entropy))
        for reference, init_key, secret in newcomers
    )
    return Welcome(cipher_suite=CIPHER_SUITE, secrets=secrets, encrypted_group_info=encrypted_group_info)
