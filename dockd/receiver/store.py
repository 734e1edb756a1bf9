"""The receiver's store: clips with their manifests and receipts, side by side on disk.

::

    clips/ab/cd/<clip_id>.age               ciphertext
    clips/ab/cd/<clip_id>.manifest.jws      the manifest that brought it
    clips/ab/cd/<clip_id>.receipt.jws       the receipt: with it, the copy is stored
    clips/ab/cd/<clip_id>.manifest.<16 hex of its SHA-256>.jws   every other manifest
    clips/ab/cd/<clip_id>.<16 hex of the ciphertext's SHA-256>.* a copy for other recipients
    incoming/                               what isn't stored yet
    damaged/                                what the disk has not kept, set aside

The receipt is written last. Whatever a crash leaves without one is taken back into
``incoming/`` and verified again, so nothing half-done is ever found in ``clips/``. Nothing
is overwritten there, and nothing removed: a copy that is found damaged is moved to
``damaged/``, its receipt last, and no longer counts as stored.
"""

import contextlib
import enum
import fcntl
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dockd.errors import (
    StatementError,
    StoreBusyError,
    UploadDamagedError,
    UploadUnreadableError,
)
from dockd.events import COPY_DAMAGED
from dockd.files import Files
from dockd.logs import emit
from dockd.manifest import Manifest, read_unverified_manifest, statement_sha256
from dockd.receiver.incoming import Incoming, Record
from dockd.receiver.reading import UNREADABLE, read_back

Sign = Callable[[Manifest, str], str]
"""Makes the compact receipt for a manifest and its compact form."""


class Outcome(enum.Enum):
    """What became of a complete upload, or of a manifest that asks for a stored copy."""

    STORED = "stored"
    KNOWN = "known"
    """A copy that does was there and is sound; the manifest was kept."""
    MISSING = "missing"
    """There is no such copy."""
    STOPPED = "stopped"
    """The receiver stops; this is for the next start."""


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

    @property
    def files(self) -> tuple[Path, Path, Path]:
        """All three, the receipt last."""
        return self.age, self.manifest, self.receipt


@dataclass(frozen=True)
class _Copy:
    """A stored ciphertext of a clip, with its statements."""

    place: _Place
    manifest: Manifest
    manifest_token: str
    receipt_token: str

    def covers(self, manifest: Manifest) -> bool:
        """Say whether everybody that ``manifest`` is sealed to can open this copy."""
        return set(self.manifest.recipients) >= set(manifest.recipients)


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

    def has(self, manifest: Manifest) -> bool:
        """Say whether there is a copy that does for a manifest, sound as far as is known."""
        return self._find_locked(manifest) is not None

    def claim(self, manifest: Manifest, token: str) -> str | None:
        """Return the receipt of a copy that does for a manifest which is known here already."""
        with self._commit:
            copy = self._find(manifest)
            if copy is None:
                return None
            known = token in {copy.manifest_token, _read(self._kept(manifest.clip_id, token))}
            return copy.receipt_token if known else None

    def admit(self, manifest: Manifest, token: str) -> Outcome:
        """Read a copy that does for a manifest back from the disk; keep the manifest if it holds.

        That a copy was sound when it was signed for says nothing of today, and whoever brings
        a new manifest may be about to part with the only other copy.

        Raises:
            OSError: the disk failed otherwise than by having lost the copy.
        """
        while (copy := self._find_locked(manifest)) is not None:
            damage = ""
            try:
                if not read_back(copy.place.age, copy.manifest.ciphertext, self._stopping):
                    return Outcome.STOPPED
            except UploadDamagedError as error:
                damage = error.detail
            with self._commit:
                if _read(copy.place.receipt) != copy.receipt_token:
                    continue  # another thread has set it aside
                if damage:
                    self._set_aside(copy.place, damage)
                    continue
                if token != copy.manifest_token:
                    self._keep_manifest(manifest.clip_id, token)
                return Outcome.KNOWN
        return Outcome.MISSING

    def finish(self, record: Record, manifest: Manifest, sign: Sign) -> Outcome:
        """Verify a complete upload and make it a stored copy.

        Raises:
            UploadDamagedError: length or digest aren't the manifest's.
            UploadUnreadableError: the disk can't give the bytes back; they were set aside.
            OSError: the disk failed otherwise; the upload stays, and can be finished later.
        """
        if self.take_back(record, manifest):
            return Outcome.STORED
        if not self._verify(record, manifest):
            return Outcome.STOPPED
        token = record.manifest_token
        while (outcome := self.admit(manifest, token)) is Outcome.MISSING:
            with self._commit:
                if self._find(manifest) is not None:
                    continue  # another upload was faster
                place = self._vacant_place(manifest)
                self._publish(token, place.manifest)
                self.files.publish(self.incoming.part(record.id), place.age)
                self._publish(sign(manifest, token), place.receipt)
                self.incoming.forget(record.id)
                return Outcome.STORED
        if outcome is Outcome.KNOWN:
            self.incoming.discard(record.id)
        return outcome

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
        try:
            return read_back(part, manifest.ciphertext, self._stopping)
        except UploadUnreadableError as error:
            # To remove it would give its bad blocks to the next upload.
            aside = self._aside(manifest.clip_id) + ".part"
            self.files.publish(part, Path(aside))
            self.incoming.forget(record.id)
            raise UploadUnreadableError(
                f"{error.detail}; set aside as {aside}",
                hint="look at the store's disk (dmesg); the station uploads the clip again",
            ) from error

    def _vacant_place(self, manifest: Manifest) -> _Place:
        for place in self._places(manifest):
            self.files.make_folder(place.folder)
            # Without a receipt, it may be an upload's that a failing disk kept from its own.
            if not any(path.exists() for path in place.files):
                return place
        raise UploadDamagedError("this ciphertext is stored already, for fewer recipients")

    def _set_aside(self, place: _Place, damage: str) -> None:
        aside = self._aside(place.stem)
        # After a crash in between, the receipt makes the next look set the rest aside.
        for path in place.files:
            with contextlib.suppress(FileNotFoundError):
                self.files.publish(path, Path(aside + path.name.removeprefix(place.stem)))
        emit(
            COPY_DAMAGED,
            clip_id=place.stem[:64],
            file=str(place.age),
            detail=f"{damage}; what there is was set aside as {aside}.*",
            hint="look at the disk (dmesg); a station that still has the clip uploads it again, "
            "otherwise bring it back from a backup",
        )

    def _aside(self, stem: str) -> str:
        """Return a path in ``damaged/`` that nothing has yet, to put a suffix to."""
        folder = self._path / "damaged"
        self.files.make_folder(folder)
        return str(folder / f"{stem}.{secrets.token_hex(8)}")

    def _keep_manifest(self, clip_id: str, token: str) -> None:
        final = self._kept(clip_id, token)
        if _read(final) != token:
            self._publish(token, final)

    def _kept(self, clip_id: str, token: str) -> Path:
        return self._folder(clip_id) / f"{clip_id}.manifest.{statement_sha256(token)[:16]}.jws"

    def _publish(self, token: str, final: Path) -> None:
        self.files.publish_bytes(token.encode(), final, staging=self.incoming.folder)

    def _folder(self, clip_id: str) -> Path:
        return self._path / "clips" / clip_id[:2] / clip_id[2:4]

    def _places(self, manifest: Manifest) -> tuple[_Place, _Place]:
        folder = self._folder(manifest.clip_id)
        other = f"{manifest.clip_id}.{manifest.ciphertext.sha256[:16]}"
        return _Place(folder, manifest.clip_id), _Place(folder, other)

    def _find(self, manifest: Manifest) -> _Copy | None:
        return next((c for c in self._copies(manifest.clip_id) if c.covers(manifest)), None)

    def _find_locked(self, manifest: Manifest) -> _Copy | None:
        with self._commit:
            return self._find(manifest)

    def _copies(self, clip_id: str) -> Iterator[_Copy]:
        folder = self._folder(clip_id)
        for receipt in sorted(folder.glob(f"{clip_id}*.receipt.jws"), key=lambda p: len(p.name)):
            stem = receipt.name.removesuffix(".receipt.jws")
            if (copy := self._copy(_Place(folder, stem))) is not None:
                yield copy

    def _copy(self, place: _Place) -> _Copy | None:
        """Return the copy at a place; one that is not whole is set aside."""
        token, receipt = _read(place.manifest), _read(place.receipt)
        damage = ""
        try:
            manifest = read_unverified_manifest(token or "")
            size, expected = place.age.stat().st_size, manifest.ciphertext.size
            if size != expected:
                damage = f"it has {size} bytes instead of {expected}"
        except StatementError as error:
            damage = f"its manifest: {error.detail}"
        except FileNotFoundError:
            damage = "it is gone"
        if damage or token is None or receipt is None:
            self._set_aside(place, damage or "its receipt can't be read")
            return None
        return _Copy(place, manifest, token, receipt)


def _read(path: Path) -> str | None:
    """Return a statement; None where there is none, or the disk has lost it."""
    try:
        return path.read_text(encoding="ascii")
    except (FileNotFoundError, UnicodeDecodeError):
        return None
    except OSError as error:
        if error.errno in UNREADABLE:
            return None
        raise
