"""The ledger's changes by ingests, and by the spool's contents."""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from dockd.base.clock import Clock, timestamp
from dockd.evidence.statements import Content, Manifest, read_unverified_manifest, statement_sha256
from dockd.station.ledger.clips import Clips
from dockd.station.ledger.database import Database
from dockd.station.ledger.dockings import add_camera
from dockd.station.ledger.journal import Journal
from dockd.station.ledger.queries import Queries, listed
from dockd.station.lifecycle import ON_ITS_WAY, Happening, State
from dockd.station.model import Camera, Clip, FileStat, raw_path, within_64_bits


@dataclass(frozen=True)
class SealedFacts:
    """The result of one ingest of a clip."""

    clip_id: str
    stat: FileStat
    plaintext: Content
    ciphertext: Content


class Ingests:
    """Clips that are ingested from a camera into the spool."""

    def __init__(
        self, db: Database, journal: Journal, queries: Queries, clips: Clips, clock: Clock
    ) -> None:
        self._db = db
        self._journal = journal
        self._queries = queries
        self._clips = clips
        self._clock = clock

    def begin(self, clip: Clip, docking: int) -> None:
        """Record that a clip is being read: found → ingesting."""
        with self._db.transaction():
            self._clips.change(clip, Happening.READ_BEGUN, {}, docking=docking)

    def interrupt(self, clip: Clip, error: str, problem: str) -> None:
        """Record that reading was interrupted: ingesting → found; no change in other states."""
        with self._db.transaction():
            known = self._queries.known_clip(clip.id)
            if known is not None and known.state is State.INGESTING:
                self._clips.change(
                    clip,
                    Happening.READ_INTERRUPTED,
                    {"error": error},
                    error=error,
                    problem=problem,
                )

    def unreadable(self, clip: Clip, error: str, detail: str) -> None:
        """Record that a clip can't be read: ingesting → unreadable."""
        with self._db.transaction():
            self._clips.change(
                clip,
                Happening.READ_FAILED,
                {"error": error, "detail": detail},
                error=error,
                problem=detail,
            )

    def spooled(self, clip: Clip, facts: SealedFacts, manifest: str) -> None:
        """Record that a clip's ciphertext and manifest are durable: ingesting → spooled.

        Args:
            clip: the clip.
            facts: the result of the ingest.
            manifest: its compact manifest.
        """
        with self._db.transaction():
            self._journal.remember_anchor(read_unverified_manifest(manifest))
            self._clips.change(
                clip,
                Happening.SPOOLED,
                {
                    "clip_id": facts.clip_id,
                    "plaintext_sha256": facts.plaintext.sha256,
                    "ciphertext_sha256": facts.ciphertext.sha256,
                    "manifest_sha256": statement_sha256(manifest),
                },
                size=facts.plaintext.size,
                clip_id=facts.clip_id,
                stat=json.dumps(asdict(facts.stat)),
                plaintext_sha256=facts.plaintext.sha256,
                ciphertext_sha256=facts.ciphertext.sha256,
                ciphertext_size=facts.ciphertext.size,
                manifest=manifest,
                receipt=None,
                answer=None,
                upload_url=None,
            )

    def renewed(self, clip: Clip, token: str) -> None:
        """Replace the manifest of a clip that is not acknowledged with one signed again.

        The receiver may have the old one, so the journal keeps that.
        """
        manifest = read_unverified_manifest(token)
        detail = _sealed_detail(manifest, token)
        detail |= {"renewed": True, "former_manifest": clip.manifest}
        with self._db.transaction():
            self._journal.remember_anchor(manifest)
            self._clips.change(clip, Happening.RENEWED, detail, manifest=token, upload_url=None)

    def take_in(self, manifest: Manifest, token: str) -> Clip:
        """Enter a clip that is in the spool but unknown to this ledger.

        It may be one whose ingest was interrupted by a crash. Otherwise it counts as being on no
        camera, so that it can only be delivered.

        Args:
            manifest: the clip's manifest.
            token: the same as a signed token.
        """
        camera = Camera(manifest.camera.profile, manifest.camera.serial)
        detail = _sealed_detail(manifest, token) | {"recovered": True}
        sealed = {
            "clip_id": manifest.clip_id,
            "plaintext_sha256": manifest.plaintext.sha256,
            "ciphertext_sha256": manifest.ciphertext.sha256,
            "ciphertext_size": manifest.ciphertext.size,
            "manifest": token,
        }
        with self._db.transaction():
            begun = self._queries.select(
                "camera = ? AND size = ? AND present AND state = 'ingesting'",
                *(camera.id, manifest.plaintext.size),
            )
            found = [clip for clip in begun if _is_path(clip.path, manifest)]
            self._journal.remember_anchor(manifest)
            if not found:
                return self._queries.clip(self._insert_sealed(camera, manifest, detail, sealed))
            self._clips.change(
                found[0], Happening.TAKEN_IN, detail, **sealed, stat=None, upload_url=None
            )
            return self._queries.clip(found[0].id)

    def _insert_sealed(
        self,
        camera: Camera,
        manifest: Manifest,
        detail: Mapping[str, Any],
        sealed: Mapping[str, Any],
    ) -> int:
        now = timestamp(self._clock.now())
        add_camera(self._db, camera, now)
        docking = self._db.execute(
            "INSERT INTO dockings (camera, place, began, ended) VALUES (?, 'spool', ?, ?)",
            (camera.id, now, now),
        ).lastrowid
        file = manifest.file
        modified = datetime.fromisoformat(file.modified_at).timestamp()
        return self._clips.create(
            camera,
            Happening.TAKEN_IN,
            detail,
            docking=docking,
            path=raw_path(file.path),
            size=manifest.plaintext.size,
            modified_ns=within_64_bits(round(modified * 1000) * 10**6),
            kind=file.kind,
            event=file.event,
            recorded_at=modified,
            metadata=json.dumps(file.metadata),
            **sealed,
        )

    def rejoin(self, clip: Clip, facts: SealedFacts, recipients: Collection[str]) -> Clip | None:
        """Merge a clip that was read again into the same clip that is already in the spool.

        Args:
            clip: the clip that was read.
            facts: the result of the ingest.
            recipients: the fingerprints of the recipients that the ciphertext must be for.

        Returns:
            The clip in the spool, which is on its camera again; None if there is none.
        """
        with self._db.transaction():
            for twin in self._queries.select(
                f"camera = ? AND clip_id = ? AND NOT present AND state IN {listed(ON_ITS_WAY)}",
                *(clip.camera.id, facts.clip_id),
            ):
                manifest = read_unverified_manifest(str(twin.manifest))
                is_same = set(manifest.recipients) == set(recipients)
                if not is_same or not _is_path(clip.path, manifest):
                    continue
                self._clips.change(clip, Happening.REJOINED, {"into": twin.id})
                self._clips.change(
                    twin,
                    Happening.RETURNED,
                    {"docking": clip.docking},
                    path=clip.path,
                    docking=clip.docking,
                    modified_ns=clip.modified_ns,
                    stat=json.dumps(asdict(facts.stat)),
                )
                return twin
        return None

    def spool_lost(self, clip: Clip, error: str, detail: str) -> None:
        """Record that a clip's ciphertext is missing or damaged: back to found, to be read again.

        Raises:
            TransitionError: the clip's state needs no ciphertext.
        """
        with self._db.transaction():
            self._clips.change(
                clip,
                Happening.CIPHERTEXT_LOST,
                {
                    "error": error,
                    "ciphertext_sha256": clip.ciphertext_sha256,
                    "former_manifest": clip.manifest,
                },
                error=error,
                problem=detail,
                upload_url=None,
            )

    def recover(self, camera: Camera | None = None) -> int:
        """Reset ingests that a crash, or a failure of the ledger, has interrupted.

        Args:
            camera: the camera none of whose clips are being read; None: no camera's are.

        Returns:
            The number of ingests.
        """
        with self._db.transaction():
            clips = self._queries.select(
                "state = 'ingesting' AND (? IS NULL OR camera = ?)", *[camera and camera.id] * 2
            )
            for clip in clips:
                self._clips.change(clip, Happening.READ_INTERRUPTED, {"error": "restart"})
            return len(clips)


def _sealed_detail(manifest: Manifest, token: str) -> dict[str, Any]:
    """Return the journal entry's detail of a clip that is in the spool."""
    return {
        "clip_id": manifest.clip_id,
        "plaintext_sha256": manifest.plaintext.sha256,
        "ciphertext_sha256": manifest.ciphertext.sha256,
        "manifest_sha256": statement_sha256(token),
    }


def _is_path(path: bytes, manifest: Manifest) -> bool:
    """Return whether a manifest is of a file with this path; a very long one is cut there."""
    if manifest.file.path_sha256 is not None:
        return hashlib.sha256(path).hexdigest() == manifest.file.path_sha256
    return path == raw_path(manifest.file.path)
