"""Where a person's keys and history are: one folder per profile, open in one process at a time.

<data folder>/samtala/<profile>/   0700
lock         held while open; two processes would use the same ratchet keys twice
store.key    32 random bytes in hex, 0600        or   store.salt   when a passphrase opens the store
store.db     everything else, encrypted
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import platformdirs
from nacl import pwhash

from client.errors import PreconditionError, UsageError
from client.store import KEY_BYTES, Store, StoreDamagedError, open_store

DEFAULT_PROFILE: Final = "default"
_SALT_BYTES: Final = 16


def profile_folder(profile: str | Path | None = None) -> Path:
    """The folder of a profile: a path is taken as it is, a plain word names a folder in the person's data folder."""
    name = profile or DEFAULT_PROFILE
    if isinstance(name, Path) or os.sep in name or name in {".", ".."}:
        return Path(name).expanduser()
    return platformdirs.user_data_path("samtala") / name


@contextmanager
def open_profile(folder: Path, *, passphrase: str | None = None) -> Iterator[Store]:
    """Open a profile, made on first use, and hold it for this process.

    Args:
        folder: from `profile_folder`.
        passphrase: opens the store instead of a key file; the choice is made when the profile is made.

    Raises:
        PreconditionError: another process has it open, or others can read its key.
        UsageError: it needs a passphrase, or has none.
        StoreError: the store does not open.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise PreconditionError(f"the profile folder {folder} cannot be used: {error.strerror}") from error
    try:
        _hold(lock, folder)
        store = open_store(folder / "store.db", _store_key(folder, passphrase))
        try:
            yield store
        finally:
            store.close()
    finally:
        os.close(lock)


def _hold(lock: int, folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(lock, 32, 0).decode(errors="replace").strip() or "?"
        raise PreconditionError(
            f"the profile {folder} is in use by process {holder}: two at once would use the same keys twice.\n"
            "  Close that one, or take another: samtala --profile NAME …"
        ) from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)


def _store_key(folder: Path, passphrase: str | None) -> bytes:
    key_path, salt_path = folder / "store.key", folder / "store.salt"
    is_new = not (folder / "store.db").exists()
    if passphrase is not None:
        if is_new and not salt_path.exists():
            _write_secret(salt_path, secrets.token_bytes(_SALT_BYTES).hex())
        if not salt_path.exists():
            raise UsageError(f"the profile {folder} has no passphrase; leave --passphrase-file out")
        return _stretch(passphrase, _read_secret(salt_path, _SALT_BYTES))
    if salt_path.exists():
        raise UsageError(f"the profile {folder} has a passphrase: give it with --passphrase-file FILE")
    if is_new and not key_path.exists():
        _write_secret(key_path, secrets.token_bytes(KEY_BYTES).hex())
    return _read_secret(key_path, KEY_BYTES)


def _stretch(passphrase: str, salt: bytes) -> bytes:
    return pwhash.argon2id.kdf(
        KEY_BYTES,
        passphrase.encode(),
        salt,
        opslimit=pwhash.argon2id.OPSLIMIT_MODERATE,
        memlimit=pwhash.argon2id.MEMLIMIT_MODERATE,
    )


def _write_secret(path: Path, text: str) -> None:
    # Written aside and renamed: a crash must not leave half a key under the right name.
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, text.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    draft.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _read_secret(path: Path, size: int) -> bytes:
    try:
        mode = path.stat().st_mode & 0o777
        if mode & 0o077:
            raise PreconditionError(f"others can read {path} (mode {mode:o}). Mend it: chmod 600 {path}")
        secret = bytes.fromhex(path.read_text("ascii").strip())
    except FileNotFoundError as error:
        raise StoreDamagedError(f"{path} is missing; without it the profile's store cannot be read") from error
    except (ValueError, OSError) as error:
        raise StoreDamagedError(f"{path} cannot be read: {error}") from error
    if len(secret) != size:
        raise StoreDamagedError(f"{path} is damaged: {len(secret)} bytes instead of {size}")
    return secret
