"""Ed25519 signing keys: files, fingerprints, and the rules for secret files.

Private keys are PKCS #8 PEM with mode 0600, public keys SubjectPublicKeyInfo PEM
(RFC 8410), so that ``openssl`` reads both. A key is named by its JWK thumbprint
(RFC 7638, with the members of RFC 8037), the ``kid`` of the statements it signs.
"""

import base64
import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from dockd.errors import KeyFileError
from dockd.files import Files

_FILES = Files()


@dataclass(frozen=True)
class VerifyKey:
    """A public key that statements are checked with."""

    public: Ed25519PublicKey
    kid: str

    @classmethod
    def of(cls, public: Ed25519PublicKey) -> Self:
        """Return a public key with its thumbprint."""
        return cls(public, _thumbprint(public))

    @classmethod
    def parse(cls, pem: bytes, name: str) -> Self:
        """Read a PEM public key; ``name`` says in errors where it came from.

        Raises:
            KeyFileError: it is not an Ed25519 public key.
        """
        try:
            key = load_pem_public_key(pem)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise KeyFileError(f"{name} is not a PEM public key") from error
        if not isinstance(key, Ed25519PublicKey):
            raise KeyFileError(f"{name} is not an Ed25519 key", hint="make one with dockd keygen")
        return cls.of(key)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a public key file.

        Raises:
            KeyFileError: it is missing, unreadable or not an Ed25519 public key.
        """
        return cls.parse(read_key_file(path), str(path))

    def pem(self) -> bytes:
        """Return the key as SubjectPublicKeyInfo PEM."""
        return self.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@dataclass(frozen=True)
class SigningKey:
    """A private key that statements are signed with."""

    private: Ed25519PrivateKey = field(repr=False)
    verify_key: VerifyKey

    @property
    def kid(self) -> str:
        """The thumbprint of its public half."""
        return self.verify_key.kid

    @classmethod
    def generate(cls) -> Self:
        """Draw a new key."""
        return cls._of(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a private key file.

        Raises:
            KeyFileError: it is missing, open to others, or not an Ed25519 private key.
        """
        try:
            key = load_pem_private_key(read_secret_file(path), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise KeyFileError(f"{path} is not an unencrypted PEM private key") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise KeyFileError(f"{path} is not an Ed25519 key", hint="make one with dockd keygen")
        return cls._of(key)

    @classmethod
    def _of(cls, private: Ed25519PrivateKey) -> Self:
        return cls(private, VerifyKey.of(private.public_key()))

    def pem(self) -> bytes:
        """Return the key as unencrypted PKCS #8 PEM."""
        return self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def read_key_file(path: Path) -> bytes:
    """Read a small key file, secret or not.

    Raises:
        KeyFileError: it can't be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise KeyFileError(
            f"{path}: {error.strerror}", hint="see docs/configure.md, Keys"
        ) from error


def read_secret_file(path: Path) -> bytes:
    """Read a secret that nobody but its owner may read.

    systemd guards ``$CREDENTIALS_DIRECTORY`` with an access list that the mode bits
    don't show, so files there are taken as they are.

    Raises:
        KeyFileError: it can't be read, or group or others may read it.
    """
    data = read_key_file(path)
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    guarded = credentials is not None and path.is_relative_to(credentials)
    if not guarded and path.stat().st_mode & 0o077:
        raise KeyFileError(f"{path} can be read by others than its owner", hint=f"chmod 600 {path}")
    return data


def write_secret_file(path: Path, data: bytes, files: Files = _FILES) -> None:
    """Write a new secret file with mode 0600, durably; an existing one is never replaced.

    Raises:
        KeyFileError: it is there already, or can't be written.
    """
    _write_new(path, data, 0o600, files)


def write_public_file(path: Path, data: bytes, files: Files = _FILES) -> None:
    """Write a new file for everybody to read, durably; an existing one is never replaced.

    Raises:
        KeyFileError: it is there already, or can't be written.
    """
    _write_new(path, data, 0o644, files)


def _write_new(path: Path, data: bytes, mode: int, files: Files) -> None:
    try:
        fd = files.create(path)
    except FileExistsError as error:
        hint = "choose another place; a key that is in use can't be made again"
        raise KeyFileError(f"{path} is there already", hint=hint) from error
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}") from error
    try:
        try:
            os.fchmod(fd, mode)
            files.write(fd, data)
            files.fsync(fd)
        finally:
            os.close(fd)
        files.fsync_folder(path.parent)
    except OSError as error:
        path.unlink()
        raise KeyFileError(f"{path}: {error.strerror}") from error


def _thumbprint(public: Ed25519PublicKey) -> str:
    raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    members = {"crv": "Ed25519", "kty": "OKP", "x": _base64url(raw)}
    canonical = json.dumps(members, separators=(",", ":"), sort_keys=True).encode()
    return _base64url(hashlib.sha256(canonical).digest())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
