"""The station's memory: cameras, clips, receipts and the journal, in one SQLite database.

Every change of a clip's state is one transaction that also appends to the journal; all of
them go through ``_change`` or ``_create``. Methods block and may be called from any thread.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from itertools import islice
from typing import Any, Literal

from dockd.base.clock import timestamp
from dockd.base.errors import NotFoundError
from dockd.evidence.statements import Content, Manifest, read_unverified_manifest, statement_sha256
from dockd.station.cameras.tree import is_below
from dockd.station.ledger.questions import Questions, listed
from dockd.station.lifecycle import ON_ITS_WAY, UNWIPED, Happening, State, follow
from dockd.station.model import (
    Camera,
    Clip,
    FileStat,
    FoundFile,
    Pausable,
    Pause,
    raw_path,
    whole_path,
    within_64_bits,
)

_AT_ONCE = 1000
"""Files of a look that are entered in one transaction."""
_TURN = 0.001
"""Seconds between two of those, in which whoever waits for the ledger gets it."""


@dataclass(frozen=True)
class SealedFacts:
    """What one ingest made of a clip."""

    clip_id: str
    stat: FileStat
    plaintext: Content
    ciphertext: Content


@dataclass(frozen=True)
class Observed:
    """What a look at a camera changed."""

    found: int
    vanished: int
    touched: list[Clip] = field(default_factory=list)
    """Clips that were read, and whose files have other times by now: perhaps other contents."""


class Ledger(Questions):
    """The memory of one station."""

    def _change(
        self, clip: Clip, happening: Happening, detail: Mapping[str, Any], **columns: Any
    ) -> None:
        """Let something happen to a clip, inside an open transaction.

        Raises:
            TransitionError: it can't happen to it, and nothing changes.
            NotFoundError: there is no such clip.
        """
        state, present = self._standing(clip)
        transition = follow(state, happening, present=present)
        if transition.to is None:
            self._db.execute("DELETE FROM clips WHERE id = ?", (clip.id,))
        else:
            if transition.to.shown != state.shown:
                now = timestamp(self._clock.now())
                columns = {"error": None, "problem": None, "since": now} | columns
            columns["state"] = str(transition.to)
            if transition.present is not None:
                columns["present"] = transition.present
            assignments = ", ".join(f"{name} = ?" for name in columns)
            self._db.execute(
                f"UPDATE clips SET {assignments} WHERE id = ?",  # noqa: S608  # names are literals
                (*columns.values(), clip.id),
            )
        self._append(transition.kind, clip.camera.id, clip.id, **detail)

    def _create(
        self, camera: Camera, happening: Happening, detail: Mapping[str, Any], **columns: Any
    ) -> int:
        """Enter a clip that the ledger doesn't know, inside an open transaction.

        Returns:
            Its number.
        """
        transition = follow(None, happening, present=None)
        now = timestamp(self._clock.now())
        columns |= {
            "camera": camera.id,
            "state": str(transition.to),
            "present": transition.present,
            "found": now,
            "since": now,
        }
        number = int(
            self._db.execute(
                f"INSERT INTO clips ({', '.join(columns)})"  # noqa: S608  # names are literals
                f" VALUES ({', '.join('?' * len(columns))})",
                tuple(columns.values()),
            ).lastrowid
            or 0
        )
        self._append(transition.kind, camera.id, number, **detail)
        return number

    def _standing(self, clip: Clip) -> tuple[State, bool]:
        row = self._db.execute(
            "SELECT state, present FROM clips WHERE id = ?", (clip.id,)
        ).fetchone()
        if row is None:
            raise NotFoundError(f"there is no clip {clip.id}")
        return State(row["state"]), bool(row["present"])

    def _state(self, clip: Clip) -> State:
        return self._standing(clip)[0]

    # Cameras and dockings

    def begin_docking(self, camera: Camera, place: str) -> int:
        """Note that a camera was docked; returns the docking's number."""
        with self._transaction():
            now = timestamp(self._clock.now())
            self._add_camera(camera, now)
            cursor = self._db.execute(
                "INSERT INTO dockings (camera, place, began) VALUES (?, ?, ?)",
                (camera.id, place, now),
            )
            docking = int(cursor.lastrowid or 0)
            self._append("camera.docked", camera.id, None, docking=docking, place=place)
            # By name, size and time alone, nobody can tell that it is the same recording.
            for clip in self._clips("camera = ? AND present AND state = 'unreadable'", camera.id):
                detail = {"docking": docking, "before": clip.state.shown}
                self._change(clip, Happening.READ_AGAIN, detail)
            return docking

    def _add_camera(self, camera: Camera, now: str) -> None:
        self._db.execute(
            "INSERT INTO cameras (id, profile, serial, first_seen) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (id) DO NOTHING",
            (camera.id, camera.profile, camera.serial, now),
        )

    def end_docking(self, camera: Camera, docking: int) -> None:
        """Note that a camera is docked no longer."""
        with self._transaction():
            now = timestamp(self._clock.now())
            self._db.execute("UPDATE dockings SET ended = ? WHERE id = ?", (now, docking))
            self._append("camera.undocked", camera.id, None, docking=docking)

    def observe(
        self,
        camera: Camera,
        docking: int,
        files: Iterable[FoundFile],
        unseen: Collection[bytes] = (),
    ) -> Observed:
        """Bring the ledger up to what a look at a camera saw.

        A file at a known path with another size is another clip. Others have their turns at
        the ledger meanwhile; a look that is cut short is made up for by the next one.

        Args:
            camera: the camera.
            docking: the docking that goes on.
            files: the clips that are on it.
            unseen: files and folders that could not be looked at: what was there is not gone.
        """
        found, touched = 0, []
        hidden = frozenset(unseen)
        missing = self._live(camera)
        remaining = iter(files)
        while batch := list(islice(remaining, _AT_ONCE)):
            with self._transaction():
                for file in batch:
                    known = missing.pop(file.path, None)
                    if known is None or known.size != file.size:
                        if known is not None:
                            self._leave(known, Happening.REPLACED)
                        self._insert(camera, docking, file)
                        found += 1
                        continue
                    if known.state is State.WIPING and not is_below(known.path, hidden):
                        self._change(known, Happening.WIPE_UNDONE, {}, wiping=0)
                    if known.modified_ns != file.modified_ns:
                        if known.state is State.FOUND:
                            self._touch(known, file.modified_ns)
                        else:
                            touched.append(replace(known, modified_ns=file.modified_ns))
            self._clock.block(_TURN)
        gone = [clip for clip in missing.values() if not is_below(clip.path, hidden)]
        with self._transaction():
            for known in gone:
                self._gone(known)
        return Observed(found, len(gone), touched)

    def recognised(self, clip: Clip, docking: int, stat: FileStat) -> None:
        """Note that a clip's file was read again, and still has the content that it had.

        Args:
            clip: the clip.
            docking: the docking that goes on.
            stat: the file as it was when it was read again.
        """
        with self._transaction():
            self._db.execute(
                "UPDATE clips SET modified_ns = ?, docking = ?, stat = ? WHERE id = ?",
                (stat.modified_ns, docking, json.dumps(asdict(stat)), clip.id),
            )

    def _touch(self, clip: Clip, modified_ns: int) -> None:
        self._db.execute("UPDATE clips SET modified_ns = ? WHERE id = ?", (modified_ns, clip.id))

    def _gone(self, clip: Clip) -> None:
        """Note that a look did not see a clip's file any more."""
        if self._state(clip) is State.WIPING:
            # Its wipe was cut short between the removal and the record of it.
            self._change(clip, Happening.WIPED, {"recovered": True})
        else:
            self._leave(clip, Happening.VANISHED)

    def _leave(self, clip: Clip, happening: Happening) -> None:
        """Note that a clip's file is no longer on its camera, by another hand than dockd's."""
        detail = {"path": clip.name, "state": self._state(clip).shown}
        self._change(clip, happening, detail, wiping=0)

    def _insert(self, camera: Camera, docking: int, file: FoundFile) -> None:
        match, modified_ns = file.match, file.modified_ns
        self._create(
            camera,
            Happening.SEEN,
            {"path": whole_path(file.path), "size": file.size},
            docking=docking,
            path=file.path,
            size=file.size,
            modified_ns=modified_ns,
            kind=match.kind,
            event=match.event,
            recorded_at=match.recorded_at if match.recorded_at is not None else modified_ns / 1e9,
            metadata=json.dumps(match.metadata),
        )

    # A clip's life

    def begin_ingest(self, clip: Clip, docking: int) -> None:
        """Note that a clip is being read: found → ingesting."""
        with self._transaction():
            self._change(clip, Happening.READ_BEGUN, {}, docking=docking)

    def interrupt_ingest(self, clip: Clip, error: str, problem: str) -> None:
        """Note that reading broke off: ingesting → found; no change where it is over already."""
        with self._transaction():
            if self._is_ingesting(clip):
                self._change(
                    clip,
                    Happening.READ_INTERRUPTED,
                    {"error": error},
                    error=error,
                    problem=problem,
                )

    def unreadable(self, clip: Clip, error: str, detail: str) -> None:
        """Note that a clip can't be read: ingesting → unreadable."""
        with self._transaction():
            self._change(
                clip,
                Happening.READ_FAILED,
                {"error": error, "detail": detail},
                error=error,
                problem=detail,
            )

    def spooled(self, clip: Clip, facts: SealedFacts, manifest: str) -> None:
        """Note that a clip's ciphertext is durable, with its manifest: ingesting → spooled.

        Args:
            clip: the clip.
            facts: what the ingest made of it.
            manifest: its compact manifest.
        """
        with self._transaction():
            self._remember_anchor(read_unverified_manifest(manifest))
            self._change(
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
        """Keep a manifest that was signed anew for a clip that is not acknowledged.

        The receiver may have the old one, so the journal keeps that.
        """
        manifest = read_unverified_manifest(token)
        detail = _sealed_detail(manifest, token)
        detail |= {"renewed": True, "former_manifest": clip.manifest}
        with self._transaction():
            self._remember_anchor(manifest)
            self._change(clip, Happening.RENEWED, detail, manifest=token, upload_url=None)

    def take_in(self, manifest: Manifest, token: str) -> Clip:
        """Enter a clip that the spool holds and that this ledger doesn't know.

        It may be the one whose ingest a crash has cut off; else it is on no camera, as far as
        is known, so that nothing but its delivery can come of it.

        Args:
            manifest: the clip's manifest.
            token: the same, as it was signed.
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
        with self._transaction():
            begun = self._clips(
                "camera = ? AND size = ? AND present AND state = 'ingesting'",
                *(camera.id, manifest.plaintext.size),
            )
            found = [clip for clip in begun if _is_path(clip.path, manifest)]
            self._remember_anchor(manifest)
            if not found:
                return self.clip(self._insert_sealed(camera, manifest, detail, sealed))
            self._change(found[0], Happening.TAKEN_IN, detail, **sealed, stat=None, upload_url=None)
            return self.clip(found[0].id)

    def _insert_sealed(
        self,
        camera: Camera,
        manifest: Manifest,
        detail: Mapping[str, Any],
        sealed: Mapping[str, Any],
    ) -> int:
        now = timestamp(self._clock.now())
        self._add_camera(camera, now)
        docking = self._db.execute(
            "INSERT INTO dockings (camera, place, began, ended) VALUES (?, 'spool', ?, ?)",
            (camera.id, now, now),
        ).lastrowid
        file = manifest.file
        modified = datetime.fromisoformat(file.modified_at).timestamp()
        return self._create(
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
        """Let a clip that was read again be the one that waits in the spool already.

        Args:
            clip: the clip that was read.
            facts: what the ingest made of it.
            recipients: who must be able to open what is in the spool.

        Returns:
            The clip in the spool, which is on its camera again; None if there is none.
        """
        with self._transaction():
            for twin in self._clips(
                f"camera = ? AND clip_id = ? AND NOT present AND state IN {listed(ON_ITS_WAY)}",
                *(clip.camera.id, facts.clip_id),
            ):
                manifest = read_unverified_manifest(str(twin.manifest))
                is_same = set(manifest.recipients) == set(recipients)
                if not is_same or not _is_path(clip.path, manifest):
                    continue
                self._change(clip, Happening.REJOINED, {"into": twin.id})
                self._change(
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
        """Note that a clip's ciphertext is gone or damaged: back to found, to be read again.

        Raises:
            TransitionError: nobody needs its ciphertext here.
        """
        with self._transaction():
            self._change(
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

    def begin_upload(self, clip: Clip) -> None:
        """Note that a clip is on its way: spooled → uploading; no change where it is already."""
        with self._transaction():
            if self._state(clip) is State.SPOOLED:
                self._change(clip, Happening.UPLOAD_BEGUN, {})

    def remember_upload(self, clip: Clip, url: str | None) -> None:
        """Keep where a clip's upload goes on after a break."""
        with self._transaction():
            self._db.execute("UPDATE clips SET upload_url = ? WHERE id = ?", (url, clip.id))

    def uploaded(self, clip: Clip) -> None:
        """Note that the target has all of a clip's bytes."""
        with self._transaction():
            self._change(clip, Happening.UPLOADED, {})

    def reject(self, clip: Clip, error: str, detail: str) -> None:
        """Note that the server never will store a clip: uploading → rejected."""
        with self._transaction():
            self._change(
                clip,
                Happening.REJECTED,
                {"detail": detail},
                error=error,
                problem=detail,
            )

    def note_problem(self, clip: Clip, error: str, problem: str) -> None:
        """Note what keeps a clip from going on; the same again changes nothing."""
        with self._transaction():
            known = self._db.execute(
                "SELECT error, problem FROM clips WHERE id = ?", (clip.id,)
            ).fetchone()
            if tuple(known) != (error, problem):
                self._db.execute(
                    "UPDATE clips SET error = ?, problem = ? WHERE id = ?",
                    (error, problem, clip.id),
                )
                self._append(error, clip.camera.id, clip.id, problem=problem)

    def acknowledge(self, clip: Clip, receipt: str, answer: str) -> None:
        """Keep a verified receipt and the answer that it came with: uploading → acknowledged.

        Verifying them is the caller's part.
        """
        with self._transaction():
            self._change(
                clip,
                Happening.ACKNOWLEDGED,
                {
                    "clip_id": clip.clip_id,
                    "receipt_sha256": statement_sha256(receipt),
                    "answer_sha256": statement_sha256(answer),
                },
                receipt=receipt,
                answer=answer,
                upload_url=None,
            )

    def confirmed(self, clip: Clip, receipt: str, answer: str) -> bool:
        """Keep the receiver's newest word on a clip that is acknowledged.

        Returns:
            False where the clip is another one by now than was asked for; nothing is kept then.
        """
        with self._transaction():
            known = self.clip(clip.id)
            if not _is_still(clip, known):
                return False
            self._db.execute(
                "UPDATE clips SET receipt = ?, answer = ? WHERE id = ?", (receipt, answer, clip.id)
            )
            # The same word as often as it is asked for would only make the journal longer.
            if known.receipt != receipt or self._last_event(clip) != "clip.confirmed":
                self._append(
                    "clip.confirmed",
                    clip.camera.id,
                    clip.id,
                    receipt_sha256=statement_sha256(receipt),
                    answer_sha256=statement_sha256(answer),
                    **({} if known.receipt == receipt else _former(known, "receipt", "answer")),
                )
            return True

    def _last_event(self, clip: Clip) -> str | None:
        row = self._db.execute(
            "SELECT event FROM journal WHERE clip = ? ORDER BY seq DESC LIMIT 1", (clip.id,)
        ).fetchone()
        return row["event"] if row else None

    def disown(self, clip: Clip) -> bool:
        """Note that the receiver has lost a clip that is on its camera: acknowledged → found.

        Returns:
            False where the clip is another one by now than was asked for; nothing changes then.
        """
        with self._transaction():
            known = self.clip(clip.id)
            if known.state is not State.ACKNOWLEDGED or known.manifest != clip.manifest:
                return False
            self._change(
                clip,
                Happening.DISOWNED,
                # That it is lost is nobody's signed word, and its receipt proves what was there.
                {"receipt_sha256": statement_sha256(known.receipt or "")} | _former(known),
                receipt=None,
                answer=None,
                upload_url=None,
            )
            return True

    def begin_wipe(self, clips: Collection[Clip], policy: str) -> list[Clip]:
        """Note, before anything is removed, which clips are about to be.

        Returns:
            The clips, each with a number for the names that its wipe gives files.

        Raises:
            TransitionError: one of them is not acknowledged; nothing is noted, nothing may go.
        """
        begun = []
        with self._transaction():
            for clip in clips:
                # What an earlier try has left still has the number of that one.
                number = self.clip(clip.id).wipe_number or self._randomness.below(1 << 62) + 2
                self._change(clip, Happening.WIPE_BEGUN, {"policy": policy}, wiping=number)
                begun.append(replace(clip, state=State.WIPING, wipe_number=number))
        return begun

    def wiped(self, clips: Collection[Clip]) -> None:
        """Note that clips were removed and their absence read back: wiping → wiped."""
        with self._transaction():
            for clip in clips:
                self._change(clip, Happening.WIPED, {"clip_id": clip.clip_id})

    def replaced(self, clip: Clip) -> None:
        """Note that the camera has another content at a clip's path.

        The next look at the camera finds that content as a clip of its own.
        """
        with self._transaction():
            self._leave(clip, Happening.REPLACED)

    def wipe_damaged(self, camera: Camera, paths: Sequence[str]) -> None:
        """Note that files which were not to go are gone or changed after a wipe."""
        with self._transaction():
            self._append("wipe.damaged", camera.id, None, paths=list(paths))

    # Orders

    def read_again(self, clip: Clip, order: int) -> None:
        """Have a clip read again: unreadable, rejected or acknowledged → found.

        A receipt is given up with it: before any wipe there has to be a new one.

        Args:
            clip: the clip.
            order: the number of the order's entry in the journal.

        Raises:
            TransitionError: it is in another state, or its wipe has begun.
        """
        self._take_up(clip, Happening.READ_AGAIN, order, receipt=None, answer=None)

    def send_again(self, clip: Clip, order: int) -> None:
        """Have a clip uploaded again out of the spool: rejected → spooled; see `read_again`."""
        self._take_up(clip, Happening.SENT_AGAIN, order)

    def restart_upload(self, clip: Clip, order: int) -> None:
        """Forget what a target has of a clip that is on its way; see `read_again`."""
        self._take_up(clip, Happening.UPLOAD_RESTARTED, order)

    def _take_up(self, clip: Clip, happening: Happening, order: int, **columns: None) -> None:
        with self._transaction():
            known = self.clip(clip.id)
            former = _former(known) if known.receipt else {}
            detail = {"order": order, "before": known.state.shown} | former
            self._change(clip, happening, detail, upload_url=None, **columns)

    def pause(self, pauses: Sequence[Pause]) -> None:
        """Keep an order to hold something; it replaces an earlier one."""
        with self._transaction():
            self._db.executemany(
                "INSERT OR REPLACE INTO pauses (what, reason, since, until, uid)"
                " VALUES (:what, :reason, :since, :until, :uid)",
                [asdict(pause) for pause in pauses],
            )
            for pause in pauses:
                detail = {"what": pause.what, "reason": pause.reason, "until": pause.until}
                self._append("order.pause", None, None, **detail, uid=pause.uid)

    def resume(self, whats: Sequence[Pausable], uid: int) -> None:
        """Keep an order to go on."""
        with self._transaction():
            for what in whats:
                self._db.execute("DELETE FROM pauses WHERE what = ?", (what,))
                self._append("order.resume", None, None, what=what, uid=uid)

    def forget_pause(self, pause: Pause) -> None:
        """Drop an order that is over; one that has replaced it stays."""
        with self._transaction():
            self._db.execute(
                "DELETE FROM pauses WHERE what = ? AND since = ?", (pause.what, pause.since)
            )

    def recover(self, camera: Camera | None = None) -> int:
        """Take back what a crash cut short, or a ledger that failed meanwhile.

        Args:
            camera: the one whose clips are not being read now; None where none are.

        Returns:
            How many ingests that were.
        """
        with self._transaction():
            clips = self._clips(
                "state = 'ingesting' AND (? IS NULL OR camera = ?)", *[camera and camera.id] * 2
            )
            for clip in clips:
                self._change(clip, Happening.READ_INTERRUPTED, {"error": "restart"})
            return len(clips)


def _is_still(clip: Clip, known: Clip) -> bool:
    """Say whether a clip has its receipt, for the very manifest that it was asked for by."""
    return known.state in UNWIPED and known.manifest == clip.manifest


def _sealed_detail(manifest: Manifest, token: str) -> dict[str, Any]:
    """Return what the journal says of a clip that is in the spool."""
    return {
        "clip_id": manifest.clip_id,
        "plaintext_sha256": manifest.plaintext.sha256,
        "ciphertext_sha256": manifest.ciphertext.sha256,
        "manifest_sha256": statement_sha256(token),
    }


def _former(clip: Clip, *names: Literal["manifest", "receipt", "answer"]) -> dict[str, str]:
    """Return the signed statements that a clip loses, for the journal to keep."""
    values = {name: getattr(clip, name) for name in names or ("manifest", "receipt", "answer")}
    return {f"former_{name}": value for name, value in values.items() if value}


def _is_path(path: bytes, manifest: Manifest) -> bool:
    """Say whether a manifest is of a file with this path; that of a very long one is cut."""
    if manifest.file.path_sha256 is not None:
        return hashlib.sha256(path).hexdigest() == manifest.file.path_sha256
    return path == raw_path(manifest.file.path)
