"""Unfinished uploads on disk: ``<id>.part`` holds the bytes, ``<id>.json`` describes them.

A part is created before its record, so that a record without a part belongs to an upload whose
bytes have moved on into the store; a part without a record belongs to no upload.
"""

import contextlib
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from dockd.base.randomness import Randomness
from dockd.host.files import Files
from dockd.receiver import events
from dockd.receiver.store.protocol import Record

_VERSION = 1
_OWN_NAME = re.compile(r"[0-9a-f]{32}\.(json|part)|.+\.(json|jws)\.[0-9a-f]{8}\.part")


class OpenFile:
    """An upload's part, open for writing."""

    def __init__(self, path: Path, files: Files) -> None:
        self._fd = files.open(path)
        self._files = files

    def size(self) -> int:
        """Return how many bytes there are."""
        return self._files.size(self._fd)

    def write(self, pieces: Sequence[bytes], offset: int) -> int:
        """Write all pieces at an offset and return how many bytes that was."""
        return self._files.write_at(self._fd, pieces, offset)

    def truncate(self, size: int) -> None:
        """Cut the bytes off at a size."""
        self._files.truncate(self._fd, size)

    def sync(self) -> None:
        """Make the bytes durable."""
        self._files.fsync(self._fd)

    def close(self) -> None:
        """Close it; network file systems and quotas may report an earlier failure only now."""
        self._files.close(self._fd)


class IncomingFolder:
    """The folder of unfinished uploads; a start removes all else of the receiver's in it."""

    def __init__(self, folder: Path, files: Files, randomness: Randomness) -> None:
        self.folder = folder
        self._files = files
        self._randomness = randomness

    def part(self, upload_id: str) -> Path:
        """Return where an upload's bytes are until they are stored."""
        return self.folder / f"{upload_id}.part"

    def _record(self, upload_id: str) -> Path:
        return self.folder / f"{upload_id}.json"

    def create(self, manifest_token: str, metadata: str) -> Record:
        """Begin an upload, durably, under an id that can't be guessed."""
        record = Record(self._randomness.hex(16), manifest_token)
        self._files.close(self._files.create(self.part(record.id)))
        content = {"v": _VERSION, "manifest": manifest_token, "metadata": metadata}
        text = json.dumps(content, indent=1).encode() + b"\n"
        try:
            self._files.publish_bytes(text, self._record(record.id))
        except OSError:
            with contextlib.suppress(OSError):
                self.discard(record.id)
            raise
        return record

    def metadata(self, upload_id: str) -> str:
        """Return the ``Upload-Metadata`` that an upload was created with."""
        try:
            return str(json.loads(self._record(upload_id).read_bytes())["metadata"])
        except FileNotFoundError:
            return ""  # its bytes have moved on

    def offset(self, upload_id: str) -> int | None:
        """Return how many bytes have arrived; None where there is no part."""
        try:
            return self.part(upload_id).stat().st_size
        except FileNotFoundError:
            return None

    def touched(self, upload_id: str) -> datetime:
        """Return when the last byte arrived."""
        return datetime.fromtimestamp(self.part(upload_id).stat().st_mtime, UTC)

    def open(self, upload_id: str) -> OpenFile:
        """Open an upload's part for writing."""
        return OpenFile(self.part(upload_id), self._files)

    def beginning(self, upload_id: str, size: int) -> bytes:
        """Return the first bytes of an upload, at most ``size``."""
        with self.part(upload_id).open("rb") as file:
            return file.read(size)

    def file(self, upload_id: str) -> str:
        """Return where an operator finds an upload's bytes."""
        return str(self.part(upload_id))

    def try_write(self) -> None:
        """Write something small and remove it again; a crash leaves a part without a record.

        Raises:
            OSError: the disk fails.
        """
        part = self.part(self._randomness.hex(16))
        fd = self._files.create(part)
        try:
            try:
                self._files.write_at(fd, [b"\x00"], 0)
                self._files.fsync(fd)
            finally:
                self._files.close(fd)
        finally:
            self._files.remove(part)

    def forget(self, upload_id: str) -> None:
        """Remove the record of an upload whose bytes have moved on."""
        self._files.remove(self._record(upload_id))

    def discard(self, upload_id: str) -> None:
        """Remove an upload, bytes and all."""
        self.forget(upload_id)
        self._files.remove(self.part(upload_id))

    def load(self) -> tuple[list[Record], int]:
        """Return the uploads of earlier runs, and how many leftovers were removed.

        Files with other names, or that can't be read or removed, are logged and left.
        """
        records: dict[str, Record | None] = {}
        junk = 0
        # An upload's record sorts before its part.
        for path in sorted(self.folder.iterdir()):
            if not _OWN_NAME.fullmatch(path.name):
                events.receiver_leftover(file=str(path), detail="unrecognised file name")
                continue
            try:
                junk += self._clear(path, records)
            except OSError as error:
                events.receiver_leftover(file=str(path), detail=str(error.strerror))
        return [record for record in records.values() if record is not None], junk

    def _clear(self, path: Path, records: dict[str, Record | None]) -> bool:
        """Remember a record, or remove a file that belongs to none; return whether it did."""
        if path.suffix == ".json":
            records[path.stem] = None  # the part of an unreadable record stays as well
            if (record := _parse(path)) is not None:
                records[path.stem] = record
                return False
            del records[path.stem]
        elif path.stem in records:
            return False
        self._files.remove(path)
        return True


def _parse(path: Path) -> Record | None:
    try:
        content = json.loads(path.read_bytes())
        if content["v"] != _VERSION:
            return None
        return Record(path.stem, str(content["manifest"]))
    except (ValueError, KeyError, TypeError):
        return None
