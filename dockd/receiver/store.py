"""The receiver's store: clips with their manifests and receipts, side by side on disk.

::

    clips/ab/cd/<clip_id>.age               ciphertext
    clips/ab/cd/<clip_id>.manifest.jws      the manifest that brought it
    clips/ab/cd/<clip_id>.receipt.jws       the receipt: with it, the copy is stored
    clips/ab/cd/<clip_id>.manifest.<16 hex of its SHA-256>.jws   every other manifest
    clips/ab/cd/<clip_id>.<16 hex of the ciphertext's SHA-256>.* a copy for other recipients
    incoming/                               what isn't stored yet

The receipt is written last. Whatever a crash leaves without one is taken back into
``incoming/`` and verified again, so nothing half-done is ever found in ``clips/``.
"""

import contextlib
import enum
import fcntl
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dockd.errors import StatementError, StoreBusyError, UploadDamagedError
from dockd.events import COPY_DAMAGED
from dockd.files import Files, read_from_disk
from dockd.logs import emit
from dockd.manifest import Manifest, read_unverified_manifest, statement_sha256
from dockd.receiver.incoming import Incoming, Record

Sign = Callable[[Manifest, str], str]
"""Makes the compact receipt for a manifest and its compact form."""


class Outcome(enum.Enum):
    """What became of a complete upload."""

    STORED = "stored"
    KNOWN = "known"
    """A copy that does as well was there; the bytes were dropped, the manifest kept."""
    STOPPED = "stopped"
    """The receiver stops; the upload is verified at the next start."""


@dataclass(frozen=True)
class Copy:
    """A stored ciphertext of a clip, with its statements."""

    manifest: Manifest
    manifest_token: str
    receipt_token: str

    def covers(self, manifest: Manifest) -> bool:
        """Say whether everybody that ``manifest`` is sealed to can open this copy."""
        return set(self.manifest.recipients) >= set(manifest.recipients)


@dataclass(frozen=True)
class _Place:
    """The three files of one copy."""

    folder: Path
    stem: str

    @property
    def age(self) -> Path:
        return self.folder / f"{self.stem}.age"

    @property
    def manifest(self) -> Path:
        return self.folder / f"{self.stem}.manifest.jws"

    @property
    def receipt(self) -> Path:
        return self.folder / f"{self.stem}.receipt.jws"


class Store:
    """The disk of one receiver; its methods block and may be called from any thread."""

    def __init__(self, path: Path, files: Files | None = None) -> None:
        self.files = files or Files()
        self._path = path
        self.incoming = Incoming(path / "incoming", self.files)
        self._commit = threading.Lock()
        self._stopping = threading.Event()

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Hold the store against other receivers.

        Raises:
            StoreBusyError: another one has it.
        """
        self.files.make_folder(self.incoming.folder)
        fd = os.open(self._path / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StoreBusyError(
                    str(self._path), hint="stop the other receiver, or give this one its own store"
                ) from error
            yield
        finally:
            os.close(fd)

    def stop(self) -> None:
        """Cut verifications short."""
        self._stopping.set()

    def free_bytes(self) -> int:
        """Return the free space of the store's disk in bytes."""
        return self.files.free_bytes(self._path)

    def receipt(self, clip_id: str) -> str | None:
        """Return the receipt of a clip's first copy, if it is stored."""
        with self._commit:
            return next((copy.receipt_token for copy in self._copies(clip_id)), None)

    def claim(self, manifest: Manifest, token: str) -> Copy | None:
        """Return a stored copy that does for a brought manifest, which is then kept."""
        with self._commit:
            for copy in self._copies(manifest.clip_id):
                if copy.covers(manifest):
                    if copy.manifest_token != token:
                        self._keep_manifest(manifest.clip_id, token)
                    return copy
            return None

    def finish(self, record: Record, manifest: Manifest, sign: Sign) -> Outcome:
        """Verify a complete upload and make it a stored copy.

        Raises:
            UploadDamagedError: length or digest aren't the manifest's.
            OSError: the disk failed; the upload stays, and can be finished later.
        """
        if self.take_back(record, manifest):
            return Outcome.STORED
        if not self._verify(record, manifest):
            return Outcome.STOPPED
        with self._commit:
            if any(copy.covers(manifest) for copy in self._copies(manifest.clip_id)):
                self._keep_manifest(manifest.clip_id, record.manifest_token)
                self.incoming.discard(record.id)
                return Outcome.KNOWN
            place = self._vacant_place(manifest)
            self._publish(record.manifest_token, place.manifest)
            self.files.publish(self.incoming.part(record.id), place.age)
            self._publish(sign(manifest, record.manifest_token), place.receipt)
            self.incoming.forget(record.id)
            return Outcome.STORED

    def take_back(self, record: Record, manifest: Manifest) -> bool:
        """Undo what a crash cut short; return whether the upload was stored after all."""
        with self._commit:
            part = self.incoming.part(record.id)
            for place in self._places(manifest):
                if _read(place.manifest) != record.manifest_token:
                    continue
                if place.receipt.exists():
                    if part.exists():
                        continue
                    # The crash may have come before the receipt's name was durable.
                    self.files.fsync_folder(place.folder)
                    self.incoming.forget(record.id)
                    return True
                if not part.exists() and place.age.exists():
                    self.files.publish(place.age, part)
                self.files.remove(place.manifest)
            return False

    def _verify(self, record: Record, manifest: Manifest) -> bool:
        part = self.incoming.part(record.id)
        try:
            fd = self.incoming.open(record.id)
        except FileNotFoundError as error:
            raise UploadDamagedError("its bytes are gone") from error
        try:
            self.files.fsync(fd)
        finally:
            os.close(fd)
        digest = hashlib.sha256()
        size = 0
        for block in read_from_disk(part):
            if self._stopping.is_set():
                return False
            digest.update(block)
            size += len(block)
        expected = manifest.ciphertext
        if size != expected.size or digest.hexdigest() != expected.sha256:
            raise UploadDamagedError(
                f"{size} bytes with SHA-256 {digest.hexdigest()} arrived, "
                f"instead of {expected.size} with {expected.sha256}",
                hint="the station checks its spool and uploads again",
            )
        return True

    def _vacant_place(self, manifest: Manifest) -> _Place:
        for place in self._places(manifest):
            self.files.make_folder(place.folder)
            if place.receipt.exists():
                if self._copy(place) is not None:
                    continue
                # Its ciphertext is gone: the new one takes its place, the manifest is kept.
                if (token := _read(place.manifest)) is not None:
                    self._keep_manifest(manifest.clip_id, token)
                self.files.remove(place.receipt)
            elif place.age.exists():
                continue  # another upload's, which a failing disk kept from its receipt
            return place
        raise UploadDamagedError("this ciphertext is stored already, for fewer recipients")

    def _keep_manifest(self, clip_id: str, token: str) -> None:
        name = f"{clip_id}.manifest.{statement_sha256(token)[:16]}.jws"
        final = self._folder(clip_id) / name
        if _read(final) != token:
            self._publish(token, final)

    def _publish(self, token: str, final: Path) -> None:
        self.files.publish_bytes(token.encode(), final, staging=self.incoming.folder)

    def _folder(self, clip_id: str) -> Path:
        return self._path / "clips" / clip_id[:2] / clip_id[2:4]

    def _places(self, manifest: Manifest) -> tuple[_Place, _Place]:
        folder = self._folder(manifest.clip_id)
        other = f"{manifest.clip_id}.{manifest.ciphertext.sha256[:16]}"
        return _Place(folder, manifest.clip_id), _Place(folder, other)

    def _copies(self, clip_id: str) -> Iterator[Copy]:
        folder = self._folder(clip_id)
        for receipt in sorted(folder.glob(f"{clip_id}*.receipt.jws"), key=lambda p: len(p.name)):
            stem = receipt.name.removesuffix(".receipt.jws")
            if (copy := self._copy(_Place(folder, stem))) is not None:
                yield copy

    def _copy(self, place: _Place) -> Copy | None:
        token, receipt = _read(place.manifest), _read(place.receipt)
        try:
            manifest = read_unverified_manifest(token or "")
            intact = place.age.stat().st_size == manifest.ciphertext.size
        except (StatementError, FileNotFoundError):
            intact = False
        if not intact or token is None or receipt is None:
            hint = "find out what happened to it; the next station that has it uploads it again"
            emit(COPY_DAMAGED, clip_id=place.stem[:64], file=str(place.age), hint=hint)
            return None
        return Copy(manifest, token, receipt)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii")
    except (FileNotFoundError, UnicodeDecodeError):
        return None
