"""Decryption of whole files, without partial or unauthenticated output."""

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from dockd.base.errors import UsageError
from dockd.evidence.age.keys import Identity
from dockd.evidence.age.stream import open_stream
from dockd.host.files import Files

_FILES = Files()


def decrypt_file(
    source: Path,
    output: Path | BinaryIO,
    identities: Sequence[Identity],
    *,
    files: Files = _FILES,
) -> None:
    """Decrypt an age file, binary or armored, completely or not at all.

    A path is created, durably and with mode 0600, only once it is complete. Before the first
    byte is written to a stream, the file is authenticated to its end; ciphertext from a pipe
    is copied to a temporary file for that.

    Raises:
        UsageError: the output exists already.
        AgeError: as ``open_stream`` does.
        OSError: the source can't be read or the output can't be written.
    """
    with source.open("rb") as ciphertext:
        if isinstance(output, Path):
            _decrypt_to_path(ciphertext, output, identities, files)
        elif ciphertext.seekable():
            _decrypt_to_stream(ciphertext, output, identities)
        else:
            with tempfile.TemporaryFile() as copy:
                shutil.copyfileobj(ciphertext, copy)
                copy.seek(0)
                _decrypt_to_stream(copy, output, identities)


def _decrypt_to_path(
    ciphertext: BinaryIO, output: Path, identities: Sequence[Identity], files: Files
) -> None:
    if os.path.lexists(output):
        raise _exists(output)
    part = output.with_name(f".{files.randomness.hex(8)}.part")
    fd = files.create(part)
    try:
        try:
            for chunk in open_stream(ciphertext, identities):
                files.write(fd, chunk)
            files.fsync(fd)
        finally:
            os.close(fd)
        _publish(files, part, output)
    finally:
        part.unlink(missing_ok=True)


def _publish(files: Files, part: Path, output: Path) -> None:
    # A rename would replace a file created meanwhile; this claims the name first.
    try:
        output.touch(mode=0o600, exist_ok=False)
    except FileExistsError:
        raise _exists(output) from None
    try:
        files.publish(part, output)
    except OSError:
        output.unlink(missing_ok=True)
        raise


def _exists(output: Path) -> UsageError:
    return UsageError(f"{output} exists already", hint="name another output, or move it away")


def _decrypt_to_stream(
    ciphertext: BinaryIO, output: BinaryIO, identities: Sequence[Identity]
) -> None:
    for _ in open_stream(ciphertext, identities):
        pass
    ciphertext.seek(0)
    output.writelines(open_stream(ciphertext, identities))
    output.flush()
