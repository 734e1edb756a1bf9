"""Ed25519 signing keys: files, fingerprints, and the rules for secret files.

Private keys are PKCS #8 PEM with mode 0600, public keys SubjectPublicKeyInfo PEM
(RFC 8410), as ``openssl`` reads them. A key's name is its JWK thumbprint (RFC 7638, with the
members of RFC 8037), the ``kid`` of the statements it signs.

A line before the PEM, written by ``dockd keygen``, states the key's role; other software
ignores it (RFC 7468). A station's key is never accepted as a receiver's: its owner could sign
receipts. Without the line, as in a key of ``openssl``, the operator is responsible.
"""

import base64
import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

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

from dockd.base import texts
from dockd.base.errors import KeyFileError
from dockd.host.files import Files

_FILES = Files()
_ROLE = re.compile(rb"^dockd (station|receiver) (?:public|private) key$", re.MULTILINE)
_LABEL = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")

Role = Literal["station", "receiver"]
"""Whose statements a key signs."""


@dataclass(frozen=True)
class VerifyKey:
    """A public key that verifies statements."""

    public: Ed25519PublicKey
    kid: str

    @classmethod
    def of(cls, public: Ed25519PublicKey) -> Self:
        """Return a public key with its thumbprint."""
        return cls(public, _thumbprint(public))

    @classmethod
    def parse(cls, pem: bytes, name: str, role: Role | None = None) -> Self:
        """Read a PEM public key.

        Args:
            pem: the file's content.
            name: its source, for errors.
            role: whose key it must be; a file without a role is accepted.

        Raises:
            KeyFileError: it is not an Ed25519 public key, or has another role.
        """
        pem = _plain(pem)
        _check_role(pem, name, role)
        try:
            key = load_pem_public_key(pem)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise KeyFileError(f"{name} is not a PEM public key", hint=_instead(pem)) from error
        if not isinstance(key, Ed25519PublicKey):
            raise KeyFileError(f"{name} is not an Ed25519 key", hint="use dockd keygen")
        return cls.of(key)

    @classmethod
    def load(cls, path: Path, role: Role | None = None) -> Self:
        """Read a public key file, as ``parse`` does.

        Raises:
            KeyFileError: it is missing, unreadable, not an Ed25519 public key, or has another role.
        """
        return cls.parse(read_key_file(path), str(path), role)

    def pem(self, role: Role | None = None) -> bytes:
        """Return the key as SubjectPublicKeyInfo PEM, after a line that states its role."""
        pem = self.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return f"dockd {role} public key\n".encode() + pem if role else pem


@dataclass(frozen=True)
class SigningKey:
    """A private key that signs statements."""

    private: Ed25519PrivateKey = field(repr=False)
    verify_key: VerifyKey

    @property
    def kid(self) -> str:
        """The thumbprint of its public half."""
        return self.verify_key.kid

    @classmethod
    def generate(cls) -> Self:
        """Generate a new key."""
        return cls._of(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path, role: Role | None = None) -> Self:
        """Read a private key file; ``role`` is the role it must have, if the file states one.

        Raises:
            KeyFileError: it is missing, readable by others, not an Ed25519 private key, or has
                another role.
        """
        pem = _plain(read_secret_file(path))
        _check_role(pem, str(path), role)
        try:
            key = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise KeyFileError(
                f"{path} is not an unencrypted PEM private key", hint=_instead(pem)
            ) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise KeyFileError(f"{path} is not an Ed25519 key", hint="use dockd keygen")
        return cls._of(key)

    @classmethod
    def _of(cls, private: Ed25519PrivateKey) -> Self:
        return cls(private, VerifyKey.of(private.public_key()))

    def pem(self, role: Role | None = None) -> bytes:
        """Return the key as unencrypted PKCS #8 PEM, after a line that states its role."""
        pem = self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return f"dockd {role} private key\n".encode() + pem if role else pem


def receiver_keys(paths: Sequence[Path], own: SigningKey) -> list[VerifyKey]:
    """Read the keys whose receipts a station accepts.

    Raises:
        KeyFileError: one is invalid, or is the station's own, with which it could wipe clips
            that no receiver has stored.
    """
    keys = [VerifyKey.load(path, "receiver") for path in paths]
    for path, key in zip(paths, keys, strict=True):
        if key.kid == own.kid:
            raise KeyFileError(
                f"{path} is this station's own key, but must be a receiver's",
                hint="fetch the receiver's .pub; see docs/configure.md, Keys",
            )
    return keys


def _check_role(pem: bytes, name: str, role: Role | None) -> None:
    found = _ROLE.search(pem)
    if role is not None and found is not None and found[1] != role.encode():
        raise KeyFileError(
            f"{name} is a {found[1].decode()}'s key, but must be a {role}'s",
            hint=f"dockd keygen {role} generates one; see docs/configure.md, Keys",
        )


def _plain(data: bytes) -> bytes:
    """Return the normalised content of a PEM file, without an editor's changes."""
    try:
        lines = texts.decode(data).split("\n")
    except ValueError:
        return data  # perhaps a comment in another encoding, which is irrelevant
    return "\n".join(line.strip() for line in lines).encode()


def _instead(pem: bytes) -> str:
    """Return a hint about what a file contains instead of the key."""
    try:
        texts.decode(pem)
    except ValueError as error:
        return f"it {error}"
    found = _LABEL.search(pem)
    if found is None:
        return "it begins with -----BEGIN, as dockd keygen writes it"
    return f"it holds {found[1].decode()}; see docs/configure.md, Keys"


@contextlib.contextmanager
def pem_path(path: Path, *, secret: bool = False) -> Iterator[Path]:
    """Yield a path of a PEM file's normalised content, which OpenSSL can read.

    Raises:
        KeyFileError: it can't be read, is no text, or a secret is readable by others.
    """
    data = read_secret_file(path) if secret else read_key_file(path)
    plain = _plain(data)
    if plain == data.replace(b"\r\n", b"\n"):
        yield path
        return
    fd = os.memfd_create("pem", os.MFD_CLOEXEC)
    try:
        os.write(fd, plain)
        yield Path(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def read_token(path: Path) -> str:
    """Read a bearer token (RFC 6750, section 2.1), without quotes and an Authorization prefix.

    Raises:
        KeyFileError: it can't be read, is readable by others, or contains no token.
    """
    try:
        text = texts.decode(read_secret_file(path)).strip()
    except ValueError as error:
        raise KeyFileError(f"{path} {error}") from error
    text = _AROUND_TOKEN.sub("", text)
    for quote in "\"'":
        if len(text) > 1 and text[0] == text[-1] == quote:
            text = _AROUND_TOKEN.sub("", text[1:-1].strip())
    if _TOKEN.fullmatch(text):
        return text
    if not text:
        raise KeyFileError(f"{path} is empty", hint="it must contain the token, and nothing else")
    stray = texts.stray_characters(text)
    what = "several lines" if "\n" in text else stray or "characters that no token has"
    raise KeyFileError(
        f"{path} does not contain a bearer token, but {what}",
        hint="a token is one line of letters, digits and - . _ ~ + / =",
    )


_AROUND_TOKEN = re.compile(r"^(?:authorization:\s*)?bearer\s+", re.IGNORECASE)
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")


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


def read_key_text(path: Path) -> str:
    """Read a small key file that is text.

    Raises:
        KeyFileError: it can't be read, or is no text.
    """
    try:
        return texts.decode(read_key_file(path))
    except ValueError as error:
        raise KeyFileError(f"{path} {error}") from error


def read_secret_file(path: Path) -> bytes:
    """Read a secret that only its owner may read.

    systemd protects ``$CREDENTIALS_DIRECTORY`` with an access list that the mode bits don't
    show, so the modes of files there are not checked.

    Raises:
        KeyFileError: it can't be read, or is readable by group or others.
    """
    data = read_key_file(path)
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    guarded = credentials is not None and path.is_relative_to(credentials)
    if not guarded and path.stat().st_mode & 0o077:
        raise KeyFileError(f"{path} is readable by other users", hint=f"chmod 600 {path}")
    return data


def write_secret_file(path: Path, data: bytes, files: Files = _FILES) -> None:
    """Write a new secret file with mode 0600, durably; an existing one is never replaced.

    Raises:
        KeyFileError: it exists already, or can't be written.
    """
    _write_new(path, data, 0o600, files)


def write_public_file(path: Path, data: bytes, files: Files = _FILES) -> None:
    """Write a new world-readable file, durably; an existing one is never replaced.

    Raises:
        KeyFileError: it exists already, or can't be written.
    """
    _write_new(path, data, 0o644, files)


def _write_new(path: Path, data: bytes, mode: int, files: Files) -> None:
    try:
        fd = files.create(path)
    except FileExistsError as error:
        hint = "choose another file name; a key in use can't be generated again"
        raise KeyFileError(f"{path} exists already", hint=hint) from error
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
