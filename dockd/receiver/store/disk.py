"""A store on disk: copies of clips with their manifests and receipts, side by side.

::

    clips/ab/cd/<clip_id>.age               ciphertext
    clips/ab/cd/<clip_id>.manifest.jws      the manifest that brought it
    clips/ab/cd/<clip_id>.receipt.jws       the receipt: with it, the copy is stored
    clips/ab/cd/<clip_id>.<16 hex of the manifest's SHA-256>.*   the same of every further copy
    incoming/                               what isn't stored yet
    damaged/                                copies that the disk has not kept, set aside
    log/                                    the statement log: tiles, and a checkpoint

Every manifest has the ciphertext that came with it: the receiver can't open a ciphertext, so it
can't accept one station's for another's. The receipt is written last. Whatever a crash leaves
without one is moved back into ``incoming/`` and verified again, so nothing half-done is ever found
in ``clips/``. Nothing is overwritten there, and reading moves nothing: a damaged copy makes way for
an intact one of the same upload, into ``damaged/``, and comes back if it is found intact again.
"""

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from dockd.base.errors import StatementError, StoreBusyError, UploadDamagedError
from dockd.base.randomness import Randomness
from dockd.evidence.sealed import check_header
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
from dockd.receiver.store.incoming import IncomingFolder
from dockd.receiver.store.inventory import StoredManifests
from dockd.receiver.store.log_folder import LogFolder
from dockd.receiver.store.places import RECEIPT, Place, folder_of, places_of, read_statement
from dockd.receiver.store.protocol import Copy, Outcome, Record, Sign
from dockd.receiver.store.reading import read_back


class DiskStore:
    """The disk of one receiver; see the protocol for what its methods promise."""

    def __init__(
        self, path: Path, files: Files | None = None, randomness: Randomness | None = None
    ) -> None:
        self.files = files or Files()
        self.path = path
        self._randomness = randomness or Randomness()
        self.incoming = IncomingFolder(path / "incoming", self.files, self._randomness)
        self.log = LogFolder(path / "log", self.files)
        self._clips = path / "clips"
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
        """Interrupt verifications."""
        self._stopping.set()

    def free_bytes(self) -> int:
        """Return the free space of the store's disk in bytes."""
        return self.files.free_bytes(self.path)

    def find(self, manifest: Manifest, token: str) -> Copy | None:
        """Return the copy that a manifest brought, if it is stored; nothing is read back."""
        for place in places_of(self._clips, manifest, token):
            receipt = read_statement(place.receipt)
            if receipt is None or read_statement(place.manifest) != token:
                continue
            if place.age.exists():
                sha256 = statement_sha256(token)
                return Copy(
                    place.stem,
                    manifest,
                    token,
                    sha256,
                    receipt if _holds(receipt, manifest, sha256) else None,
                    file=str(place.age),
                    receipt_file=str(place.receipt),
                )
        return None

    def renew(self, copy: Copy, sign: Sign) -> None:
        """Give a copy that was read back a new receipt; the old one stays beside it.

        Raises:
            ClocksDifferError: the clock is wrong.
            OSError: the disk failed; the old receipt is in its place.
        """
        receipt = self._place(copy).receipt
        with self._commit:
            token = sign(copy.manifest, copy.manifest_token)
            old = receipt.read_bytes()
            name = f"{copy.name}.receipt.{hashlib.sha256(old).hexdigest()[:16]}.jws"
            self.files.publish_bytes(old, receipt.with_name(name), staging=self.incoming.folder)
            self._publish(token, receipt)

    def receipts(self, clip_id: str) -> Iterator[tuple[Signer, str]]:
        """Yield the receipts of a clip, newest first, each with the station that has it."""
        folder = folder_of(self._clips, clip_id)
        found = sorted(
            ((path.stat().st_mtime_ns, path) for path in folder.glob(f"{clip_id}*{RECEIPT}")),
            reverse=True,
        )
        for _, path in found:
            token = read_statement(path)
            with contextlib.suppress(StatementError):
                yield read_unverified_receipt(token or "").station, token or ""

    def manifests(self, alive: Callable[[], None]) -> StoredManifests:
        """Return a walk through all manifests; ``alive`` is called as it proceeds."""
        return StoredManifests(self._clips, alive)

    def read_back(self, copy: Copy) -> bool:
        """Read a copy from the disk and compare it with its manifest; false if stopped.

        Raises:
            UploadDamagedError: it differs, or is missing.
            OSError: it could not be read now.
        """
        return read_back(self._place(copy).age, copy.manifest.ciphertext, self._stopping)

    def finish(self, record: Record, manifest: Manifest, sign: Sign) -> Outcome:
        """Verify a complete upload and make it a stored copy.

        Raises:
            UploadDamagedError: it differs from what the manifest says.
            UploadUnreadableError: the disk can't return the bytes.
            ClocksDifferError: a clock is wrong; the upload stays.
            OSError: the disk failed otherwise; the upload stays, and can be finished later.
        """
        token = record.manifest_token
        if self.take_back(record, manifest):
            # Whatever interrupted its last step may have damaged it since.
            copy = self.find(manifest, token)
            if copy is None:
                raise UploadDamagedError("its bytes are missing")
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
                self._set_aside(self._place(copy), damage)
            place = self._vacant_place(manifest, token)
            self._publish(token, place.manifest)
            self.files.publish(self.incoming.part(record.id), place.age)
            self._publish(receipt, place.receipt)
            self.incoming.forget(record.id)
            return Outcome.STORED

    def give_up(self, record: Record, manifest: Manifest) -> str:
        """Set an unreadable upload aside, and return where its bytes are.

        Removing them would give their bad blocks to the next upload.
        """
        aside = self._aside(manifest.clip_id)
        aside = aside.with_name(aside.name + ".part")
        self.files.publish(self.incoming.part(record.id), aside)
        self.incoming.forget(record.id)
        return str(aside)

    def take_back(self, record: Record, manifest: Manifest) -> bool:
        """Undo what a crash interrupted; return whether the upload was stored after all."""
        with self._commit:
            part = self.incoming.part(record.id)
            for place in places_of(self._clips, manifest, record.manifest_token):
                if read_statement(place.manifest) != record.manifest_token:
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
                        continue  # not this upload's: a copy that is being restored
                    self.files.publish(place.age, part)
                self.files.remove(place.manifest)
            return False

    def aside(self) -> list[str]:
        """Return the names of the copies that were set aside."""
        found = self._damaged.glob(f"*{RECEIPT}")
        return sorted(receipt.name.removesuffix(RECEIPT) for receipt in found)

    def restore(self, name: str) -> None:
        """Check a copy that was set aside, and put it back if it is intact after all."""
        aside = Place(self._damaged, name)
        home = Place(folder_of(self._clips, name), name.rpartition(".")[0])
        # A crash may have moved some of them home already.
        moves = list(zip(aside.files, home.files, strict=True))
        if any(source.exists() == target.exists() for source, target in moves):
            return
        if not self._intact(*(here if here.exists() else there for here, there in moves)):
            return
        with self._commit:
            if any(source.exists() == target.exists() for source, target in moves):
                return  # another upload has taken its place in the meantime
            for source, target in moves:
                if source.exists():
                    self.files.publish(source, target)
        events.receiver_copy_restored(clip_id=home.clip_id, file=str(home.age))

    def _intact(self, age: Path, manifest: Path, receipt: Path) -> bool:
        manifest_token = read_statement(manifest) or ""
        receipt_token = read_statement(receipt) or ""
        try:
            expected = read_unverified_manifest(manifest_token).ciphertext
            named = read_unverified_receipt(receipt_token).manifest_sha256
            if named != statement_sha256(manifest_token):
                return False
            return read_back(age, expected, self._stopping)
        except (StatementError, UploadDamagedError):  # what can't be read now may be readable later
            return False

    def _verify(self, record: Record, manifest: Manifest) -> bool:
        part = self.incoming.part(record.id)
        try:
            opened = self.incoming.open(record.id)
        except FileNotFoundError as error:
            raise UploadDamagedError("its bytes are missing") from error
        with contextlib.closing(opened):
            opened.sync()
        if not read_back(part, manifest.ciphertext, self._stopping):
            return False
        with part.open("rb") as file:
            check_header(file, manifest)
        return True

    def _vacant_place(self, manifest: Manifest, token: str) -> Place:
        first, own, _ = places_of(self._clips, manifest, token)
        self.files.make_folder(first.folder)
        if first.vacant:
            return first
        if not own.vacant:
            self._set_aside(own, "it is incomplete")
        return own

    def _set_aside(self, place: Place, damage: str) -> None:
        """Make room for an intact copy."""
        aside = self._aside(place.stem)
        # After a crash in between, the receipt makes the next upload set the rest aside.
        for path in place.files:
            with contextlib.suppress(FileNotFoundError):
                suffix = path.name.removeprefix(place.stem)
                self.files.publish(path, aside.with_name(aside.name + suffix))
        events.receiver_copy_damaged(
            clip_id=place.clip_id,
            file=str(place.age),
            detail=f"{damage}; set aside as {aside}.*",
            hint="check the disk (dmesg)",
        )

    def _aside(self, stem: str) -> Path:
        """Return an unused path in ``damaged/``, to be given a suffix."""
        self.files.make_folder(self._damaged)
        return self._damaged / f"{stem}.{self._randomness.hex(8)}"

    def _publish(self, token: str, final: Path) -> None:
        self.files.publish_bytes(token.encode(), final, staging=self.incoming.folder)

    def _place(self, copy: Copy) -> Place:
        return Place(folder_of(self._clips, copy.name), copy.name)


def _holds(token: str, manifest: Manifest, manifest_sha256: str) -> bool:
    """Say whether a station may accept a stored receipt, whichever key of ours signed it."""
    try:
        receipt = read_unverified_receipt(token)
    except StatementError:
        return False
    stored_at = datetime.fromisoformat(receipt.stored_at)
    return receipt.manifest_sha256 == manifest_sha256 and not is_sealed_later(manifest, stored_at)
