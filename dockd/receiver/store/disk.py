"""The receiver's store: copies of clips with their manifests and receipts, side by side on disk.

::

    clips/ab/cd/<clip_id>.age               ciphertext
    clips/ab/cd/<clip_id>.manifest.jws      the manifest that brought it
    clips/ab/cd/<clip_id>.receipt.jws       the receipt: with it, the copy is stored
    clips/ab/cd/<clip_id>.<16 hex of the manifest's SHA-256>.*   the same of every further copy
    incoming/                               what isn't stored yet
    damaged/                                copies that the disk has not kept, set aside

Every manifest has the ciphertext that came with it: what the receiver can't open, it can't
hold for another's. The receipt is written last. Whatever a crash leaves without one is taken
back into ``incoming/`` and verified again, so nothing half-done is ever found in ``clips/``.
Nothing is overwritten there, and reading moves nothing: a copy that is damaged makes way for
a sound one of the same upload, into ``damaged/``, and comes back if it is found sound again.
"""

import contextlib
import enum
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from dockd.base.errors import StatementError, StoreBusyError, UploadDamagedError
from dockd.base.randomness import Randomness
from dockd.evidence.statements import (
    Manifest,
    Signer,
    is_sealed_later,
    read_unverified_manifest,
    read_unverified_receipt,
    statement_sha256,
)
from dockd.host.files import Files
from dockd.host.locks import exclusive
from dockd.receiver import events
from dockd.receiver.core.sealing import check_header
from dockd.receiver.store.incoming import Incoming, Record
from dockd.receiver.store.reading import read_back

Sign = Callable[[Manifest, str], str]
"""Makes the compact receipt for a manifest and its compact form."""
_RECEIPT = ".receipt.jws"


class Outcome(enum.Enum):
    """What became of a complete upload."""

    STORED = "stored"
    KNOWN = "known"
    """The same upload was stored before, and is sound."""
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
        return self.folder / f"{self.stem}{_RECEIPT}"

    @property
    def files(self) -> tuple[Path, Path, Path]:
        """All three, the receipt last."""
        return self.age, self.manifest, self.receipt

    @property
    def vacant(self) -> bool:
        # Without a receipt, it may be an upload's that a failing disk kept from its own.
        return not any(path.exists() for path in self.files)


@dataclass(frozen=True)
class Copy:
    """A stored ciphertext of a clip, with its receipt."""

    place: _Place
    manifest: Manifest
    manifest_token: str
    manifest_sha256: str
    receipt: str | None
    """None where no station takes the one that there is: it is damaged, or a clock was wrong."""


class Store:
    """The disk of one receiver; its methods block and may be called from any thread."""

    def __init__(
        self, path: Path, files: Files | None = None, randomness: Randomness | None = None
    ) -> None:
        self.files = files or Files()
        self.path = path
        self._randomness = randomness or Randomness()
        self.incoming = Incoming(path / "incoming", self.files, self._randomness)
        self._damaged = path / "damaged"
        self._commit = threading.Lock()
        self._stopping = threading.Event()

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Hold the store against other receivers.

        Raises:
            StoreBusyError: another one has it.
        """
        self.files.make_folder(self.incoming.folder)
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(exclusive(self.path / "lock"))
            except BlockingIOError as error:
                raise StoreBusyError(
                    str(self.path), hint="stop the other receiver, or give this one its own store"
                ) from error
            yield

    def stop(self) -> None:
        """Cut verifications short."""
        self._stopping.set()

    def free_bytes(self) -> int:
        """Return the free space of the store's disk in bytes."""
        return self.files.free_bytes(self.path)

    def find(self, manifest: Manifest, token: str) -> Copy | None:
        """Return the copy that a manifest brought, if it is stored; nothing is read back.

        Raises:
            OSError: the disk can't say.
        """
        for place in self._places(manifest, token):
            receipt = _read(place.receipt)
            if receipt is not None and _read(place.manifest) == token and place.age.exists():
                sha256 = statement_sha256(token)
                holds = _holds(receipt, manifest, sha256)
                return Copy(place, manifest, token, sha256, receipt if holds else None)
        return None

    def renew(self, copy: Copy, sign: Sign) -> None:
        """Give a copy that was read back a new receipt; the old one stays beside it.

        Raises:
            ClocksDifferError: the clock is wrong.
            OSError: the disk failed; the old receipt is in its place.
        """
        receipt = copy.place.receipt
        with self._commit:
            token = sign(copy.manifest, copy.manifest_token)
            old = receipt.read_bytes()
            name = f"{copy.place.stem}.receipt.{hashlib.sha256(old).hexdigest()[:16]}.jws"
            self.files.publish_bytes(old, receipt.with_name(name), staging=self.incoming.folder)
            self._publish(token, receipt)

    def receipts(self, clip_id: str) -> Iterator[tuple[Signer, str]]:
        """Yield the receipts of a clip, newest first, each with the station that has it.

        Raises:
            OSError: the disk can't say.
        """
        folder = self._folder(clip_id)
        found = sorted(
            ((path.stat().st_mtime_ns, path) for path in folder.glob(f"{clip_id}*{_RECEIPT}")),
            reverse=True,
        )
        for _, path in found:
            token = _read(path)
            with contextlib.suppress(StatementError):
                yield read_unverified_receipt(token or "").station, token or ""

    def read_back(self, copy: Copy) -> bool:
        """Read a copy from the disk and compare it with its manifest; false if told to stop.

        Raises:
            UploadDamagedError: it is something else, or gone.
            OSError: it could not be read now.
        """
        return read_back(copy.place.age, copy.manifest.ciphertext, self._stopping)

    def finish(self, record: Record, manifest: Manifest, sign: Sign) -> Outcome:
        """Verify a complete upload and make it a stored copy.

        Raises:
            UploadDamagedError: it isn't what the manifest says.
            UploadUnreadableError: the disk can't give the bytes back.
            ClocksDifferError: a clock is wrong; the upload stays.
            OSError: the disk failed otherwise; the upload stays, and can be finished later.
        """
        token = record.manifest_token
        if self.take_back(record, manifest):
            # Whatever has kept its last step from ending may have hurt it since.
            copy = self.find(manifest, token)
            if copy is None:
                raise UploadDamagedError("its bytes are gone")
            return Outcome.STORED if self.read_back(copy) else Outcome.STOPPED
        if not self._verify(record, manifest):
            return Outcome.STOPPED
        damage = ""
        if (copy := self.find(manifest, token)) is not None:
            try:
                if not self.read_back(copy):
                    return Outcome.STOPPED
            except UploadDamagedError as error:
                damage = error.detail
            else:
                self.incoming.discard(record.id)
                return Outcome.KNOWN
        with self._commit:
            receipt = sign(manifest, token)  # first: it fails where a clock is wrong
            if copy is not None:
                self._set_aside(copy.place, damage)
            place = self._vacant_place(manifest, token)
            self._publish(token, place.manifest)
            self.files.publish(self.incoming.part(record.id), place.age)
            self._publish(receipt, place.receipt)
            self.incoming.forget(record.id)
            return Outcome.STORED

    def give_up(self, record: Record, manifest: Manifest) -> Path:
        """Set an upload aside that the disk can't give back, and return where its bytes are.

        To remove them would give their bad blocks to the next upload.
        """
        aside = self._aside(manifest.clip_id)
        aside = aside.with_name(aside.name + ".part")
        self.files.publish(self.incoming.part(record.id), aside)
        self.incoming.forget(record.id)
        return aside

    def take_back(self, record: Record, manifest: Manifest) -> bool:
        """Undo what a crash cut short; return whether the upload was stored after all."""
        with self._commit:
            part = self.incoming.part(record.id)
            for place in self._places(manifest, record.manifest_token):
                if _read(place.manifest) != record.manifest_token:
                    continue
                if place.receipt.exists():
                    if part.exists():
                        continue
                    # The crash may have come before the receipt's name was durable.
                    self.files.fsync_folder(place.folder)
                    self.incoming.forget(record.id)
                    return True
                if place.age.exists():
                    if part.exists():
                        continue  # not this upload's: a copy that is on its way home
                    self.files.publish(place.age, part)
                self.files.remove(place.manifest)
            return False

    def aside(self) -> list[str]:
        """Return the names of the copies that were set aside.

        Raises:
            OSError: the disk failed.
        """
        found = self._damaged.glob(f"*{_RECEIPT}")
        return sorted(receipt.name.removesuffix(_RECEIPT) for receipt in found)

    def restore(self, stem: str) -> None:
        """Look at a copy that was set aside, and put it back if it is sound after all.

        Raises:
            OSError: the disk failed.
        """
        aside = _Place(self._damaged, stem)
        home = _Place(self._folder(stem), stem.rpartition(".")[0])
        # A crash may have left some of them at home already.
        moves = list(zip(aside.files, home.files, strict=True))
        if any(source.exists() == target.exists() for source, target in moves):
            return
        if not self._sound(*(here if here.exists() else there for here, there in moves)):
            return
        with self._commit:
            if any(source.exists() == target.exists() for source, target in moves):
                return  # another upload has taken its place meanwhile
            for source, target in moves:
                if source.exists():
                    self.files.publish(source, target)
        events.receiver_copy_restored(clip_id=home.stem[:64], file=str(home.age))

    def _sound(self, age: Path, manifest: Path, receipt: Path) -> bool:
        manifest_token, receipt_token = _read(manifest) or "", _read(receipt) or ""
        try:
            expected = read_unverified_manifest(manifest_token).ciphertext
            named = read_unverified_receipt(receipt_token).manifest_sha256
            if named != statement_sha256(manifest_token):
                return False
            return read_back(age, expected, self._stopping)
        except (StatementError, UploadDamagedError):  # what can't be read may be another day
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
        if not read_back(part, manifest.ciphertext, self._stopping):
            return False
        check_header(part, manifest)
        return True

    def _vacant_place(self, manifest: Manifest, token: str) -> _Place:
        first, own, _ = self._places(manifest, token)
        self.files.make_folder(first.folder)
        if first.vacant:
            return first
        if not own.vacant:
            self._set_aside(own, "it is not whole")
        return own

    def _set_aside(self, place: _Place, damage: str) -> None:
        """Make room for a sound copy."""
        aside = self._aside(place.stem)
        # After a crash in between, the receipt makes the next upload set the rest aside.
        for path in place.files:
            with contextlib.suppress(FileNotFoundError):
                suffix = path.name.removeprefix(place.stem)
                self.files.publish(path, aside.with_name(aside.name + suffix))
        events.receiver_copy_damaged(
            clip_id=place.stem[:64],
            file=str(place.age),
            detail=f"{damage}; set aside as {aside}.*",
            hint="look at the disk (dmesg)",
        )

    def _aside(self, stem: str) -> Path:
        """Return a path in ``damaged/`` that nothing has yet, to put a suffix to."""
        self.files.make_folder(self._damaged)
        return self._damaged / f"{stem}.{self._randomness.hex(8)}"

    def _publish(self, token: str, final: Path) -> None:
        self.files.publish_bytes(token.encode(), final, staging=self.incoming.folder)

    def _folder(self, clip_id: str) -> Path:
        return self.path / "clips" / clip_id[:2] / clip_id[2:4]

    def _places(self, manifest: Manifest, token: str) -> tuple[_Place, _Place, _Place]:
        """Return where the copy that a manifest brought can be.

        It is the clip's first, or is named after the manifest; copies for other recipients
        that version 0.1 stored are named after their ciphertext.
        """
        clip_id, folder = manifest.clip_id, self._folder(manifest.clip_id)
        own = f"{clip_id}.{statement_sha256(token)[:16]}"
        old = f"{clip_id}.{manifest.ciphertext.sha256[:16]}"
        return _Place(folder, clip_id), _Place(folder, own), _Place(folder, old)


def _holds(token: str, manifest: Manifest, manifest_sha256: str) -> bool:
    """Say whether a station may take a receipt of one's own, signed by whatever key one had."""
    try:
        receipt = read_unverified_receipt(token)
    except StatementError:
        return False
    stored_at = datetime.fromisoformat(receipt.stored_at)
    return receipt.manifest_sha256 == manifest_sha256 and not is_sealed_later(manifest, stored_at)


def _read(path: Path) -> str | None:
    """Return a statement; None where there is none."""
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return None
