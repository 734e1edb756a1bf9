"""What can be told of a ciphertext without opening it: that it is an age file, and its sizes.

A manifest that is wrong in these is a mistake or a lie, and nobody needs an identity to say so.
"""

import os
from pathlib import Path

from dockd.base.errors import AgeHeaderError, UploadDamagedError
from dockd.evidence.age import ciphertext_size
from dockd.evidence.age.header import MAX_HEADER, VERSION_LINE, read_header
from dockd.evidence.statements import Manifest

BEGINNING = len(VERSION_LINE)
"""Bytes that every age file begins with."""
_SHORTEST_STANZA = len(b"-> t\n\n")
_MAC_LINE = len("--- ") + 43 + 1


def implausible(manifest: Manifest) -> str:
    """Say why no age file of the manifest's plaintext can have its ciphertext's size, or ""."""
    header = manifest.ciphertext.size - ciphertext_size(manifest.plaintext.size, 0)
    least = BEGINNING + _SHORTEST_STANZA * len(manifest.recipients) + _MAC_LINE
    if least <= header <= MAX_HEADER:
        return ""
    return (
        f"an age file of {manifest.plaintext.size} bytes can't have"
        f" {manifest.ciphertext.size} bytes"
    )


def begins_as_age(path: Path) -> bool:
    """Say whether a file begins as an age file does, as far as it goes."""
    with path.open("rb") as file:
        return VERSION_LINE.startswith(file.read(BEGINNING))


def check_header(path: Path, manifest: Manifest) -> None:
    """Check that a ciphertext has an age header, and that the rest has the plaintext's size.

    Raises:
        UploadDamagedError: it has not.
        OSError: it could not be read.
    """
    with path.open("rb") as file:
        try:
            header = read_header(file.readline(MAX_HEADER), file)
        except AgeHeaderError as error:
            raise UploadDamagedError(f"no age file: {error.detail}") from error
        payload = os.fstat(file.fileno()).st_size - file.tell()
    if len(header.stanzas) < len(manifest.recipients):
        raise UploadDamagedError(
            f"it is sealed to {len(header.stanzas)} recipients, and its manifest names"
            f" {len(manifest.recipients)}"
        )
    if payload != ciphertext_size(manifest.plaintext.size, 0):
        raise UploadDamagedError(
            f"its payload has {payload} bytes, which are not those of"
            f" {manifest.plaintext.size} bytes of plaintext"
        )
