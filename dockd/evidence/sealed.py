"""Checks of a ciphertext without decryption: that it is an age file of the right size.

They need no identity.
"""

import os
from typing import BinaryIO

from dockd.base.errors import AgeHeaderError, UploadDamagedError
from dockd.evidence.age import ciphertext_size
from dockd.evidence.age.header import MAX_HEADER, VERSION_LINE, read_header
from dockd.evidence.statements import Manifest

BEGINNING = len(VERSION_LINE)
"""Length of the first line of every age file."""
_SHORTEST_STANZA = len(b"-> t\n\n")
_MAC_LINE = len("--- ") + 43 + 1


def implausible(manifest: Manifest) -> str:
    """Return why the manifest's ciphertext size does not fit its plaintext size, or ""."""
    header = manifest.ciphertext.size - ciphertext_size(manifest.plaintext.size, 0)
    least = BEGINNING + _SHORTEST_STANZA * len(manifest.recipients) + _MAC_LINE
    if least <= header <= MAX_HEADER:
        return ""
    return (
        f"an age file of {manifest.plaintext.size} bytes can't have"
        f" {manifest.ciphertext.size} bytes"
    )


def begins_as_age(beginning: bytes) -> bool:
    """Return whether the first bytes, as many as given, are those of an age file."""
    return VERSION_LINE.startswith(beginning[:BEGINNING])


def check_header(file: BinaryIO, manifest: Manifest) -> None:
    """Check that a ciphertext has an age header, and a payload of the plaintext's size.

    Raises:
        UploadDamagedError: it hasn't.
        OSError: it could not be read.
    """
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
